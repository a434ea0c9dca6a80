//! What a receiver says about who delivers: the JSON of its `GET /api/v1/deliveries`.
//!
//! Times are milliseconds since 1970. Readers take fields that they do not know, so that a receiver may be newer.

use serde::{Deserialize, Serialize};

/// The request header in which a remote-write entry says its name: up to 64 characters of `[A-Za-z0-9._/-]`.
pub const ENTRY_HEADER: &str = "X-Promarchive-Entry";

/// Marks that a receiver keeps. It is asked for at most so many with `?limit=`.
pub const MOST_DELIVERIES: usize = 16_384;

/// No mark is longer in an answer, in bytes.
pub const LONGEST_DELIVERY_BYTES: usize = 1_536;

/// Why a receiver does not take writes yet, if nothing is wrong: it replays its write-ahead log.
pub const STARTING: &str = "the receiver is starting";

/// Why a receiver does not take writes any more, if nothing is wrong.
pub const STOPPING: &str = "the receiver is stopping";

/// Who may write to a receiver, and what has come from whom since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// When the receiver's process started, by its own clock. Another value than before: marks have begun anew.
    pub started: i64,
    /// The receiver's clock at this answer.
    pub now: i64,
    /// Whether writes are taken now.
    pub ready: bool,
    /// From when on they could be taken: the write-ahead log was replayed, and at no fault since. None while it is, and from receivers of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable_since: Option<i64>,
    /// Why they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who may write, from the tokens file as in force now, by name; empty without a tokens file.
    pub senders: Vec<KnownSender>,
    /// What was acknowledged, by sender, token, entry, replica and address.
    pub deliveries: Vec<Delivery>,
}

/// A sender of the tokens file that may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownSender {
    /// Its name.
    pub name: String,
    /// Its tokens: of each the first 8 hexadecimal digits of its SHA-256, sorted.
    pub tokens: Vec<String>,
}

/// What was acknowledged of one sender's replica, through one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The sender's name in the tokens file; empty without one.
    pub sender: String,
    /// The first 8 hexadecimal digits of its token's SHA-256; empty without a tokens file.
    pub token: String,
    /// What the request said in [`ENTRY_HEADER`]; empty if it said nothing, or nothing valid.
    pub entry: String,
    /// The label `prometheus_replica` of the samples; empty if they have none, or not the same.
    pub replica: String,
    /// The IP address that the requests came from.
    pub address: String,
    /// The earliest timestamp among the samples and native histograms.
    pub first: i64,
    /// The latest one.
    pub newest: i64,
    /// The receiver's clock at the last acknowledgement.
    pub last_delivered: i64,
    /// The earliest timestamp of what came in the last while, for some lengths of it; a length is missing while less than that has
    /// passed since the first arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oldest: Vec<Oldest>,
}

/// The earliest timestamp among what came within a time up to the last arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Oldest {
    /// The length of that time, or a little less.
    pub seconds: i64,
    /// The timestamp.
    pub timestamp: i64,
    /// The longest time without an arrival that ended within that time, ms.
    pub longest_pause: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "\
started: 1
now: 2
ready: false
writableSince: 1
reason: the archive's disk is full
senders:
- name: monitoring/k8s
  tokens:
  - 2bb80d53
deliveries:
- sender: monitoring/k8s
  token: 2bb80d53
  entry: promarchive/monitoring/lab/1a2b3c4d
  replica: prometheus-k8s-0
  address: 10.244.1.7
  first: -5
  newest: 6
  lastDelivered: 7
  oldest:
  - seconds: 15
    timestamp: 5
    longestPause: 5000
";

    #[test]
    fn fields_have_the_names_that_the_reference_gives() {
        let deliveries: Deliveries = serde_yaml::from_str(EXAMPLE).unwrap();
        assert_eq!(deliveries.deliveries[0].last_delivered, 7);
        assert_eq!(serde_yaml::to_string(&deliveries).unwrap(), EXAMPLE);
    }

    #[test]
    fn a_newer_receiver_may_say_more() {
        let newer = format!("{EXAMPLE}more: 1\n");
        assert_eq!(
            serde_yaml::from_str::<Deliveries>(&newer).unwrap(),
            serde_yaml::from_str::<Deliveries>(EXAMPLE).unwrap()
        );
    }
}
