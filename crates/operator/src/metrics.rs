//! The operator's own metrics.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How a look at an archive ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Look {
    /// Its result.
    pub result: LookResult,
}

/// Result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookResult {
    /// Done.
    Ok,
    /// To be tried again.
    Retry,
}

impl prometheus_client::encoding::EncodeLabelValue for LookResult {
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
pub struct PolicyLabel {
    /// What its name ends with.
    pub policy: &'static str,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    leads: Gauge<i64, AtomicI64>,
    /// Archives that are known.
    pub archives: Gauge<i64, AtomicI64>,
    /// Looks at archives.
    pub looks: Family<Look, Counter<u64, AtomicU64>>,
    /// How long they took.
    pub look_seconds: Histogram,
    /// Patches of `spec.remoteWrite` that were done.
    pub patches: Counter<u64, AtomicU64>,
    /// Patches that were refused.
    pub patches_refused: Counter<u64, AtomicU64>,
    /// Admission policies: 1 for one that is in force.
    pub policies: Family<PolicyLabel, Gauge<i64, AtomicI64>>,
}

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("promarchive_operator");
    let metrics = Metrics {
        leads: Gauge::default(),
        archives: Gauge::default(),
        looks: Family::default(),
        look_seconds: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
        patches: Counter::default(),
        patches_refused: Counter::default(),
        policies: Family::default(),
        registry: Registry::default(),
    };
    registry.register("leads", "1 in the process that has the Lease and works", metrics.leads.clone());
    registry.register("archives", "MetricsArchive objects that are known", metrics.archives.clone());
    registry.register("looks", "Looks at archives, by result", metrics.looks.clone());
    registry.register("look_duration_seconds", "Time of one look at one archive", metrics.look_seconds.clone());
    registry.register("patches", "Patches of spec.remoteWrite", metrics.patches.clone());
    registry.register(
        "patches_refused",
        "Patches of spec.remoteWrite that the API server refused",
        metrics.patches_refused.clone(),
    );
    registry.register(
        "admission_policy_in_force",
        "1 if the admission policy denies what it must deny to the operator, 0 if it lets it through",
        metrics.policies.clone(),
    );
    Metrics { registry, ..metrics }
});

/// All metrics in the text format of OpenMetrics.
pub fn text(leads: bool) -> String {
    METRICS.leads.set(i64::from(leads));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &METRICS.registry);
    text
}
