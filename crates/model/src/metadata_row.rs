//! Metadata as it is kept.

/// A row of the table `metadata`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataRow {
    /// Metric, or metric family in remote write 1.0.
    pub metric: String,
    /// Type, as Prometheus writes it.
    pub kind: &'static str,
    /// Unit; often empty.
    pub unit: String,
    /// Help text.
    pub help: String,
    /// When it was first received that day, milliseconds since the epoch.
    pub received_at: i64,
}

impl MetadataRow {
    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.metric.capacity() + self.unit.capacity() + self.help.capacity() + size_of::<Self>()
    }
}
