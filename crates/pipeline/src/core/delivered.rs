//! What a request left behind, for whoever wants to know how far its sender has come.

/// The label that tells the replicas of one Prometheus apart; see [`Delivered`].
pub(super) const REPLICA_LABEL: &str = "prometheus_replica";

/// The samples and native histograms that a request left behind. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The earliest timestamp.
    pub first: i64,
    /// The latest one.
    pub newest: i64,
    /// Their replica; empty if they have none, or not the same.
    pub replica: Box<str>,
}
