//! What verification has to say.

use std::fmt;

use promarchive_archive::log::OTHER_PROTOCOL;
use promarchive_model::quote::truncate;
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A promise does not hold.
    Error,
    /// Out of the ordinary; no promise depends on it.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

const RESTORE: &str = "restore this file from a backup of the archive; without a backup, its rows are lost, but all other files stay \
     usable";
const RESTORE_LOG: &str =
    "restore this file of the table's log from a backup; until then, do not let any program write to the table";
const RESTORE_WHOLE_LOG: &str =
    "restore the table's log from a backup; until then, do not let any program write to the table";
/// Of a checksum that another program has put into the table's log.
pub(super) const REMOVE_SPECIAL_FILE: &str =
    "find out who created it, and remove it; if it has replaced a file of the log, restore that file from a backup";
pub(super) const MOVE_CHECKSUM: &str = "move this file out of _delta_log, because promarchive does not need it, and find out which program writes to the \
     archive";
const FOREIGN: &str = "promarchive does not write such files: find out which other program writes to the archive; if there is none, \
     keep the file and report this as a bug";
const REPORT: &str = "do not change the archive, and report this as a bug with the receiver's log";

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $severity:ident $advice:expr;)*) => {
        /// What was checked. Names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Check { $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)* }

        impl Check {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How bad it is when it does not hold.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What a person can do.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

checks! {
    /// A table of the archive is not there.
    TableMissing "table-missing" Warning
        "if the archive is new, nothing is lost: the receiver creates missing tables when it starts; otherwise \
         restore the table from a backup";
    /// A version of the log is missing.
    LogGap "log-gap" Error RESTORE_LOG;
    /// A commit cannot be read.
    LogUnreadable "log-unreadable" Error RESTORE_LOG;
    /// The table asks for features that promarchive does not know.
    LogProtocol "log-protocol" Error OTHER_PROTOCOL;
    /// The table's schema, partitions or properties are not the documented ones.
    LogSchema "log-schema" Error "only promarchive may write to the tables: restore the table from a backup made before the change";
    /// A writer's position went back.
    LogTransaction "log-transaction" Error REPORT;
    /// A commit adds a file that is there, or removes one that is not.
    LogConflict "log-conflict" Error REPORT;
    /// A commit was not made by promarchive.
    LogForeign "log-foreign" Warning "find out which program changed the table: promarchive must be the only one that writes to it";
    /// A checkpoint cannot be read.
    CheckpointUnreadable "checkpoint-unreadable" Error "move the checkpoint file and _last_checkpoint out of _delta_log: the commits contain the same information";
    /// Readers that start from the checkpoint see other files than the commits list.
    CheckpointDiffers "checkpoint-differs" Error
        "move the checkpoint files and _last_checkpoint out of _delta_log: the commits contain the same information";
    /// A listed file is not there.
    FileMissing "file-missing" Error RESTORE;
    /// A listed file has another size.
    FileSize "file-size" Error RESTORE;
    /// A listed file has other bytes than were written.
    FileChecksum "file-checksum" Error RESTORE;
    /// A listed file cannot be read whole.
    FileUnreadable "file-unreadable" Error RESTORE;
    /// A file's columns are not the documented ones.
    FileSchema "file-schema" Error FOREIGN;
    /// A listed file was not written by promarchive.
    FileOrigin "file-origin" Warning
        "find out which program changed the table: promarchive must be the only one that writes to it. The receiver \
         does not change the file";
    /// Statistics do not match the rows: readers skip rows that they should see.
    Statistics "statistics" Error FOREIGN;
    /// A listed file has no statistics.
    StatisticsMissing "statistics-missing" Warning "readers cannot skip this file; nothing is lost";
    /// There are statistics on values, with which NaN breaks filters.
    ValueStatistics "value-statistics" Error FOREIGN;
    /// Rows are out of order.
    RowOrder "row-order" Error FOREIGN;
    /// The text in `labels` is not canonical.
    Labels "labels" Error FOREIGN;
    /// A label column does not say what `labels` says.
    LabelColumn "label-column" Error FOREIGN;
    /// `series_id` is not the documented hash.
    SeriesId "series-id" Error FOREIGN;
    /// A row stands in the partition of another day.
    Partition "partition" Error FOREIGN;
    /// `stale` and a null value do not go together.
    Stale "stale" Error FOREIGN;
    /// A histogram that no receiver would have accepted.
    Histogram "histogram" Error FOREIGN;
    /// The same row twice in one file, or in two files of one flush.
    DuplicateInFlush "duplicate-in-flush" Error REPORT;
    /// The same row in the newest flush and the one before it.
    DuplicateInHorizon "duplicate-in-horizon" Error REPORT;
    /// The same row in two files further apart.
    Duplicate "duplicate" Note
        "a sender sent samples again after the receiver's horizon; nothing removes the copies yet, but a query can \
         ignore them";
    /// A file that a crash left, or that is being written now.
    Leftover "leftover" Note "readers do not see this file; you can delete it when it is older than a day";
    /// Files that later versions no longer list.
    Removed "removed" Note "readers do not see these files; older versions of the table need them";
    /// A file that nothing of promarchive puts there.
    UnexpectedFile "unexpected-file" Warning "readers do not see this file; move it out of the archive if no other program needs it";
    /// A control record that is not whole.
    ControlRecord "control-record" Warning "remove it: promarchive writes a new one when needed";
    /// A directory or file that cannot be looked at.
    DirectoryUnreadable "directory-unreadable" Error "check the permissions, then run verify again";
    /// A table holds positions that the WAL has never given out.
    WalBehind "wal-behind" Error
        "the WAL directory is an older copy, or has lost segments: records may be lost; a receiver with this WAL \
         continues after the tables' positions";
    /// A WAL segment is damaged.
    WalDamaged "wal-damaged" Error "the receiver replays all other records; copy the segment before it is purged if you want to examine it";
    /// The WAL cannot be read.
    WalUnreadable "wal-unreadable" Error "check that the path is the receiver's WAL directory, and check its permissions";
    /// The last record of a WAL segment was never completed.
    WalTorn "wal-torn" Note "this record was never acknowledged; the receiver skips it";
}

/// The most that a message takes: some label sets fit in, and a line can still be read.
const MESSAGE_BYTES: usize = 4096;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked.
    pub check: Check,
    /// In which table; none for the WAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// In which file: relative to the table's directory, or to the WAL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Row group, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_group: Option<u64>,
    /// First row concerned, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What a person can do.
    pub advice: &'static str,
}

impl Finding {
    /// A finding without a place.
    pub fn new(check: Check, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // Texts of a damaged file may be of any length.
        truncate(&mut message, MESSAGE_BYTES);
        Self {
            severity: check.severity(),
            check,
            table: None,
            file: None,
            offset: None,
            row_group: None,
            row: None,
            message,
            advice: check.advice(),
        }
    }

    /// Of a log that readers cannot open; `checksum` is the name of the newest checksum that another program has put there.
    pub(super) fn unreadable_log(message: String, checksum: Option<String>) -> Self {
        let finding = Self::new(Check::LogUnreadable, message);
        match checksum {
            Some(name) => finding.file(format!("_delta_log/{name}")).advice(MOVE_CHECKSUM),
            None => finding.advice(RESTORE_WHOLE_LOG),
        }
    }

    /// With this advice instead of the usual one.
    pub(super) fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// In this file.
    pub fn file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// In this table.
    pub fn table(self, table: &'static str) -> Self {
        Self { table: Some(table), ..self }
    }

    /// At this byte.
    pub fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// In this row group.
    pub fn row_group(self, row_group: usize) -> Self {
        Self { row_group: Some(row_group as u64), ..self }
    }

    /// At this row.
    pub fn row(self, row: u64) -> Self {
        Self { row: Some(row), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_ones_and_each_is_documented() {
        let page = include_str!("../../../docs/reference/verify.md");
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
            let row = format!("| `{}` | {} |", check.name(), check.severity());
            assert!(page.contains(&row), "docs/reference/verify.md lacks a row {row}");
        }
    }
}
