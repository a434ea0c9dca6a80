//! Names of archives, of their entries and of Prometheus objects, and the labels and annotations of the objects that belong to an archive.

mod archive;
mod component;
mod entry;
mod prometheus;
mod text;

use kube::core::params::PatchParams;

pub use archive::{ArchiveName, ca_key};
pub use component::Component;
pub use entry::{EntryName, EntryNameError};
pub use prometheus::PrometheusName;
pub use text::short_hash;

/// The Secret in the namespace of a Prometheus that holds tokens and certificates of the archives that it sends to.
pub const SECRET_NAME: &str = "promarchive-remote-write";
/// Port of every receiver, fixed from the first release: an entry names it.
pub const RECEIVER_PORT: u16 = 9201;
/// Manager of all fields that the operator writes, but for the Secret, where each archive has its own.
pub const FIELD_MANAGER: &str = "promarchive-operator";
/// What the operator waits for before a deleted archive may go.
pub const FINALIZER: &str = "promarchive.dev/archive";
/// Consent of a Prometheus object or its namespace, and of a claim that the operator did not make.
pub const ALLOW_ARCHIVES: &str = "promarchive.dev/allow-archives";
/// A new value of this annotation of an archive makes new tokens for all its senders and for the operator itself.
pub const ROTATE_TOKENS: &str = "promarchive.dev/rotate-tokens";
/// A new value of this annotation of an archive makes a new certificate authority for it.
pub const ROTATE_CERTIFICATES: &str = "promarchive.dev/rotate-certificates";
/// Uid of the archive object that a claim was made for. An archive of the same name that comes later is another one.
pub const ARCHIVE_UID: &str = "promarchive.dev/archive-uid";
/// Hash of what the operator last applied.
pub const APPLIED: &str = "promarchive.dev/applied";
/// Makes the pod begin anew when its configuration changes.
pub const CONFIG_HASH: &str = "promarchive.dev/config-hash";
/// Label of everything that the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label with the name of the program.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label with the component that an object belongs to.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label with the archive's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

/// Labels of what the operator makes; pods and policies are found by them.
pub const OWN_LABELS: [&str; 4] = [NAME, COMPONENT, INSTANCE, MANAGED_BY];

/// Of every patch that is no server-side apply.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
