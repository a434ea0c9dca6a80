//! What tests put in the place of the network, disks, stores and logs. In no release build.

pub mod hand_made;
