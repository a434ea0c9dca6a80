//! Whether the admission policies that hold the operator to what it is for are in force.
//!
//! The roles alone let the operator do more than it should. A policy that is gone, has no binding, or names another ServiceAccount
//! allows everything, and nobody notices. So the operator asks the API server for what each policy must deny, as a dry run: at its
//! start, once a minute, and before it patches a Prometheus. While a policy is not in force, the operator changes nothing.

mod probe;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tracing::{error, info};

use crate::kubernetes::cache::{Caches, Source};
use crate::kubernetes::scope::Scope;
use crate::process::Since;
use crate::process::metrics::{METRICS, PolicyLabel};
use promarchive_api::metrics_archive::PrometheusKind;

pub use probe::{Probe, Verdict};

/// A proof is good for so long.
const PROOF_LASTS: Duration = Duration::from_secs(300);

/// One of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// On what the operator makes.
    OwnObjects,
    /// On the pods of receivers.
    Receivers,
    /// On MetricsArchives.
    Archives,
    /// On the objects of the Prometheus Operator.
    Prometheuses,
}

impl Policy {
    /// What its name ends with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OwnObjects => "own-objects",
            Self::Receivers => "receivers",
            Self::Archives => "archives",
            Self::Prometheuses => "prometheuses",
        }
    }

    /// What it says when it denies its [`Probe`].
    pub const fn message(self) -> &'static str {
        match self {
            Self::OwnObjects => "promarchive's objects are named after their archive",
            Self::Receivers => "receivers run the receivers' image",
            Self::Archives => "promarchive may change nothing of a MetricsArchive but its own finalizer and the status",
            Self::Prometheuses => "promarchive may change nothing in the metadata of a Prometheus",
        }
    }

    /// Whether its [`Probe`] needs no object that somebody else has made, so that the answer depends on the policy alone.
    const fn is_always_known(self) -> bool {
        matches!(self, Self::OwnObjects | Self::Receivers)
    }
}

/// What is known of all policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Unasked,
    /// Nothing is wrong.
    InForce,
    /// Something is wrong: what, and what to do.
    Fault(String),
}

/// Asks for what must be denied, and remembers the answers.
#[derive(Debug)]
pub struct Guard {
    required: bool,
    standing: Mutex<Standing>,
    proven: Since<Policy>,
}

impl Guard {
    /// Policies are `required`, or the operator was told that there are none.
    pub fn new(required: bool) -> Self {
        let standing = if required { Standing::Unasked } else { Standing::InForce };
        Self { required, standing: Mutex::new(standing), proven: Since::default() }
    }

    /// What is known.
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks about all policies. `own`: the operator's namespace.
    pub async fn look(&self, caches: &Caches, own: &str) -> Standing {
        if !self.required {
            return Standing::InForce;
        }
        let mut verdicts = Vec::new();
        for policy in [Policy::OwnObjects, Policy::Receivers] {
            verdicts.push((policy, self.ask_somewhere(caches, own, policy).await));
        }
        let archives = caches.all(Source::Archive);
        if let Some(archive) = archives.iter().find(|archive| archive.metadata.deletion_timestamp.is_none()) {
            verdicts.push((Policy::Archives, self.ask(caches, &Probe::archive(archive)).await));
        }
        for kind in PrometheusKind::ALL {
            let all = caches.all(Source::Prometheus(kind));
            if let Some(one) = all.iter().find(|one| one.metadata.deletion_timestamp.is_none()) {
                let probe = Probe::prometheus(kind, &one.namespace().unwrap_or_default(), &one.name_any());
                verdicts.push((Policy::Prometheuses, self.ask(caches, &probe).await));
                break;
            }
        }
        self.conclude(&verdicts)
    }

    /// Whether a Prometheus may be patched: the policy on Prometheus objects is in force, or was a few minutes ago. If not, why not.
    pub async fn allows_patch(
        &self,
        caches: &Caches,
        kind: PrometheusKind,
        namespace: &str,
        name: &str,
    ) -> Result<(), String> {
        if !self.required || self.proven.said_within(&Policy::Prometheuses, PROOF_LASTS).is_some() {
            return Ok(());
        }
        let verdict = self.ask(caches, &Probe::prometheus(kind, namespace, name)).await;
        if verdict != Verdict::Missing {
            // What stops the question stops the patch as well.
            return Ok(());
        }
        match self.conclude(&[(Policy::Prometheuses, verdict)]) {
            Standing::Fault(fault) => Err(fault),
            Standing::Unasked | Standing::InForce => Ok(()),
        }
    }

    /// Asks in the operator's namespace; if it works in some namespaces alone, in the first that has an answer.
    async fn ask_somewhere(&self, caches: &Caches, own: &str, policy: Policy) -> Verdict {
        let namespaces: Vec<&str> = match caches.scope() {
            Scope::Cluster => vec![own],
            Scope::Namespaces(names) => names.iter().map(String::as_str).collect(),
        };
        let mut verdict = Verdict::Unknown("there is no namespace for the dry run".to_owned());
        for namespace in namespaces {
            let probe =
                if policy == Policy::Receivers { Probe::receiver(namespace) } else { Probe::own_object(namespace) };
            verdict = self.ask(caches, &probe).await;
            if !matches!(verdict, Verdict::Unknown(_)) {
                break;
            }
        }
        verdict
    }

    async fn ask(&self, caches: &Caches, probe: &Probe) -> Verdict {
        let verdict = probe.ask(caches).await;
        let gauge = METRICS.policies.get_or_create(&PolicyLabel { policy: probe.policy().as_str() });
        match verdict {
            Verdict::InForce => {
                self.proven.renew(probe.policy(), ());
                gauge.set(1);
            }
            Verdict::Missing => {
                self.proven.end(&probe.policy());
                gauge.set(0);
            }
            Verdict::Unknown(_) => {}
        }
        verdict
    }

    /// Takes the verdicts in, and says so when something has changed.
    fn conclude(&self, verdicts: &[(Policy, Verdict)]) -> Standing {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = judge(&standing, verdicts);
        if *standing != next {
            match &next {
                Standing::Fault(fault) => error!("{fault}"),
                Standing::InForce => info!("the admission policies are in force"),
                Standing::Unasked => {}
            }
            standing.clone_from(&next);
        }
        next
    }
}

/// What is known after `verdicts`, when `before` was known before. What cannot be asked is as it was; at the start it is a fault.
fn judge(before: &Standing, verdicts: &[(Policy, Verdict)]) -> Standing {
    let missing: Vec<&str> = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Missing)
        .map(|(policy, _)| policy.as_str())
        .collect();
    if !missing.is_empty() {
        return Standing::Fault(format!(
            "the admission policies that restrict the operator are not in force ({}): a dry run of a request that \
             they must deny was accepted. The operator changes nothing until they are in force. Check that the \
             ValidatingAdmissionPolicies and their bindings exist, and that they name the operator's ServiceAccount \
             and namespace. To work without policies, set admissionPolicy.enabled=false (--admission-policies=none)",
            missing.join(", ")
        ));
    }
    let unknown = verdicts.iter().find_map(|(policy, verdict)| match verdict {
        Verdict::Unknown(why) if policy.is_always_known() => Some((policy, why)),
        _ => None,
    });
    match (unknown, before) {
        (None, _) | (Some(_), Standing::InForce) => Standing::InForce,
        (Some((policy, why)), _) => Standing::Fault(format!(
            "cannot check whether the admission policy {} is in force, so the operator changes nothing: {why}",
            policy.as_str()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Verdict {
        Verdict::Unknown("timeout".to_owned())
    }

    fn is_fault(standing: &Standing, with: &str) -> bool {
        matches!(standing, Standing::Fault(text) if text.contains(with))
    }

    #[test]
    fn one_policy_that_is_missing_is_a_fault_whatever_was_known() {
        for before in [Standing::Unasked, Standing::InForce, Standing::Fault("x".to_owned())] {
            let verdicts = [(Policy::OwnObjects, Verdict::InForce), (Policy::Prometheuses, Verdict::Missing)];
            assert!(is_fault(&judge(&before, &verdicts), "(prometheuses)"));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_a_fault_at_the_start_alone() {
        let verdicts = [(Policy::OwnObjects, Verdict::InForce), (Policy::Receivers, unknown())];
        assert!(is_fault(
            &judge(&Standing::Unasked, &verdicts),
            "receivers is in force, so the operator changes nothing: timeout"
        ));
        assert_eq!(judge(&Standing::InForce, &verdicts), Standing::InForce);
        // An object that somebody stored before may be refused for something else.
        let verdicts = [(Policy::OwnObjects, Verdict::InForce), (Policy::Archives, unknown())];
        assert_eq!(judge(&Standing::Unasked, &verdicts), Standing::InForce);
    }

    #[test]
    fn who_needs_no_policies_is_not_stopped() {
        assert_eq!(Guard::new(false).standing(), Standing::InForce);
        assert_eq!(Guard::new(true).standing(), Standing::Unasked);
    }
}
