//! The custom resource, the configuration file of promarchive, and the types of their values; what a receiver tells about who delivers.
//!
//! No Arrow, no client, no file system: the operator writes this file, the receiver reads it, and both mean the same.

mod archive_access;
mod archive_location;
mod byte_size;
mod deliveries;
mod label_columns;
pub mod log_output;
#[cfg(feature = "kubernetes")]
pub mod metrics_archive;
mod receiver_config;
mod sender_label;
mod timespan;
mod unknown_tokens;
mod yaml;

pub use archive_access::{ArchiveAccess, ArchiveAccessError};
pub use archive_location::{ArchiveLocation, ArchiveLocationError};
pub use byte_size::{ByteSize, ByteSizeError};
pub use deliveries::{
    Deliveries, Delivery, ENTRY_HEADER, KnownSender, LONGEST_DELIVERY_BYTES, MOST_DELIVERIES, Oldest,
};
pub use label_columns::{LabelColumns, LabelColumnsError, RESERVED_COLUMNS};
pub use receiver_config::{ConfigFileError, ListenError, ReceiverConfig, parse_listen};
pub use sender_label::{SenderLabel, SenderLabelError};
pub use timespan::{Timespan, TimespanError};
pub use unknown_tokens::{UnknownTokens, UnknownTokensError};
pub use yaml::ConfigError;
