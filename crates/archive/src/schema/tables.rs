//! The tables of an archive.

use super::descriptor::{ColumnDescriptor, Descriptor, Kind, Role, Table};

/// The rows of a table that a receiver writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
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
    /// Float samples and stale markers.
    pub const SAMPLES: Self = Self(&SAMPLES);
    /// Native histograms.
    pub const HISTOGRAMS: Self = Self(&HISTOGRAMS);
    /// Exemplars.
    pub const EXEMPLARS: Self = Self(&EXEMPLARS);
    /// Type, help and unit of metrics.
    pub const METADATA: Self = Self(&METADATA);

    /// All tables, in the order in which a flush commits them.
    pub const ALL: [Self; 4] = [Self::SAMPLES, Self::HISTOGRAMS, Self::EXEMPLARS, Self::METADATA];

    /// What a receiver writes into it; none for a table that is made of others.
    pub fn raw(self) -> Option<Raw> {
        let kinds = [Raw::Samples, Raw::Histograms, Raw::Exemplars, Raw::Metadata];
        Self::ALL.into_iter().zip(kinds).find(|(table, _)| *table == self).map(|(_, raw)| raw)
    }
}

const METRIC: ColumnDescriptor =
    ColumnDescriptor::new("metric", Kind::Text, Role::SortKey, "the label `__name__`").with_statistics();
const LABELS: ColumnDescriptor = ColumnDescriptor::new(
    "labels",
    Kind::Text,
    Role::SortKey,
    "all other labels as [canonical text](#labels), promoted ones too. (`metric`, `labels`) is the identity of a series",
);
const SERIES_ID: ColumnDescriptor =
    ColumnDescriptor::new("series_id", Kind::RepeatedLong, Role::Derived, "[hash](#series_id) of metric and labels");
const TIMESTAMP: ColumnDescriptor = ColumnDescriptor::new(
    "timestamp",
    Kind::Timestamp,
    Role::SortKey,
    "the row's own time, in whole milliseconds. 1900 to 9999; never when it arrived",
)
.with_statistics();
const START_TIMESTAMP: ColumnDescriptor =
    ColumnDescriptor::value("start_timestamp", Kind::Timestamp, "since when a counter counts. Remote write 2.0 only")
        .null("if none was sent");

static SAMPLES: Descriptor = Descriptor {
    order: 0,
    name: "samples",
    version: 1,
    has_series: true,
    columns: &[
        METRIC,
        LABELS,
        SERIES_ID,
        TIMESTAMP,
        START_TIMESTAMP,
        ColumnDescriptor::value(
            "value",
            Kind::Double,
            "the value, bit for bit: NaN with its payload, −0, infinities, subnormals",
        )
        .null("exactly if `stale`"),
        ColumnDescriptor::value("stale", Kind::Boolean, "the row is a stale marker: the series ended here"),
    ],
};

const INTEGER: &str = "in float histograms";
const FLOAT: &str = "in integer histograms";

static HISTOGRAMS: Descriptor = Descriptor {
    order: 1,
    name: "histograms",
    version: 1,
    has_series: true,
    columns: &[
        METRIC,
        LABELS,
        SERIES_ID,
        TIMESTAMP,
        START_TIMESTAMP,
        ColumnDescriptor::value("stale", Kind::Boolean, "the row is a stale marker"),
        ColumnDescriptor::value("reset_hint", Kind::Text, "`unknown`, `yes`, `no`, `gauge`"),
        ColumnDescriptor::value(
            "schema",
            Kind::Int,
            "−4 to 52: exponential buckets of this resolution; −53: custom buckets",
        ),
        ColumnDescriptor::value(
            "zero_threshold",
            Kind::Double,
            "the zero bucket holds what is at most this far from 0",
        ),
        ColumnDescriptor::value("sum", Kind::Double, "sum of the observations").null("exactly if `stale`"),
        ColumnDescriptor::value("count", Kind::Long, "observations in all").null(INTEGER),
        ColumnDescriptor::value("zero_count", Kind::Long, "observations in the zero bucket").null(INTEGER),
        ColumnDescriptor::value(
            "positive_counts",
            Kind::Longs,
            "observations of each bucket that `positive_spans` names: absolute, not differences",
        )
        .null(INTEGER),
        ColumnDescriptor::value("negative_counts", Kind::Longs, "the same of `negative_spans`").null(INTEGER),
        ColumnDescriptor::value("float_count", Kind::Double, "`count` of a float histogram").null(FLOAT),
        ColumnDescriptor::value("float_zero_count", Kind::Double, "`zero_count` of a float histogram").null(FLOAT),
        ColumnDescriptor::value("float_positive_counts", Kind::Doubles, "`positive_counts` of a float histogram")
            .null(FLOAT),
        ColumnDescriptor::value("float_negative_counts", Kind::Doubles, "`negative_counts` of a float histogram")
            .null(FLOAT),
        ColumnDescriptor::value(
            "positive_spans",
            Kind::Spans,
            "which positive buckets the counts are of; an empty list if there are none",
        ),
        ColumnDescriptor::value("negative_spans", Kind::Spans, "the same of negative buckets"),
        ColumnDescriptor::value("custom_values", Kind::Doubles, "upper bounds, increasing; +Inf is implied")
            .null("unless custom buckets were sent"),
    ],
};

static EXEMPLARS: Descriptor = Descriptor {
    order: 2,
    name: "exemplars",
    version: 1,
    has_series: true,
    columns: &[
        METRIC,
        LABELS,
        SERIES_ID,
        TIMESTAMP,
        ColumnDescriptor::new("value", Kind::Double, Role::Key, "the exemplar's value, bit for bit"),
        ColumnDescriptor::new(
            "exemplar_labels",
            Kind::Text,
            Role::Key,
            "its own labels (`trace_id`, …) as [canonical text](#labels)",
        ),
    ],
};

static METADATA: Descriptor = Descriptor {
    order: 3,
    name: "metadata",
    version: 1,
    has_series: false,
    columns: &[
        ColumnDescriptor::new(
            "metric",
            Kind::Text,
            Role::SortKey,
            "remote write 2.0: the metric of a series, `…_bucket` and `…_count` included. 1.0: the metric family",
        )
        .with_statistics(),
        ColumnDescriptor::value("timestamp", Kind::Timestamp, "when it was first received that day").with_statistics(),
        ColumnDescriptor::new(
            "type",
            Kind::Text,
            Role::Key,
            "`counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset`, `unknown`",
        ),
        ColumnDescriptor::new("unit", Kind::Text, Role::Key, "may be empty"),
        ColumnDescriptor::new("help", Kind::Text, Role::Key, "may be empty"),
    ],
};
