//! Names of labels that mean something.

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
