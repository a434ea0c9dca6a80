//! What was proved of the archive's store.

use serde::{Deserialize, Serialize};

use super::Record;

/// The conditional put of a store has held. A start that finds it said of its own store proves less than the first one.
///
/// An archive may be copied to another store, with its records: so the record says of which one it holds. There is one subject,
/// [`Self::SUBJECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proved {
    /// The URL of the archive, and where it was asked for.
    pub store: String,
    /// How often writers met.
    pub rounds: u32,
    /// How many of them each time.
    pub contenders: u32,
    /// Version of the program that proved it.
    pub version: String,
}

impl Record for Proved {
    const KIND: &'static str = "probe";
}

impl Proved {
    /// What all such records are about.
    pub const SUBJECT: &'static str = "store";

    /// Whether so much was proved of this store.
    pub fn holds(&self, store: &str, rounds: u32, contenders: u32) -> bool {
        self.store == store && self.rounds >= rounds && self.contenders >= contenders
    }
}
