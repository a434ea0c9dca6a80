//! What tests put in the place of the network, disks, stores and logs. In no release build.
//!
//! The models of a disk and of a log stand beside the traits that they implement, behind the feature `simulation`: the unit tests of `wal` and
//! `archive` need them, too, and to those the traits of a crate that depends on them would be other traits.

#[cfg(feature = "tables")]
pub mod faults;
pub mod hand_made;
pub mod protobuf;

#[cfg(feature = "tables")]
pub use promarchive_archive::log::{ModelLog, PutFault};
pub use promarchive_wal::{Faults, LossyDisk};
