//! Sorted files read side by side: series after series, in the order that files are sorted by, in memory that does not grow with the files.
//!
//! ```text
//! files ──► Cursor, one a file ──► SeriesMerge ──► a series, and the parts of it that each file has
//! ```

mod cursor;
mod merge;

pub use merge::{Part, SeriesMerge};

/// Whose rows: metric, and the text of all other labels. A table without series has no labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesName {
    /// The metric.
    pub metric: String,
    /// The text in the column `labels`.
    pub labels: String,
}

impl SeriesName {
    fn is(&self, (metric, labels): (&str, &str)) -> bool {
        self.metric == metric && self.labels == labels
    }
}
