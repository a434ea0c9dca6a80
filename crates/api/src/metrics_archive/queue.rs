//! Settings of the sending queue in a Prometheus, and how much of that Prometheus they may take.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Settings of a sending queue. The limits are lower for a Prometheus in another namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minShards) || !has(self.maxShards) || self.minShards <= self.maxShards").message("minShards must not be greater than maxShards"),
    validation = Rule::new("(has(self.maxShards) ? self.maxShards : 50) * ((has(self.capacity) ? self.capacity : 10000) + (has(self.maxSamplesPerSend) ? self.maxSamplesPerSend : 2000)) <= 6000000")
        .message("maxShards * (capacity + maxSamplesPerSend) must be at most 6000000 samples"),
    validation = Rule::new("(has(self.maxShards) ? self.maxShards : 50) * (has(self.maxSamplesPerSend) ? self.maxSamplesPerSend : 2000) <= 1000000")
        .message("maxShards * maxSamplesPerSend must be at most 1000000 samples"),
    validation = Rule::new("!has(self.batchSendDeadline) || (duration(self.batchSendDeadline) >= duration('100ms') && duration(self.batchSendDeadline) <= duration('10s'))")
        .message("batchSendDeadline must be from 100ms to 10s"),
)]
pub struct Queue {
    /// Samples that each shard can hold. Default of Prometheus: 10000. At most 30000 in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = QueueLimits::OWN.capacity))]
    pub capacity: Option<i32>,
    /// Minimum number of shards. Default of Prometheus: 1. At most 10 in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = QueueLimits::OWN.min_shards))]
    pub min_shards: Option<i32>,
    /// Maximum number of shards. Default of Prometheus: 50. At most 50 in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = QueueLimits::OWN.max_shards))]
    pub max_shards: Option<i32>,
    /// Maximum number of samples in a request. Default of Prometheus: 2000. At most 5000 in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = QueueLimits::OWN.max_samples_per_send))]
    pub max_samples_per_send: Option<i32>,
    /// Maximum time that a sample waits for others, from `100ms` to `10s`. Default of Prometheus: `5s`. At least `1s` in another
    /// namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"))]
    pub batch_send_deadline: Option<String>,
}

/// What a queue may ask of a Prometheus. The memory and the connections are those of the Prometheus, not of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most of `capacity`.
    pub capacity: i32,
    /// Most of `minShards`: these run from the start, whether there is anything to send or not.
    pub min_shards: i32,
    /// Most of `maxShards`.
    pub max_shards: i32,
    /// Most of `maxSamplesPerSend`.
    pub max_samples_per_send: i32,
    /// Most samples that all shards hold: `maxShards × (capacity + maxSamplesPerSend)`.
    pub held: i64,
    /// Most samples in the requests of all shards: `maxShards × maxSamplesPerSend`. Each shard makes room for a request when it
    /// starts.
    pub in_flight: i64,
    /// Shortest `batchSendDeadline` in ms: each shard sends that often, however little there is.
    pub shortest_deadline: u64,
    /// Longest `batchSendDeadline` in ms. A drain waits for the slowest shard, and must know how long that may take.
    pub longest_deadline: u64,
}

impl QueueLimits {
    /// In the archive's own namespace: ten times what Prometheus takes by default (50 shards, 10,000 samples in each, and 2,000 in a
    /// request).
    pub const OWN: Self = Self {
        capacity: 100_000,
        min_shards: 200,
        max_shards: 200,
        max_samples_per_send: 20_000,
        held: 6_000_000,
        in_flight: 1_000_000,
        shortest_deadline: 100,
        longest_deadline: 10_000,
    };

    /// In another namespace: all shards together hold no more than with Prometheus's defaults, whose owner reckons with them.
    pub const FOREIGN: Self = Self {
        capacity: 30_000,
        min_shards: 10,
        max_shards: 50,
        max_samples_per_send: 5_000,
        held: 600_000,
        in_flight: 100_000,
        shortest_deadline: 1_000,
        longest_deadline: 10_000,
    };
}
