//! What must hold for every input that comes from the network, from a disk or from a person: one function for each fuzz target,
//! which panics where it does not. The fuzzer calls them (`fuzz/`), and so does a test, on every input that was ever interesting
//! (`tests/replay.rs`).
//!
//! What is tested is in crates without Arrow and the Delta kernel: with them the fuzzer would take many minutes to build.

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
