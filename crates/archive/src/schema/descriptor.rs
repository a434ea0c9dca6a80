//! What a table is: its name, its version, and its columns with their roles.
//!
//! Everything that depends on which columns there are is derived from a [`Descriptor`]: the schemas of Arrow and Delta, how a file is
//! sorted and what has statistics, the key by which rows are told apart, and the reference page.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text that repeats from row to row: dictionary encoded.
    Text,
    /// Signed 64 bits.
    Long,
    /// Signed 64 bits that repeat from row to row: dictionary encoded.
    RepeatedLong,
    /// Signed 32 bits.
    Int,
    /// IEEE 754 double, every bit kept; never with statistics, because NaN breaks pruning.
    Double,
    /// True or false.
    Boolean,
    /// Milliseconds since the epoch, UTC.
    Timestamp,
    /// Lists of longs.
    Longs,
    /// Lists of doubles.
    Doubles,
    /// Lists of (offset, length): bucket spans.
    Spans,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of what tells one row from another, and files are sorted by it. The key columns in their order are the sort order.
    SortKey,
    /// Part of what tells one row from another; files are not sorted by it.
    Key,
    /// Says again what the key says, in a form that is easier to query.
    Derived,
    /// What is known of the key.
    Value,
}

/// A column of a table's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDescriptor {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is for.
    pub role: Role,
    /// When it is null, in words; none for never.
    pub null: Option<&'static str>,
    /// Whether files and the log hold its smallest and largest value.
    pub statistics: bool,
    /// What it says, for the reference page.
    pub about: &'static str,
}

impl ColumnDescriptor {
    pub(super) const fn new(name: &'static str, kind: Kind, role: Role, about: &'static str) -> Self {
        Self { name, kind, role, null: None, statistics: false, about }
    }

    pub(super) const fn value(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self::new(name, kind, Role::Value, about)
    }

    pub(super) const fn null(mut self, when: &'static str) -> Self {
        self.null = Some(when);
        self
    }

    pub(super) const fn with_statistics(mut self) -> Self {
        self.statistics = true;
        self
    }
}

/// What a table is.
#[derive(Debug)]
pub struct Descriptor {
    /// Its place in the order of tables, which is that of commits.
    pub(super) order: u8,
    /// Its directory under the archive's root, and its name to users.
    pub name: &'static str,
    /// Version of its columns.
    pub version: u32,
    /// Whether the rows belong to series: then the label columns follow the column `labels`.
    pub has_series: bool,
    /// Its columns but for label columns and `date`, in order.
    pub columns: &'static [ColumnDescriptor],
}

/// A table of an archive, by its descriptor.
#[derive(Clone, Copy)]
pub struct Table(pub(super) &'static Descriptor);

impl Table {
    /// What it is.
    pub fn descriptor(self) -> &'static Descriptor {
        self.0
    }

    /// Its directory under the archive's root, and its name to users.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Version of its columns.
    pub fn version(self) -> u32 {
        self.0.version
    }

    /// Whether the rows belong to series, and so carry `labels`, label columns and `series_id`.
    pub fn has_series(self) -> bool {
        self.0.has_series
    }

    /// The columns that files are sorted by, in the order of sorting.
    pub fn sort_key(self) -> impl Iterator<Item = &'static str> {
        self.0.columns.iter().filter(|column| column.role == Role::SortKey).map(|column| column.name)
    }

    /// The columns that tell one row from another.
    pub fn key(self) -> impl Iterator<Item = &'static str> {
        let is_key = |column: &&ColumnDescriptor| matches!(column.role, Role::SortKey | Role::Key);
        self.0.columns.iter().filter(is_key).map(|column| column.name)
    }

    /// The columns with smallest and largest values in files and log.
    pub fn statistics(self) -> impl Iterator<Item = &'static str> {
        self.0.columns.iter().filter(|column| column.statistics).map(|column| column.name)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.0.order == other.0.order
    }
}

impl Eq for Table {}

impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Table {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order.cmp(&other.0.order)
    }
}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.order.hash(state);
    }
}
