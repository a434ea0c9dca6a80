//! What the program runs on: its tasks, its queue, its health and metrics. Knows nothing of Kubernetes.

pub(crate) mod failpoint;
pub(crate) mod metrics;
pub(crate) mod queue;
pub(crate) mod room;
pub(crate) mod server;
pub(crate) mod supervisor;

mod chain;
mod health;
mod random;
mod since;

pub use chain::chain;
pub use health::Health;
pub use random::{NoRandomness, random};
pub use since::Since;
