//! Who may read the files of an archive.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::yaml;

/// Which users of the machine may read the files and directories that a receiver makes in its archive.
///
/// Only the receiver's own user may write, in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ArchiveAccess {
    /// The receiver's own user.
    Owner,
    /// The receiver's own user and its group.
    Group,
    /// Every user of the machine.
    Everyone,
}

/// Why a text is no [`ArchiveAccess`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid archive access \"{given}\"; expected owner, group or everyone")]
pub struct ArchiveAccessError {
    given: String,
}

impl ArchiveAccess {
    /// The permission bits that new files and directories do not get.
    pub fn umask(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::Group => 0o027,
            Self::Everyone => 0o022,
        }
    }
}

impl FromStr for ArchiveAccess {
    type Err = ArchiveAccessError;

    /// Flags are written in lower case, fields of a file as Kubernetes writes them. Both are accepted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "owner" | "Owner" => Ok(Self::Owner),
            "group" | "Group" => Ok(Self::Group),
            "everyone" | "Everyone" => Ok(Self::Everyone),
            _ => Err(ArchiveAccessError { given: text.to_owned() }),
        }
    }
}

impl<'de> Deserialize<'de> for ArchiveAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "Owner, Group or Everyone")
    }
}
