//! A configuration file: what it sets, and on which line.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ArchiveConfig, Configuration, ReceiveConfig};
use crate::yaml::{self, ConfigError, Document};

/// The sections of a file, one for each command that has settings.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Sections {
    receive: Option<ReceiveConfig>,
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What it sets.
    pub configuration: Configuration,
    name: String,
    text: String,
}

impl ConfigFile {
    /// Reads `path`. Errors name the file and, inside it, line, column and the nearest valid field.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ConfigFileError::Read { file: name.clone(), source })?;
        Ok(Self::parse(&name, &text)?)
    }

    /// Reads the YAML `text`; `file` is its name in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let shared = yaml::field_names::<ArchiveConfig>();
        let known = [shared.clone(), yaml::field_names::<ReceiveConfig>(), yaml::field_names::<Sections>()].concat();
        let document = Document::new(file, text, &shared);
        document.check_fields(&known)?;
        let archive = document.fields_of()?;
        let top_level: ReceiveConfig = document.fields_of()?;
        let sections: Sections = document.fields_of()?;
        let receive = match (sections.receive, yaml::given(&top_level).next()) {
            (Some(_), Some((field, _))) => {
                let message = format!(
                    "field \"{field}\" is at the top level, but the file has a section \"receive\": move the \
                         field into this section"
                );
                return Err(document.error_at(&field, message));
            }
            (Some(section), None) => section,
            (None, _) => top_level,
        };
        let configuration = Configuration { archive, receive };
        Ok(Self { configuration, name: file.to_owned(), text: text.to_owned() })
    }

    /// Where `field` of the table `table` of the [`Configuration`] is set: `receiver.yaml:3:1`. The file alone, if it is not found.
    pub fn place(&self, table: &str, field: &str) -> String {
        match Document::new(&self.name, &self.text, &[]).place_of(table, field) {
            Some((line, column)) => format!("{}:{line}:{column}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Why a configuration file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file could not be read.
    #[error("{file}: cannot read the configuration file: {source}")]
    Read {
        /// Its path as given.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Content(#[from] ConfigError),
}
