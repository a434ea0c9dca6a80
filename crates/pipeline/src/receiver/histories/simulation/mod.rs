//! Several programs on the same tables in one history: two receivers with a WAL each, a program that replaces files, a foreign program.
//!
//! A history is what its seed says. Whoever wants something of a log or a store waits at a gate, one of them is let go on, and how its
//! operation ends is decided there: well, with an error before or after it has happened, with an error and later all the same, from a
//! listing that lags. Between two gates only one actor runs, so the seed alone decides; a test holds every history to that. `PROMARCHIVE_SEED=<n>` runs
//! that history alone, `PROMARCHIVE_HISTORIES=<n>` so many.

mod backing;
mod foreign;
mod gated;
mod ledger;
mod receiver;
mod rewriter;
mod schedule;
mod verdict;
mod world;

use self::backing::Ground;
use self::world::World;
use super::seeds;

/// A history, before it runs.
#[derive(Clone, Copy, Debug)]
struct Setup {
    seed: u64,
    ground: Ground,
    turns: usize,
    lie: Lie,
}

/// What is done wrong, to show that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// Disks say that they have synced.
    Sync,
    /// Nobody asks the tables what they have been given already.
    Transactions,
    /// Positions follow the WAL alone, and a purged one remembers nothing.
    Positions,
    /// A version that is taken is taken for somebody else's.
    Races,
    /// The rewriter does not look at what is active when it commits.
    StaleRewrite,
}

/// What came of a history.
struct Outcome {
    trace: Vec<String>,
    commits: u64,
    acknowledged: usize,
    broken: Option<String>,
}

fn run(setup: Setup) -> Outcome {
    let mut world = World::new(setup);
    let mut all = || {
        for _ in 0..setup.turns {
            world.turn()?;
        }
        world.note("everything works again");
        world.finish()
    };
    let broken = all().err();
    Outcome { commits: world.commits, acknowledged: world.ledger.acknowledged_rows(), trace: world.trace, broken }
}

/// Runs histories; the first that breaks a promise is shown whole.
fn run_all(ground: Ground, usual: u64, test: &str) {
    let (mut commits, mut acknowledged, mut histories) = (0, 0, 0);
    for seed in seeds(usual) {
        let outcome = run(Setup { seed, ground, turns: 300, lie: Lie::Nothing });
        if let Some(broken) = outcome.broken {
            let trace = outcome.trace.join("\n");
            panic!("{trace}\n{broken}\nagain: PROMARCHIVE_SEED={seed} cargo test … {test}");
        }
        histories += 1;
        commits += outcome.commits;
        acknowledged += outcome.acknowledged;
    }
    eprintln!("{ground:?}: {histories} histories, {commits} commits, {acknowledged} rows acknowledged");
}

#[test]
fn writers_who_compete_keep_what_was_promised() {
    run_all(Ground::Model, 1000, "writers_who_compete");
}

#[test]
fn writers_who_compete_through_the_library_keep_what_was_promised() {
    run_all(Ground::Library, 200, "writers_who_compete_through_the_library");
}

#[test]
fn writers_who_compete_on_a_directory_keep_what_was_promised() {
    run_all(Ground::Directory, 10, "writers_who_compete_on_a_directory");
}

#[test]
fn a_seed_is_a_history() {
    for (ground, turns) in [(Ground::Model, 600), (Ground::Library, 200)] {
        for seed in seeds(5) {
            let setup = Setup { seed, ground, turns, lie: Lie::Nothing };
            let (first, second) = (run(setup).trace, run(setup).trace);
            let differs = first.iter().zip(&second).find(|(first, second)| first != second);
            assert!(first.len() == second.len() && differs.is_none(), "{setup:?}: {differs:?}");
        }
    }
}

/// How many histories it takes until one breaks a promise in this way.
fn found_after(lie: Lie, violation: &str, at_most: u64) -> Option<u64> {
    (1..=at_most).find(|&seed| {
        let outcome = run(Setup { seed, ground: Ground::Model, turns: 300, lie });
        outcome.broken.is_some_and(|broken| broken.contains(violation))
    })
}

#[test]
fn the_simulation_notices_what_is_done_wrong() {
    for (lie, violation) in [
        (Lie::Sync, "acknowledged and lost"),
        (Lie::Transactions, "twice"),
        (Lie::Positions, "acknowledged and lost"),
        (Lie::StaleRewrite, "twice"),
    ] {
        let found = found_after(lie, violation, 300);
        eprintln!("{lie:?}: {violation:?} after {found:?} histories");
        assert!(found.is_some(), "{lie:?} is not noticed");
    }
}

/// It takes a commit that landed and was reported failed, and two listings in a row that lag.
#[test]
#[ignore = "takes thousands of histories: make crash"]
fn the_simulation_notices_a_lost_race_that_is_believed() {
    let found = found_after(Lie::Races, "twice", 20_000);
    eprintln!("after {found:?} histories");
    assert!(found.is_some());
}
