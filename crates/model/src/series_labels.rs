//! The labels of a series, wherever they are kept.

/// The labels of one series. Whoever writes series takes them in this form, so that no label set is copied for it.
pub trait SeriesLabels: Copy {
    /// The metric name.
    fn metric(&self) -> &str;

    /// All other labels, sorted by the bytes of their names.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)>;
}
