//! What must hold for every input that comes from the network, from a disk or from a person: one function for each fuzz target,
//! which panics where it does not. The fuzzer calls them (`fuzz/`), and so does a test, on every input that was ever interesting
//! (`tests/replay.rs`).
//!
//! The code under test is included by its path, room by room, because it needs neither Arrow nor the Delta kernel, and with them
//! the fuzzer would take many minutes to build.

#![allow(dead_code, unused_imports, reason = "only other rooms use them of the included ones")]

pub mod configuration;
pub mod decode;
pub mod memory;
pub mod metrics_archive;
pub mod mutation;
pub mod request;
pub mod wal_replay;

pub use configuration::configuration;
pub use decode::{decode_v1, decode_v2};
pub use metrics_archive::metrics_archive;
pub use request::request;
pub use wal_replay::wal_replay;

/// A fuzz target: its name, and what it does with one input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; the names are those of `fuzz/fuzz_targets` and of the folders of inputs.
pub const TARGETS: &[Target] = &[
    ("decode_v1", decode_v1),
    ("decode_v2", decode_v2),
    ("request", request),
    ("wal_replay", wal_replay),
    ("configuration", configuration),
    ("metrics_archive", metrics_archive),
];

#[path = "../../../crates/pipeline/src/environment.rs"]
mod environment;
#[path = "../../../crates/pipeline/src/failpoint.rs"]
mod failpoint;
#[path = "../../../crates/pipeline/src/remote_write/mod.rs"]
mod remote_write;
#[path = "../../../crates/pipeline/src/receiver/settings.rs"]
mod settings;
#[path = "../../../crates/pipeline/src/receiver/tokens/set.rs"]
mod token_set;
#[path = "../../../crates/pipeline/src/wal/mod.rs"]
mod wal;

#[path = "../../../crates/operator/src/entry/name.rs"]
mod entry_name;
#[path = "../../../crates/operator/src/build/hash.rs"]
mod hash;
#[path = "../../../crates/operator/src/names.rs"]
mod names;
#[path = "../../../crates/operator/src/quantity.rs"]
mod quantity;
#[path = "../../../crates/operator/src/receiver_pod.rs"]
mod receiver_pod;
#[path = "../../../crates/operator/src/validate.rs"]
mod validate;

// Where the operator has these.
mod build {
    pub(crate) use crate::hash::short_hash;
}
mod entry {
    pub(crate) use crate::entry_name::{ArchiveName, PrometheusName};
}
