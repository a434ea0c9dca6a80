//! Remote write: the bytes of one request in, validated and borrowed series out.
//!
//! ```text
//! headers ─► negotiate ─► Protocol
//! body ─► decompress ─► Decoder ─► TimeSeries ─┬─► LabelSet::parse      first sight of a series only
//!                     one forward scan         ├─► RawHistogram::parse  each native histogram
//!                     no allocation a series   ├─► Exemplar::parse
//!                                              └─► samples, as they are
//! ```
//!
//! Two messages, one shape. `prometheus.WriteRequest` (1.0) spells labels out; `io.prometheus.write.v2.Request` (2.0)
//! refers to a table of symbols. [`Decoder`] reads both in place and hands out label bytes unparsed: known series are
//! found by those bytes.
//!
//! Faults come in three kinds, and each ends in an answer of its own:
//!
//! * [`Unsupported`]: a request in a format that is not spoken here: 415;
//! * [`DecodeError`]: broken framing, nothing of the request is usable: 400;
//! * [`Invalid`](promarchive_model::Invalid): one series, histogram or exemplar that cannot be kept. It is refused by name ([`Reason`](promarchive_model::Reason)), collected
//!   in [`Refusals`](promarchive_model::Refusals) and answered with 400, the rest of the request is kept.
//!
//! Values are IEEE 754 bits (`u64`) throughout, timestamps are milliseconds since 1970 UTC (`i64`): nothing is rounded,
//! and a stale marker stays one.
//!
//! Memory is bounded by the decompressed body, whatever it declares. A real request takes a fraction of its size again,
//! for the symbols and one series. A hostile one gets to 6 times its size in the samples of one series, 4 times in
//! symbols, 8 times in a histogram's buckets (and twice that while a vector grows): more is [`Fault::TooManyFields`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod cursor;
mod decode;
mod decompress;
mod error;
mod exemplar;
mod histogram;
mod labels;
mod metadata;
mod negotiation;
pub mod proto;
mod series;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use decompress::decompress;
pub use error::{DecodeError, ENTRY_BYTES, FREE_ENTRIES, Fault, Malformed};
pub use exemplar::{Exemplar, RawExemplar};
pub use histogram::RawHistogram;
pub use labels::{LabelSet, RawLabels, Scattered};
pub use metadata::{Metadata, MetadataEntries, MetricKind, RawMetadata, SeriesMetadata};
pub use negotiation::{Unsupported, negotiate};
pub use series::TimeSeries;
