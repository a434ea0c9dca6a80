//! What the tables look like: one fixed schema per table, and the text form of a label set.
//!
//! One archive is one root with four Delta Lake tables, each partitioned by `date` (UTC, from the row's timestamp). The
//! columns are documented for users in `docs/reference/tables.md`; a change of them is a new [`SCHEMA_VERSION`].

mod columns;

pub(crate) use columns::span_fields;
pub use columns::{Column, Kind, arrow_schema, columns, delta_schema};
pub use promarchive_api::{LabelColumns, LabelColumnsError};

/// Version of all tables' columns, in the property [`SCHEMA_VERSION_PROPERTY`] of each table.
pub const SCHEMA_VERSION: u32 = 1;
/// Table property that holds [`SCHEMA_VERSION`].
pub const SCHEMA_VERSION_PROPERTY: &str = "promarchive.schemaVersion";
/// Table property that holds the label columns, comma separated.
pub const LABEL_COLUMNS_PROPERTY: &str = "promarchive.labelColumns";
/// The partition column of every table.
pub const DATE: &str = "date";

/// The tables of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Float samples and stale markers.
    Samples,
    /// Native histograms.
    Histograms,
    /// Exemplars.
    Exemplars,
    /// Type, help and unit of metrics.
    Metadata,
}

impl Table {
    /// All tables, in the order in which a flush commits them.
    pub const ALL: [Self; 4] = [Self::Samples, Self::Histograms, Self::Exemplars, Self::Metadata];

    /// The table's directory under the archive's root, and its name to users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Histograms => "histograms",
            Self::Exemplars => "exemplars",
            Self::Metadata => "metadata",
        }
    }

    /// Whether the rows belong to series, and so carry `labels`, label columns and `series_id`.
    pub fn has_series(self) -> bool {
        self != Self::Metadata
    }
}
