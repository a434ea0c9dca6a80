//! The ledger test: what was acknowledged is in the tables exactly once, whatever kills the receiver. See `promarchive_tests::ledger`.
//!
//! CI runs a part of it. `make crash` runs all, with as many kills as `PROMARCHIVE_CRASH_ROUNDS` says.

mod cases;
mod fail_points;
mod file_calls;
mod full_disk;
mod late_commit;
mod lost_power;
mod random_kills;
mod sabotage;
mod system_calls;

use promarchive_tests::ledger::{Book, Checked, Home, Receiver, Tool, Violations, read_tables};

/// Everything acknowledged so far is committed; then another tool reads the tables, and they are compared with the ledger.
fn audit(receiver: &mut Receiver, home: &Home, book: &Book, tool: Tool) -> Result<Checked, Violations> {
    let before = book.notes();
    receiver.flush().unwrap_or_else(|error| panic!("a flush failed without a fault: {error}"));
    let tables = read_tables(tool, &home.archive()).unwrap_or_else(|error| panic!("{error}"));
    book.check(&before, &tables)
}

/// The same for a receiver that has put everything away and ended.
fn audit_at_rest(home: &Home, book: &Book, tool: Tool) -> Result<Checked, Violations> {
    let tables = read_tables(tool, &home.archive()).unwrap_or_else(|error| panic!("{error}"));
    book.check(&book.notes(), &tables)
}

fn whole(outcome: Result<Checked, Violations>, when: &str) -> Checked {
    outcome.unwrap_or_else(|violations| panic!("{when}: the tables are not what was acknowledged.\n{violations}"))
}

/// How many random kills were asked for; none in CI.
fn rounds_asked_for() -> Option<u32> {
    let rounds = std::env::var("PROMARCHIVE_CRASH_ROUNDS").ok()?;
    Some(rounds.parse().unwrap_or_else(|error| panic!("PROMARCHIVE_CRASH_ROUNDS={rounds}: {error}")))
}
