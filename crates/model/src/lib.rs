//! What an archive is made of: samples, histograms, label sets, days, who writes, and the one order that decides between
//! rows with the same key.
//!
//! Nothing here knows a wire format, a file format or Arrow. [`environment`] (time and randomness, passed in) and [`failpoint`] (where tests
//! break the write path) are here because every crate of the write path needs them.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod date;
pub mod environment;
mod error_text;
pub mod failpoint;
mod flush_id;
mod histogram;
mod label_name;
mod labels_text;
mod metadata_row;
mod protocol;
pub mod quote;
mod rank;
mod refusal;
mod sample;
mod series_labels;
mod set_label;
mod timestamp;
mod writer_id;

pub use date::{DAY_MS, Date};
pub use error_text::chain;
pub use flush_id::FlushId;
pub use histogram::{Counts, Histogram, ResetHint, Span};
pub use label_name::METRIC_NAME;
pub use labels_text::{MalformedLabels, compare_escaped, labels_text, parse_labels_text, push_escaped, series_id};
pub use metadata_row::MetadataRow;
pub use protocol::Protocol;
pub use rank::{HistogramRank, histogram_rank, sample_rank};
pub use refusal::{Invalid, Reason, Refusals};
pub use sample::{STALE_NAN, Sample};
pub use series_labels::SeriesLabels;
pub use set_label::SetLabel;
pub use timestamp::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, TimestampBounds};
pub use writer_id::WriterId;
