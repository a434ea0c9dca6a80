//! What is said of an archive: pure, from what was found to conditions.
//!
//! Nothing in a status moves while all is well: no counters, no times but those of changes. Messages say what to do.

mod findings;

pub(crate) use findings::{Faults, Volume, configured, has_pod, receiver, receiving, storage};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use promarchive_api::metrics_archive::{
    Condition, ConditionStatus, ConditionType, MetricsArchiveStatus, PrometheusState, PrometheusStatus, Reason,
};

const MOST_PROMETHEUSES: usize = 100;
const LONGEST_MESSAGE: usize = 1024;

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it is so.
    pub status: ConditionStatus,
    /// One word.
    pub reason: Reason,
    /// What is so, or what to do.
    pub message: String,
}

impl Finding {
    /// It is so.
    pub(crate) fn good(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::True, reason, message: message.into() }
    }

    /// It is not.
    pub(crate) fn bad(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    /// It cannot be said.
    pub(crate) fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: message.into() }
    }
}

/// What was found about one Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrometheusFinding {
    /// All but the time of the change.
    pub kind: promarchive_api::metrics_archive::PrometheusKind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its entry, if it has one of ours.
    pub entry: Option<String>,
    /// What was done, or why not.
    pub state: PrometheusState,
    /// What to do.
    pub message: String,
}

/// Everything that was found about an archive.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// Generation that was looked at.
    pub generation: Option<i64>,
    /// What keeps the operator from doing anything at all: a spec that is wrong, paused, deleting.
    pub blocked: Option<Finding>,
    /// About the volume.
    pub storage: Finding,
    pub receiver: Finding,
    /// About the entries.
    pub configured: Finding,
    /// About the samples.
    pub receiving: Finding,
    /// Where the tables are.
    pub store: Option<String>,
    pub prometheuses: Vec<PrometheusFinding>,
}

impl Findings {
    /// Nothing can be said but why.
    pub(crate) fn only(generation: Option<i64>, blocked: Finding) -> Self {
        let unknown = Finding::unknown(blocked.reason, "not checked: see the condition Ready");
        Self {
            generation,
            blocked: Some(blocked),
            storage: unknown.clone(),
            receiver: unknown.clone(),
            configured: unknown.clone(),
            receiving: unknown,
            store: None,
            prometheuses: Vec::new(),
        }
    }

    fn ready(&self) -> Finding {
        if let Some(blocked) = &self.blocked {
            return blocked.clone();
        }
        let needed = [&self.storage, &self.receiver, &self.configured, &self.receiving];
        // What only a person can mend goes first: it may be what the others wait for.
        if let Some(finding) = needed.iter().find(|finding| is_permanent(finding.reason)) {
            return Finding::bad(finding.reason, finding.message.clone());
        }
        let is_no_fault = |finding: &&&Finding| {
            finding.status == ConditionStatus::True || finding.reason == Reason::NoPrometheusSelected
        };
        match needed.iter().find(|finding| !is_no_fault(finding)) {
            Some(finding) => Finding::bad(finding.reason, finding.message.clone()),
            None if self.receiving.reason == Reason::NoPrometheusSelected => {
                Finding::good(Reason::NoPrometheusSelected, self.receiving.message.clone())
            }
            None => Finding::good(Reason::AllWell, "samples arrive from every selected Prometheus"),
        }
    }

    /// Whether it cannot go on before somebody changes something.
    fn is_stalled(&self, ready: &Finding) -> bool {
        let permanent = [
            PrometheusState::NoConsent,
            PrometheusState::OwnedByOpenShift,
            PrometheusState::PatchDenied,
            PrometheusState::DuplicateNames,
        ];
        match ready.reason {
            reason if is_permanent(reason) => true,
            Reason::NotConfigured => self.prometheuses.iter().any(|one| permanent.contains(&one.state)),
            _ => false,
        }
    }
}

/// Whether only a person can mend it.
pub(crate) fn is_permanent(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidSpec
            | Reason::NameTaken
            | Reason::RequestRefused
            | Reason::ClaimLost
            | Reason::ClaimNotAllowed
            | Reason::ClaimOfAnotherArchive
    )
}

/// The status that says what was found; times of what has not changed are taken from `previous`.
pub(crate) fn status(previous: &MetricsArchiveStatus, found: &Findings, now: Timestamp) -> MetricsArchiveStatus {
    let ready = found.ready();
    let mut conditions = vec![
        (ConditionType::StorageReachable, found.storage.clone()),
        (ConditionType::ReceiverAvailable, found.receiver.clone()),
        (ConditionType::PrometheusConfigured, found.configured.clone()),
        (ConditionType::Receiving, found.receiving.clone()),
        (ConditionType::Ready, ready.clone()),
    ];
    let settled = ready.status == ConditionStatus::True || ready.reason == Reason::Paused;
    if found.is_stalled(&ready) {
        conditions.push((ConditionType::Stalled, Finding::good(ready.reason, ready.message)));
    } else if !settled {
        conditions.push((ConditionType::Reconciling, Finding::good(ready.reason, ready.message)));
    }
    let conditions =
        conditions.into_iter().map(|(type_, finding)| condition(previous, type_, finding, found.generation, now));
    let counts = found.blocked.is_none().then(|| (matched(&found.prometheuses), with_entry(&found.prometheuses)));
    MetricsArchiveStatus {
        observed_generation: found.generation,
        conditions: conditions.collect(),
        matched: counts.map(|(matched, _)| matched),
        configured: counts.map(|(_, configured)| configured),
        summary: counts.map(|(matched, configured)| format!("{configured}/{matched}")),
        store: found.store.clone(),
        prometheuses: prometheuses(previous, &found.prometheuses, now),
    }
}

fn condition(
    previous: &MetricsArchiveStatus,
    type_: ConditionType,
    finding: Finding,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let before = previous.conditions.iter().find(|condition| condition.type_ == type_);
    let since =
        before.filter(|before| before.status == finding.status).map(|before| before.last_transition_time.clone());
    Condition {
        type_,
        status: finding.status,
        reason: finding.reason,
        message: cut(finding.message),
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: generation,
    }
}

/// Not chosen any more, or going away: not counted among those that are chosen.
fn is_leaving(state: PrometheusState) -> bool {
    matches!(state, PrometheusState::Draining | PrometheusState::Deleting)
}

fn count(all: &[PrometheusFinding], is: impl Fn(PrometheusState) -> bool) -> i32 {
    i32::try_from(all.iter().filter(|one| is(one.state)).count()).unwrap_or(i32::MAX)
}

fn matched(all: &[PrometheusFinding]) -> i32 {
    count(all, |state| !is_leaving(state))
}

fn with_entry(all: &[PrometheusFinding]) -> i32 {
    count(all, findings::has_entry)
}

/// Those with a fault first: the states are in that order.
fn prometheuses(previous: &MetricsArchiveStatus, all: &[PrometheusFinding], now: Timestamp) -> Vec<PrometheusStatus> {
    let mut all: Vec<&PrometheusFinding> = all.iter().collect();
    all.sort_by_key(|one| (one.state, &one.namespace, &one.name, one.kind));
    all.into_iter()
        .take(MOST_PROMETHEUSES)
        .map(|one| {
            let before = previous.prometheuses.iter().find(|before| before.uid == one.uid && before.state == one.state);
            PrometheusStatus {
                uid: one.uid.clone(),
                kind: one.kind,
                namespace: one.namespace.clone(),
                name: one.name.clone(),
                entry: one.entry.clone(),
                state: one.state,
                message: cut(one.message.clone()),
                since: before.map_or(Time(now), |before| before.since.clone()),
            }
        })
        .collect()
}

fn cut(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE - 3).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}

#[cfg(test)]
mod tests;
