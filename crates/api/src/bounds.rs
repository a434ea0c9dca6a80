//! The least, the greatest and the default value of every setting that has them.
//!
//! Each stands here once. Flags and file are checked against them, `--help` is written from them, and the operator checks custom resources
//! against them. Tests hold the pages, the example and the schema of the custom resource to them.

use std::fmt::Display;

use crate::{ByteSize, Timespan};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: Timespan = Timespan::from_secs(86_400);
const CENTURY: Timespan = Timespan::from_secs(100 * 365 * 86_400);

/// Which values a setting may have, and which one it has if none is given.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<T> {
    /// Its name in the file and in the custom resource.
    pub setting: &'static str,
    /// The least value.
    pub least: T,
    /// The greatest value, if there is one.
    pub most: Option<T>,
    /// The value if none is given. None: the setting then has no effect.
    pub default: Option<T>,
}

impl<T: PartialOrd + Display + Copy> Bounds<T> {
    /// What was `given`, else the default.
    pub fn or_default(&self, given: Option<T>) -> T {
        given.or(self.default).unwrap_or(self.least)
    }

    /// Whether `value` lies within them.
    pub fn contain(&self, value: T) -> bool {
        value >= self.least && self.most.is_none_or(|most| value <= most)
    }

    /// Refuses a `value` that lies outside.
    pub fn check(&self, value: T) -> Result<(), OutOfBounds> {
        self.contain(value).then_some(()).ok_or_else(|| OutOfBounds {
            setting: self.setting,
            given: value.to_string(),
            bound: format!("must be {}", self.range()),
        })
    }

    /// `100ms to 1d`, or `at least 1Mi`.
    pub fn range(&self) -> String {
        match self.most {
            Some(most) => format!("{} to {most}", self.least),
            None => format!("at least {}", self.least),
        }
    }

    fn stated(&self) -> Stated {
        let range = self.range();
        // People need not be told that a century is too long.
        let range = match range.strip_suffix(&format!(" to {CENTURY}")) {
            Some(least) => format!("at least {least}"),
            None => range,
        };
        Stated { setting: self.setting, range, default: self.default.map(|value| value.to_string()) }
    }
}

/// A value outside of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {given}, but {bound}")]
pub struct OutOfBounds {
    /// The setting's name in the file.
    pub setting: &'static str,
    /// Its value, with unit.
    pub given: String,
    /// Which values there can be, and why.
    pub bound: String,
}

/// Budget of the write-ahead log on disk.
pub const WAL_MAX_BYTES: Bounds<ByteSize> =
    Bounds { setting: "walMaxBytes", least: ByteSize(MIB), most: None, default: Some(ByteSize(8 * GIB)) };
/// Longest time from acknowledged to committed.
pub const FLUSH_INTERVAL: Bounds<Timespan> = Bounds {
    setting: "flushInterval",
    least: Timespan::from_millis(100),
    most: Some(DAY),
    default: Some(Timespan::from_secs(300)),
};
/// How far in the future a timestamp may be.
pub const MAX_FUTURE: Bounds<Timespan> =
    Bounds { setting: "maxFuture", least: DAY, most: Some(CENTURY), default: Some(DAY) };
/// How old a sample may be. No sender is off line for longer than the least value; less would be lost when one comes back.
pub const MAX_PAST: Bounds<Timespan> = Bounds { setting: "maxPast", least: DAY, most: Some(CENTURY), default: None };
/// Longest request body, compressed. A record of the WAL takes no more than the greatest value.
pub const MAX_REQUEST_BYTES: Bounds<ByteSize> = Bounds {
    setting: "maxRequestBytes",
    least: ByteSize(1024),
    most: Some(ByteSize(63 * MIB)),
    default: Some(ByteSize(32 * MIB)),
};
/// Longest request body, decompressed.
pub const MAX_DECODED_BYTES: Bounds<ByteSize> = Bounds {
    setting: "maxDecodedBytes",
    least: ByteSize(1024),
    most: Some(ByteSize(GIB)),
    default: Some(ByteSize(32 * MIB)),
};
/// Connections of one address. The greatest value is the number of connections that are served at a time.
pub const MAX_CONNECTIONS_PER_ADDRESS: Bounds<u32> = Bounds {
    setting: "maxConnectionsPerAddress",
    least: 1,
    most: Some(MAX_CONNECTIONS),
    default: Some(MAX_CONNECTIONS / 2),
};
/// Longest time from the signal to stop to the end.
pub const SHUTDOWN_GRACE: Bounds<Timespan> = Bounds {
    setting: "shutdownGrace",
    least: Timespan::from_secs(1),
    most: Some(Timespan::from_secs(3600)),
    default: Some(Timespan::from_secs(25)),
};

/// Connections that are served at a time.
pub const MAX_CONNECTIONS: u32 = 1024;
/// Default of `memoryLimit`. The least value follows from the longest request: [`least_memory_limit`].
pub const MEMORY_LIMIT: ByteSize = ByteSize(GIB);
/// Default of `flushBytes`, if an eighth of the memory limit is not less.
pub const FLUSH_BYTES: ByteSize = ByteSize(256 * MIB);
/// Default of `dedupHorizon`, if two flush intervals are not more.
pub const DEDUP_HORIZON: Timespan = Timespan::from_secs(600);

/// The least `memoryLimit`: two requests in flight take a quarter of it at most.
pub const fn least_memory_limit(max_request_bytes: ByteSize, max_decoded_bytes: ByteSize) -> ByteSize {
    ByteSize(max_request_bytes.0.saturating_add(max_decoded_bytes.0).saturating_mul(4))
}

/// The same settings and others where the operator gives them, to receivers in pods.
pub mod in_pods {
    use super::{Bounds, GIB, MIB};
    use crate::{ByteSize, Timespan};

    /// Budget of the write-ahead log: with less than this a receiver in a pod would mostly wait for flushes. The default is a quarter of
    /// the volume, within the least value and this default.
    pub const WAL_MAX_BYTES: Bounds<ByteSize> = Bounds { least: ByteSize(64 * MIB), ..super::WAL_MAX_BYTES };
    /// Memory of the receiver's container. Half of it is the receiver's `memoryLimit`.
    pub const CONTAINER_MEMORY: Bounds<ByteSize> =
        Bounds { setting: "resources", least: ByteSize(512 * MIB), most: None, default: Some(ByteSize(2 * GIB)) };
    /// How long a removal waits for a sender that lags behind.
    pub const DRAIN_TIMEOUT: Bounds<Timespan> = Bounds {
        setting: "drainTimeout",
        least: Timespan::from_secs(0),
        most: Some(Timespan::from_secs(3600)),
        default: Some(Timespan::from_secs(120)),
    };
    /// Most items of `networkPolicyPeers`.
    pub const MOST_NETWORK_POLICY_PEERS: usize = 16;
    /// Most items of `imagePullSecrets`.
    pub const MOST_PULL_SECRETS: usize = 8;
    /// Most labels, and most annotations, that a spec gives to an object.
    pub const MOST_KEYS: usize = 32;
}

/// What a text about a setting must say of its bounds and its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Its name in the file.
    pub setting: &'static str,
    /// Its bounds: `100ms to 1d`, or `at least 1Mi`.
    pub range: String,
    /// Its default.
    pub default: Option<String>,
}

/// What there is to say of every setting with fixed bounds.
pub fn stated() -> [Stated; 8] {
    [
        WAL_MAX_BYTES.stated(),
        FLUSH_INTERVAL.stated(),
        MAX_FUTURE.stated(),
        MAX_PAST.stated(),
        MAX_REQUEST_BYTES.stated(),
        MAX_DECODED_BYTES.stated(),
        MAX_CONNECTIONS_PER_ADDRESS.stated(),
        SHUTDOWN_GRACE.stated(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_least_container_is_the_least_memory_limit() {
        let longest = |bounds: Bounds<ByteSize>| bounds.default.unwrap();
        let least = least_memory_limit(longest(MAX_REQUEST_BYTES), longest(MAX_DECODED_BYTES));
        assert_eq!(in_pods::CONTAINER_MEMORY.least.0 / 2, least.0);
        assert_eq!(in_pods::CONTAINER_MEMORY.default.unwrap().0 / 2, MEMORY_LIMIT.0);
    }
}
