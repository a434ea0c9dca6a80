//! What the tables look like.
//!
//! One archive is one root with Delta Lake tables, each partitioned by `date` (UTC, from the row's timestamp). What a table is stands in its
//! [`Descriptor`], once; `docs/reference/tables.md` is held against it. A change of a table's columns is a new version of it.

mod columns;
mod descriptor;
#[cfg(test)]
mod page;
mod tables;

pub(crate) use columns::span_fields;
pub use columns::{Column, arrow_schema, columns, delta_schema};
pub use descriptor::{ColumnDescriptor, Descriptor, Kind, Role, Table};
pub use promarchive_api::{LabelColumns, LabelColumnsError};
pub use tables::Raw;

/// Table property that holds [`Table::version`].
pub const SCHEMA_VERSION_PROPERTY: &str = "promarchive.schemaVersion";
/// Table property that holds the label columns, comma separated.
pub const LABEL_COLUMNS_PROPERTY: &str = "promarchive.labelColumns";
/// The partition column of every table.
pub const DATE: &str = "date";
/// The column that the label columns follow.
const LABELS: &str = "labels";
