//! Whether a store's conditional put holds: proved, not assumed.
//!
//! A commit is a put of a name that succeeds only if there is no object of this name. On a store that ignores the condition, or that looks first
//! and writes then, two writers take the same version, and what one of them was told to be committed is gone. Stores differ, some by
//! version, and some hold only while one put follows the other. So a probe puts one name twice, and then many times at once, over a connection
//! each, round after round. In every contest one writer must win, and what it put must be what is read.
//!
//! A writer that is told that it has lost, or nothing at all, may have won: its put landed, its answer got lost, and the client asked
//! again. So what is read decides ([`verdict`]).

mod examination;
mod scratch;
#[cfg(test)]
mod tests;
mod verdict;

pub use examination::{Check, examine};
use promarchive_model::environment::Entropy;
pub use scratch::SCRATCH_DIRECTORY;
use scratch::Scratch;
pub use verdict::Weakness;

use super::Store;
use crate::log::LogError;

/// How often a probe lets writers meet, and how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Contests at once, after the one in turn.
    pub rounds: u32,
    /// Writers in each of them.
    pub contenders: u32,
}

impl Effort {
    /// What a store must pass before anything is written to an archive there. The worst store that was tried let 2 of 32 win in a round.
    pub const FULL: Self = Self { rounds: 10, contenders: 32 };
    /// What it must pass again at each start: it may have been replaced by another version.
    pub const SHORT: Self = Self { rounds: 1, contenders: 32 };

    /// Puts that a probe costs, if all of them are answered.
    pub fn puts(self) -> u32 {
        2 + self.rounds * self.contenders
    }

    /// Reads that it costs, likewise.
    pub fn reads(self) -> u32 {
        1 + self.rounds
    }
}

/// Why an archive cannot be kept in a store, or not yet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// Its conditional put does not hold.
    #[error(
        "{store} cannot hold an archive: {weakness}. One writer could replace what another has committed. Use a newer version of the store, or one \
         of those that docs/how-to/keep-an-archive-in-a-bucket.md lists; `promarchive check-store URL` tries it"
    )]
    Weak {
        /// Which, and where it was asked.
        store: String,
        /// What was seen.
        weakness: Weakness,
    },
    /// The store cannot be asked now.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ProbeError {
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Weak { .. } => false,
            Self::Log(e) => e.is_retryable(),
        }
    }
}

/// Proves the conditional put of a store, and removes what it has put.
pub async fn prove(store: &Store, effort: Effort, entropy: &dyn Entropy) -> Result<(), ProbeError> {
    let mut scratch = Scratch::new(store, entropy);
    let proved = match scratch.in_turn().await {
        Ok(()) => scratch.at_once(effort).await,
        failed => failed,
    };
    scratch.clear().await;
    proved
}
