//! Settings of an archive, which all commands share.

use serde::{Deserialize, Serialize};

use crate::{ArchiveAccess, ArchiveLocation, LabelColumns};

/// Settings of an archive. They stand at the top level of a configuration file, for every command that works on the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "command-line", derive(clap::Args))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ArchiveConfig {
    /// Where the tables go: a directory, made if it does not exist, or a URL such as s3://bucket/archive. Needed here or in the file
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DIRECTORY|URL"))]
    pub archive: Option<ArchiveLocation>,
    /// Who may read the files of the archive: owner, group or everyone
    /// [default: group, or less if the umask of the process says so]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "WHO"))]
    pub archive_access: Option<ArchiveAccess>,
    /// Labels that become columns of their own, with commas between; fixed when the archive is made, at most 32, "" for none
    /// [default: those of the archive; of a new one namespace,pod,container,node,job,instance]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "NAMES"))]
    pub label_columns: Option<LabelColumns>,
}
