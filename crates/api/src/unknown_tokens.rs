//! What becomes of a write whose token is not in the tokens file.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::yaml;

/// How a write with an unknown token, or none, is answered. Nothing of it is taken either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum UnknownTokens {
    /// 401: the sender drops the samples.
    #[default]
    Refuse,
    /// 503: the sender tries again until the token is known. For tokens files that may come after their senders.
    Retry,
}

/// Why a text is no [`UnknownTokens`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value \"{given}\" for unknown tokens; expected refuse or retry")]
pub struct UnknownTokensError {
    given: String,
}

impl FromStr for UnknownTokens {
    type Err = UnknownTokensError;

    /// Flags are written small, fields of a file as Kubernetes writes them: both are taken.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "refuse" | "Refuse" => Ok(Self::Refuse),
            "retry" | "Retry" => Ok(Self::Retry),
            _ => Err(UnknownTokensError { given: text.to_owned() }),
        }
    }
}

impl<'de> Deserialize<'de> for UnknownTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "Refuse or Retry")
    }
}
