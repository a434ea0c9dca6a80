//! Which histories a run looks at.

use std::ops::Range;

use promarchive_model::environment::{Entropy, SystemEntropy};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Seeds of as many histories as a normal run has time for, others in every run. `PROMARCHIVE_HISTORIES` asks for more, `PROMARCHIVE_SEED` for
/// that one.
pub(super) fn seeds(usual: u64) -> Range<u64> {
    match number("PROMARCHIVE_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = SystemEntropy.next_u64() >> 16;
            first..first + number("PROMARCHIVE_HISTORIES").unwrap_or(usual)
        }
    }
}
