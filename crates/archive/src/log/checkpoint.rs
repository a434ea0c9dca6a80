//! Checkpoints of tables with a feature that the Delta kernel does not know.
//!
//! The kernel reads such a table, and checks before it writes a checkpoint whether it knows all writer features. It asks the snapshot's table
//! configuration for that, and takes what it writes from the log itself. So it is given a snapshot of the same log whose configuration leaves out
//! promarchive's own feature. In the checkpoint stand all features, as the log has them.

use std::sync::Arc;

use delta_kernel::actions::Protocol;
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::table_configuration::TableConfiguration;
use delta_kernel::table_features::TableFeature;
use delta_kernel::{Engine, KernelError, Snapshot};

use crate::log::protocol::WRITER_FEATURE;

/// Writes a checkpoint, and returns the same version of the table, read from it.
pub(super) fn write_checkpoint(snapshot: &SnapshotRef, engine: &dyn Engine) -> Result<SnapshotRef, KernelError> {
    let (_, written) = for_the_kernel(snapshot)?.checkpoint(engine, None)?;
    let configuration = snapshot.table_configuration().clone();
    Ok(Arc::new(Snapshot::new(written.log_segment().clone(), configuration)?))
}

/// The same snapshot with what the kernel knows of the table's features.
fn for_the_kernel(snapshot: &SnapshotRef) -> Result<SnapshotRef, KernelError> {
    let configuration = snapshot.table_configuration();
    let protocol = configuration.protocol();
    let is_known = |feature: &&TableFeature| feature.to_string() != WRITER_FEATURE;
    let writer_features = protocol.writer_features().map(|features| features.iter().filter(is_known));
    let protocol = Protocol::try_new(
        protocol.min_reader_version(),
        protocol.min_writer_version(),
        protocol.reader_features().map(<[TableFeature]>::iter),
        writer_features,
    )?;
    let root = configuration.table_root().clone();
    let configuration =
        TableConfiguration::try_new(configuration.metadata().clone(), protocol, root, snapshot.version())?;
    Ok(Arc::new(Snapshot::new(snapshot.log_segment().clone(), configuration)?))
}
