//! What people set: the configuration file, and the same settings as flags and environment variables.
//!
//! A setting is declared once, as a field of [`ArchiveConfig`] or of the section of its command, such as [`ReceiveConfig`]. All fields are
//! optional. The defaults are in [`crate::bounds`] and in `docs/reference/receive.md`.
//!
//! ```yaml
//! archive: /var/lib/promarchive/archive   # settings of the archive, for every command
//! receive:                                # a section for each command
//!   listen: 127.0.0.1:9201
//! ```
//!
//! Files of earlier versions have no sections: without the section `receive`, its fields may be at the top level.

mod archive;
mod file;
mod receive;

use serde::{Deserialize, Serialize};

pub use archive::ArchiveConfig;
pub use file::{ConfigFile, ConfigFileError};
pub use receive::{ListenError, ReceiveConfig, parse_listen};

use crate::yaml::{self, ConfigError};

/// All settings: those of the archive, and those of each command.
///
/// Serialized, a layer of settings has a table for each of these fields; a configuration file is written in another form ([`ConfigFile`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Configuration {
    /// Of the archive.
    pub archive: ArchiveConfig,
    /// Of `promarchive receive`.
    pub receive: ReceiveConfig,
}

impl Configuration {
    /// Reads the YAML `text`; `file` is its name in errors.
    pub fn from_yaml(file: &str, text: &str) -> Result<Self, ConfigError> {
        ConfigFile::parse(file, text).map(|file| file.configuration)
    }

    /// A file for a receiver, with all fields at the top level, so that receivers of every version can read it. Settings without a value are left out.
    pub fn to_receiver_yaml(&self) -> String {
        // Earlier versions wrote the label columns last. In another order the text would differ, and a receiver in a pod would restart.
        let (last, first): (Vec<_>, Vec<_>) =
            yaml::given(&self.archive).partition(|(field, _)| field == "labelColumns");
        // Plain strings, numbers and lists cannot fail to be written.
        yaml::to_string(first.into_iter().chain(yaml::given(&self.receive)).chain(last)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
