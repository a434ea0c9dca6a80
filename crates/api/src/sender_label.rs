//! The name of the label by which a receiver tells senders apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{RESERVED_COLUMNS, yaml};

const LONGEST_BYTES: usize = SenderLabel::LONGEST_BYTES;
/// Labels that series need to be told apart, or that a receiver reads: no sender's name may take their place.
const MEANT_OTHERWISE: [&str; 5] = ["le", "quantile", "job", "instance", "prometheus_replica"];

/// Name of the label that a receiver sets on every series to the sender's name. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SenderLabel(String);

/// Why a text cannot be a [`SenderLabel`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderLabelError {
    /// Not a name that every version of Prometheus takes.
    #[error(
        "invalid label name {name:?}; expected at most {LONGEST_BYTES} letters, digits and underscores, starting with \
         a letter, for example sender"
    )]
    Name {
        /// The name as given, its beginning if it is long.
        name: String,
    },
    /// A name that has another meaning.
    #[error(
        "the label {name} is reserved, and the sender's name would replace it: choose another label, for example sender"
    )]
    Taken {
        /// The name as given.
        name: String,
    },
}

impl SenderLabel {
    /// Longest name, in bytes.
    pub const LONGEST_BYTES: usize = 128;

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for SenderLabel {
    type Err = SenderLabelError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        if !plain || !begins || name.len() > LONGEST_BYTES {
            return Err(SenderLabelError::Name { name: name.chars().take(32).collect() });
        }
        let lower = name.to_ascii_lowercase();
        if MEANT_OTHERWISE.contains(&name) || RESERVED_COLUMNS.contains(&lower.as_str()) {
            return Err(SenderLabelError::Taken { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for SenderLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SenderLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "a label name, for example sender")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_label_that_nothing_else_needs_can_be_set() {
        for name in ["sender", "tenant_id", "A1", &"x".repeat(128)] {
            assert_eq!(name.parse::<SenderLabel>().unwrap().name(), name);
        }
        for name in ["", "__name__", "_x", "1a", "a.b", "a b", "é", &"x".repeat(129)] {
            assert!(matches!(name.parse::<SenderLabel>(), Err(SenderLabelError::Name { .. })), "{name}");
        }
        for name in ["le", "quantile", "instance", "prometheus_replica", "value", "Labels", "metric"] {
            assert!(matches!(name.parse::<SenderLabel>(), Err(SenderLabelError::Taken { .. })), "{name}");
        }
    }
}
