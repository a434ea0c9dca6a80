//! One MetricsArchive, from what is found in the cluster to what is said of it.
//!
//! One look walks through the modules in this order: `reconcile` → `validate` (pure) → `keep`, which is `dereference` (IO) → `credentials`
//! (pure) and `secrets` (IO) → `build` (pure) → `apply` (IO) → `configure` (pure but for the patch) → `status` (pure) and `status_writer`
//! (IO). `removal` is the end of an archive.

pub mod apply;
pub mod build;
pub mod chosen;
pub mod claims;
pub mod configure;
pub mod context;
pub mod credentials;
pub mod dereference;
pub mod keep;
pub mod orphans;
pub mod own;
pub mod receiver_client;
pub mod reconcile;
pub mod removal;
pub mod secrets;
pub mod status;
pub mod status_writer;
pub mod validate;
pub mod withdrawal;

mod look_error;

pub use look_error::LookError;
