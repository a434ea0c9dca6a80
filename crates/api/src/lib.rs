//! The custom resource, the configuration file of promarchive, and the types of their values; what a receiver tells about who delivers.
//!
//! No Arrow and no client: the operator writes these files, the receiver reads them, and both mean the same. Of the file system only
//! the check that archive and WAL are apart knows something.

mod archive_access;
mod archive_location;
pub mod bounds;
mod byte_size;
mod configuration;
mod deliveries;
mod label_columns;
pub mod log_output;
#[cfg(feature = "kubernetes")]
pub mod metrics_archive;
pub mod receiver_settings;
mod sender_label;
mod timespan;
pub mod tokens_file;
mod unknown_tokens;
mod yaml;

pub use archive_access::{ArchiveAccess, ArchiveAccessError};
pub use archive_location::{ArchiveLocation, ArchiveLocationError, Bucket, Service};
pub use byte_size::{ByteSize, ByteSizeError};
pub use configuration::{
    ArchiveConfig, ConfigFile, ConfigFileError, Configuration, ListenError, ReceiveConfig, parse_listen,
};
pub use deliveries::{
    Deliveries, Delivery, ENTRY_HEADER, KnownSender, LONGEST_DELIVERY_BYTES, MOST_DELIVERIES, Oldest, STARTING,
    STOPPING,
};
pub use label_columns::{LabelColumns, LabelColumnsError, RESERVED_COLUMNS, RESERVED_FOR_LATER};
pub use sender_label::{SenderLabel, SenderLabelError};
pub use timespan::{Timespan, TimespanError};
pub use unknown_tokens::{UnknownTokens, UnknownTokensError};
pub use yaml::ConfigError;
