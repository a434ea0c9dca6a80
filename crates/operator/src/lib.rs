//! Custom resources to receivers, and entries in `remoteWrite`.
//!
//! One look at one archive walks through the modules in this order: `reconcile` → `dereference` (IO) → `validate` (pure) →
//! `secrets`, `credentials` and `build` (pure) → `apply` (IO) → `configure` with `senders`, `entry` and `delivery` (pure but
//! for the patch) → `status` (pure), `status_writer` (IO). `removal` is the end of an archive. `cache` and `queue` decide when
//! to look. `supervisor` starts every task, and notices its end.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod apply;
pub mod build;
pub mod cache;
pub mod check;
pub mod claims;
pub mod concern;
pub mod configure;
pub mod consent;
pub mod context;
pub mod crd;
pub mod credentials;
pub mod delivery;
pub mod dereference;
pub mod drift;
pub mod entry;
pub mod events;
pub mod failpoint;
pub mod guard;
pub mod kind;
pub mod metrics;
pub mod names;
pub mod orphans;
pub mod patch;
pub mod prometheus;
pub mod quantity;
pub mod queue;
pub mod receiver_client;
pub mod receiver_pod;
pub mod reconcile;
pub mod removal;
pub mod room;
pub mod run;
pub mod scope;
pub mod secrets;
pub mod senders;
pub mod server;
pub mod status;
pub mod status_writer;
pub mod supervisor;
pub mod uninstall;
pub mod validate;
pub mod withdrawal;
