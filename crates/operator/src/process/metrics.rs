//! The operator's own metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::names::ArchiveName;

/// How the reconciliation of an archive ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reconciled {
    pub result: ReconcileResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReconcileResult {
    /// Done.
    Ok,
    /// To be tried again.
    Retry,
}

impl prometheus_client::encoding::EncodeLabelValue for ReconcileResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::Retry => "retry",
        })
    }
}

/// One of the admission policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PolicyLabel {
    /// What its name ends with.
    pub policy: &'static str,
}

/// Whether an archive is Ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReadyLabel {
    /// `true` or `false`.
    pub ready: &'static str,
}

/// Which archives are Ready, as far as this process has judged them.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    archives: Mutex<HashMap<ArchiveName, bool>>,
}

impl Readiness {
    fn archives(&self) -> MutexGuard<'_, HashMap<ArchiveName, bool>> {
        self.archives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The archive is known. It counts as not Ready until it has been judged.
    pub(crate) fn know(&self, archive: &ArchiveName) {
        self.archives().entry(archive.clone()).or_insert(false);
    }

    /// The condition Ready of an archive was found to be so.
    pub(crate) fn judge(&self, archive: ArchiveName, is_ready: bool) {
        self.archives().insert(archive, is_ready);
    }

    /// The archive is gone.
    pub(crate) fn forget(&self, archive: &ArchiveName) {
        self.archives().remove(archive);
    }

    /// How many are Ready, and how many are not.
    fn counts(&self) -> [(&'static str, usize); 2] {
        let archives = self.archives();
        let ready = archives.values().filter(|is_ready| **is_ready).count();
        [("true", ready), ("false", archives.len() - ready)]
    }
}

pub(crate) struct Metrics {
    registry: Registry,
    leads: Gauge<i64, AtomicI64>,
    archives: Family<ReadyLabel, Gauge<i64, AtomicI64>>,
    /// From which `archives` is counted.
    pub readiness: Readiness,
    /// Reconciliations of archives.
    pub reconciles: Family<Reconciled, Counter<u64, AtomicU64>>,
    /// How long they took.
    pub reconcile_seconds: Histogram,
    /// Patches of `spec.remoteWrite` that were done.
    pub patches: Counter<u64, AtomicU64>,
    pub patches_refused: Counter<u64, AtomicU64>,
    /// Admission policies: 1 for one that is in force.
    pub policies: Family<PolicyLabel, Gauge<i64, AtomicI64>>,
}

/// The metrics of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("promarchive_operator");
    let metrics = Metrics {
        leads: Gauge::default(),
        archives: Family::default(),
        readiness: Readiness::default(),
        reconciles: Family::default(),
        reconcile_seconds: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
        patches: Counter::default(),
        patches_refused: Counter::default(),
        policies: Family::default(),
        registry: Registry::default(),
    };
    registry.register(
        "leads",
        "Whether this process is the leader: 1 if it holds the Lease, 0 if it does not",
        metrics.leads.clone(),
    );
    registry.register(
        "archives",
        "Number of MetricsArchive objects by status of their condition Ready",
        metrics.archives.clone(),
    );
    registry.register("reconciles", "Number of reconciliations of archives by result", metrics.reconciles.clone());
    registry.register(
        "reconcile_duration_seconds",
        "Duration of a reconciliation of an archive, in seconds",
        metrics.reconcile_seconds.clone(),
    );
    registry.register("patches", "Number of patches of spec.remoteWrite", metrics.patches.clone());
    registry.register(
        "patches_refused",
        "Number of patches of spec.remoteWrite that the API server refused",
        metrics.patches_refused.clone(),
    );
    registry.register(
        "admission_policy_in_force",
        "Whether the admission policy is in force: 1 if it denies a request that it must deny, 0 if it accepts it",
        metrics.policies.clone(),
    );
    Metrics { registry, ..metrics }
});

/// All metrics in the text format of OpenMetrics.
pub(crate) fn text(leads: bool) -> String {
    METRICS.leads.set(i64::from(leads));
    for (ready, count) in METRICS.readiness.counts() {
        let gauge = METRICS.archives.get_or_create(&ReadyLabel { ready });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &METRICS.registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_counted_by_whether_they_are_ready() {
        let readiness = Readiness::default();
        let archive = |name: &str| ArchiveName { namespace: "team".to_owned(), name: name.to_owned() };
        assert_eq!(readiness.counts(), [("true", 0), ("false", 0)]);
        readiness.know(&archive("a"));
        assert_eq!(readiness.counts(), [("true", 0), ("false", 1)], "not judged yet");
        readiness.judge(archive("a"), true);
        readiness.know(&archive("a"));
        readiness.judge(archive("b"), false);
        assert_eq!(readiness.counts(), [("true", 1), ("false", 1)]);
        readiness.forget(&archive("b"));
        readiness.judge(archive("a"), false);
        assert_eq!(readiness.counts(), [("true", 0), ("false", 1)]);
        let text = text(true);
        for ready in ["true", "false"] {
            assert!(text.contains(&format!("promarchive_operator_archives{{ready=\"{ready}\"}} ")), "{text}");
        }
    }
}
