//! Remote write messages as prost structs: the generated types' hand-written twin. For encoding requests, and as the
//! oracle of the decoder's tests; never on the hot path.
//!
//! Like Prometheus's own encoder, prost leaves out a −0 as if it were 0: what must keep its bits is not to be encoded
//! with it.

/// `prometheus.*`: remote write 1.0.
pub mod v1 {
    pub use super::shared::{BucketSpan, Histogram, histogram};

    /// A request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        /// Series with samples.
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
        /// Metadata, usually in requests of its own.
        #[prost(message, repeated, tag = "3")]
        pub metadata: Vec<MetricMetadata>,
    }

    /// One series.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Labels, `__name__` among them.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// Float samples.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Exemplars.
        #[prost(message, repeated, tag = "3")]
        pub exemplars: Vec<Exemplar>,
        /// Native histograms.
        #[prost(message, repeated, tag = "4")]
        pub histograms: Vec<Histogram>,
    }

    /// One label.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Label {
        /// Name.
        #[prost(string, tag = "1")]
        pub name: String,
        /// Value.
        #[prost(string, tag = "2")]
        pub value: String,
    }

    /// One float sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// Value.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since 1970 UTC.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }

    /// One exemplar.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        /// Labels.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// Value.
        #[prost(double, tag = "2")]
        pub value: f64,
        /// Milliseconds since 1970 UTC.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// Metadata of a metric family.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct MetricMetadata {
        /// Type: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram, 5 summary, 6 info, 7 stateset.
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// Name of the family.
        #[prost(string, tag = "2")]
        pub metric_family_name: String,
        /// Help text.
        #[prost(string, tag = "4")]
        pub help: String,
        /// Unit.
        #[prost(string, tag = "5")]
        pub unit: String,
    }
}

/// `io.prometheus.write.v2.*`: remote write 2.0.
pub mod v2 {
    pub use super::shared::{BucketSpan, Histogram, histogram};

    /// A request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// Strings that references point to; the first is empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// Series.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// One series.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Name, value, name, value, …
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Float samples.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Native histograms.
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
        /// Exemplars.
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar>,
        /// Metadata.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
        /// Milliseconds since 1970 UTC; up to rc.3.
        #[prost(int64, tag = "6")]
        pub created_timestamp: i64,
    }

    /// One float sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// Value.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since 1970 UTC.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
        /// Milliseconds since 1970 UTC, 0: none.
        #[prost(int64, tag = "3")]
        pub start_timestamp: i64,
    }

    /// One exemplar.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        /// Name, value, name, value, …
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Value.
        #[prost(double, tag = "2")]
        pub value: f64,
        /// Milliseconds since 1970 UTC.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// Metadata of a series.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub struct Metadata {
        /// Type, numbered as in 1.0.
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// Help text.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// Unit.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}

/// The histogram, which is the same in both but for `start_timestamp`.
mod shared {
    /// A native histogram.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        /// All observations.
        #[prost(oneof = "histogram::Count", tags = "1, 2")]
        pub count: Option<histogram::Count>,
        /// Sum of observations.
        #[prost(double, tag = "3")]
        pub sum: f64,
        /// Resolution, or −53: custom buckets.
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        /// Breadth of the zero bucket.
        #[prost(double, tag = "5")]
        pub zero_threshold: f64,
        /// Observations in the zero bucket.
        #[prost(oneof = "histogram::ZeroCount", tags = "6, 7")]
        pub zero_count: Option<histogram::ZeroCount>,
        /// Negative side: which buckets.
        #[prost(message, repeated, tag = "8")]
        pub negative_spans: Vec<BucketSpan>,
        /// Negative side of integers: differences to the bucket before.
        #[prost(sint64, repeated, tag = "9")]
        pub negative_deltas: Vec<i64>,
        /// Negative side of floats: counts.
        #[prost(double, repeated, tag = "10")]
        pub negative_counts: Vec<f64>,
        /// Positive side: which buckets.
        #[prost(message, repeated, tag = "11")]
        pub positive_spans: Vec<BucketSpan>,
        /// Positive side of integers: differences to the bucket before.
        #[prost(sint64, repeated, tag = "12")]
        pub positive_deltas: Vec<i64>,
        /// Positive side of floats: counts.
        #[prost(double, repeated, tag = "13")]
        pub positive_counts: Vec<f64>,
        /// 0 unknown, 1 yes, 2 no, 3 gauge.
        #[prost(int32, tag = "14")]
        pub reset_hint: i32,
        /// Milliseconds since 1970 UTC.
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
        /// Bounds of custom buckets.
        #[prost(double, repeated, tag = "16")]
        pub custom_values: Vec<f64>,
        /// Milliseconds since 1970 UTC, 0: none; 2.0 only.
        #[prost(int64, tag = "17")]
        pub start_timestamp: i64,
    }

    /// A run of neighbouring buckets.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub struct BucketSpan {
        /// Gap to the span before, or start of the first.
        #[prost(sint32, tag = "1")]
        pub offset: i32,
        /// Number of buckets.
        #[prost(uint32, tag = "2")]
        pub length: u32,
    }

    /// The `oneof`s of [`Histogram`].
    pub mod histogram {
        /// All observations.
        #[derive(Clone, Copy, PartialEq, prost::Oneof)]
        pub enum Count {
            /// Of an integer histogram.
            #[prost(uint64, tag = "1")]
            CountInt(u64),
            /// Of a float histogram.
            #[prost(double, tag = "2")]
            CountFloat(f64),
        }

        /// Observations in the zero bucket.
        #[derive(Clone, Copy, PartialEq, prost::Oneof)]
        pub enum ZeroCount {
            /// Of an integer histogram.
            #[prost(uint64, tag = "6")]
            ZeroCountInt(u64),
            /// Of a float histogram.
            #[prost(double, tag = "7")]
            ZeroCountFloat(f64),
        }
    }
}
