//! How far back a receiver may still write files again.

use std::collections::BTreeMap;

use promarchive_model::WriterId;
use serde::{Deserialize, Serialize};

use super::Record;
use crate::file::Origin;

/// What a receiver may still write again, because what is sent again may supersede rows of it. Maintenance leaves those files alone until the
/// record expires: a receiver that is at work puts a new one in time, and one that is gone does not. It saves both sides work; that no
/// row is lost or doubled when they meet all the same is the commit protocol's doing.
///
/// A record that promises more than [`Self::LONGEST_MS`] is not believed, or one that was written with a wrong clock would keep maintenance away for ever.
///
/// The subject of the record is the writer, whose WAL the receiver has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Json", into = "Json")]
pub struct Horizon {
    /// Of each writer, from which position on its flushes may be written again. Flushes to come are among them.
    pub from: BTreeMap<WriterId, u64>,
    /// From when on the record says nothing, milliseconds since the epoch.
    pub expires: i64,
}

impl Record for Horizon {
    const KIND: &'static str = "horizon";
}

impl Horizon {
    /// The longest that a record is believed, milliseconds: some more than a receiver lets it hold, as clocks differ.
    pub const LONGEST_MS: i64 = 2 * 60 * 60 * 1000;

    /// Whether maintenance leaves a file of this origin alone at this time.
    pub fn covers(&self, origin: &Origin, now: i64) -> bool {
        let may_be_written_again =
            |(writer, position): (WriterId, u64)| self.from.get(&writer).is_some_and(|&from| position >= from);
        let holds = now < self.expires && self.expires.saturating_sub(now) <= Self::LONGEST_MS;
        holds && origin.flushes().into_iter().any(may_be_written_again)
    }
}

/// The record as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Json {
    from: BTreeMap<String, u64>,
    expires: i64,
}

impl From<Horizon> for Json {
    fn from(horizon: Horizon) -> Self {
        let from = horizon.from.into_iter().map(|(writer, position)| (writer.to_string(), position)).collect();
        Self { from, expires: horizon.expires }
    }
}

impl TryFrom<Json> for Horizon {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        let writer =
            |text: String| text.parse::<WriterId>().map_err(|e| format!("{text:?} is not a valid writer id: {e}"));
        let from = json.from.into_iter().map(|(name, position)| Ok((writer(name)?, position)));
        Ok(Self { from: from.collect::<Result<_, String>>()?, expires: json.expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_last_flushes_are_left_alone_until_the_record_expires() {
        let [own, other] = [1, 2].map(WriterId::from_u128);
        let horizon = Horizon { from: BTreeMap::from([(own, 7)]), expires: 100 };
        let flush = |writer, position| Origin::Flush { writer, position };
        let merge = |last| Origin::Merge { level: 1, flushes: vec![(other, 1..=90), (own, 2..=last)] };
        for (origin, covered) in [
            (flush(own, 6), false),
            (flush(own, 7), true),
            (flush(own, 8), true),
            (flush(other, 8), false),
            (merge(6), false),
            (merge(7), true),
            (Origin::Import, false),
            (Origin::Foreign, false),
        ] {
            assert_eq!(horizon.covers(&origin, 99), covered, "{origin}");
            assert!(!horizon.covers(&origin, 100), "{origin}");
            assert!(!horizon.covers(&origin, 99 - Horizon::LONGEST_MS), "{origin}");
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let horizon = Horizon { from: BTreeMap::from([(WriterId::from_u128(0xabc), 7)]), expires: 100 };
        let text = serde_json::to_string(&horizon).unwrap();
        assert_eq!(text, r#"{"from":{"00000000000000000000000000000abc":7},"expires":100}"#);
        assert_eq!(serde_json::from_str::<Horizon>(&text).unwrap(), horizon);
        assert!(serde_json::from_str::<Horizon>(r#"{"from":{"x":7},"expires":100}"#).is_err());
    }
}
