//! One MetricsArchive, from what is found in the cluster to what is said of it.
//!
//! One look walks through the modules in this order: `reconcile` → `validate` (pure) → `keep`, which is `dereference` (IO) → `credentials`
//! (pure) and `secrets` (IO) → `build` (pure) → `apply` (IO) → `configure` (pure but for the patch) → `status` (pure) and `status_writer`
//! (IO). `removal` is the end of an archive.

pub(crate) mod apply;
pub mod build;
pub(crate) mod chosen;
pub(crate) mod claims;
pub(crate) mod configure;
pub(crate) mod context;
pub(crate) mod credentials;
pub(crate) mod dereference;
pub(crate) mod keep;
pub(crate) mod orphans;
pub(crate) mod own;
pub(crate) mod receiver_client;
pub(crate) mod reconcile;
pub(crate) mod removal;
pub(crate) mod secrets;
pub(crate) mod status;
pub(crate) mod status_writer;
pub mod validate;
pub(crate) mod withdrawal;

mod look_error;

pub use look_error::LookError;
