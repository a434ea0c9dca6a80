//! promarchive beside its peers: one load, one machine, one run; and its two hot loops by themselves (`benches/`).
//!
//! ```text
//! load ─► sender ─► receiver's process ─► measure ─► report
//! ```

pub mod error;
pub mod floor;
pub mod http;
pub mod load;
pub mod measure;
pub mod neighbours;
pub mod process;
pub mod receiver;
pub mod report;
pub mod sender;

pub use error::{Error, Result};
