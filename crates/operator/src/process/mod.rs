//! What the program runs on: its tasks, its queue, its health and metrics. Knows nothing of Kubernetes.

pub mod failpoint;
pub mod metrics;
pub mod queue;
pub mod room;
pub mod server;
pub mod supervisor;

mod chain;
mod health;
mod random;
mod since;

pub use chain::chain;
pub use health::Health;
pub use random::{NoRandomness, random};
pub use since::Since;
