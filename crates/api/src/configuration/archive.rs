//! Settings of an archive, which all commands share.

use serde::{Deserialize, Serialize};

use crate::{ArchiveAccess, ArchiveLocation, LabelColumns};

/// Settings of an archive. They stand at the top level of a configuration file, for every command that works on the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "command-line", derive(clap::Args))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ArchiveConfig {
    /// Directory or URL of the tables, for example s3://bucket/archive; a directory is created if it does not exist. Required here or in the configuration file
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DIRECTORY|URL"))]
    pub archive: Option<ArchiveLocation>,
    /// Who may read the files of the archive: owner, group or everyone
    /// [default: group, or less if the umask of the process says so]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "WHO"))]
    pub archive_access: Option<ArchiveAccess>,
    /// Labels that get their own columns, separated by commas; fixed when the archive is created, at most 32, "" for none
    /// [default: those of the archive; for a new archive namespace,pod,container,node,job,instance]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "NAMES"))]
    pub label_columns: Option<LabelColumns>,
}
