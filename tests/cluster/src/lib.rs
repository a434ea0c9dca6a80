//! A Kubernetes cluster for tests: real parts, as processes, in one network namespace.
//!
//! Nothing outside of the cluster's directory is changed but what carries its name, `promarchive-NAME`: a network
//! namespace, a control group in every hierarchy, and a line in `/run/promarchive-cluster`. So whatever a run leaves
//! behind when it is killed, the name alone is enough to find and end it, and the next [`Cluster::start`] does that.
//!
//! Inside, every cluster has the same addresses, all from ranges that are reserved for documentation: see [`network`].

mod certificates;
mod cgroup;
mod cluster;
mod control_plane;
mod daemon;
mod end;
mod error;
pub mod image;
mod injection;
mod kubeconfig;
mod layout;
pub mod network;
mod node;
mod part;
mod prometheus_operator;
mod register;
mod start;
mod tools;
mod volumes;

pub use cluster::{Cluster, Shape};
pub use end::{end, list};
pub use error::{Error, Result};
pub use image::Image;
pub use part::Part;
pub use start::Options;
pub use tools::Tools;
