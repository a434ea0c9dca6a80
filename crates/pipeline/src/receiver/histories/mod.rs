//! Random histories of the write path, on disks that forget and stores that fail, held against a plain map of what was promised.
//!
//! Acknowledged is durable; every key stands exactly once, with the winning content, for every reader at every moment; what was not
//! acknowledged stands at most once; nothing else is there. Beyond the horizon a row that is sent again may stand twice: the model
//! knows from when on.

#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod merging;
mod model;
mod others;
mod request;
mod rows;
mod seeds;
mod simulation;
mod tables;
mod world;

use std::time::Duration;

use promarchive_archive::file::Origin;
use promarchive_archive::schema::Table;
use promarchive_model::DAY_MS;
use promarchive_testkit::PutFault;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use self::merging::merges;
use self::others::Others;
use self::request::{Request, request};
use self::rows::Key;
use self::seeds::seeds;
use self::world::{FlushStep, Lie, Restart, Setup, Step, WALS, World};

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}
use ensure;

fn put_fault() -> impl Strategy<Value = PutFault> {
    select(&[PutFault::Before, PutFault::After][..])
}

fn flush() -> impl Strategy<Value = FlushStep> {
    (
        prop::option::weighted(0.1, (0_u64..6, put_fault())),
        prop::option::weighted(0.2, (select(&Table::ALL[..]), put_fault())),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, request()),
    )
        .prop_map(|(file, commit, no_purge, meanwhile)| FlushStep { file, commit, no_purge, meanwhile })
}

fn restart() -> impl Strategy<Value = Restart> {
    (any::<bool>(), prop_oneof![5 => Just(0), 1 => 1..WALS], prop::option::weighted(0.2, 1_u64..9))
        .prop_map(|(power_loss, wal, die_at)| Restart { power_loss, wal, die_at })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use prop::collection::vec;
    let step = prop_oneof![
        6 => vec(request(), 1..4).prop_map(Step::Write),
        4 => vec(0_usize..100, 1..4).prop_map(Step::Retry),
        6 => flush().prop_map(Step::Flush),
        3 => restart().prop_map(Step::Restart),
        1 => (1_u64..4).prop_map(Step::FailSync),
        1 => (1_u64..4).prop_map(Step::FailWrite),
        1 => (1_u64..9).prop_map(Step::DieAt),
        1 => Just(Step::Heal),
        1 => select(&[1000, MINUTE, 11 * MINUTE, DAY_MS, 3 * DAY_MS][..]).prop_map(Step::Wait),
        1 => select(&[0, 2_000, 4_000][..]).prop_map(Step::Relieve),
        2 => (select(&Table::ALL[..]), 0_usize..100).prop_map(|(table, which)| Step::Others(table, Others::Merge(which))),
        1 => (select(&Table::ALL[..]), select(&[Others::Append, Others::Delete][..]))
            .prop_map(|(table, others)| Step::Others(table, others)),
        1 => (select(&Table::ALL[..]), 0_usize..100)
            .prop_map(|(table, which)| Step::Others(table, Others::Replace(which))),
    ];
    vec(step, 1..25)
}

const MINUTE: i64 = 60_000;

fn setup(lie: Lie) -> impl Strategy<Value = Setup> {
    let (keep, flush_bytes) = (select(&[0, 10 * MINUTE][..]), prop_oneof![3 => Just(u64::MAX), 1 => Just(1)]);
    (any::<u64>(), keep, flush_bytes).prop_map(move |(seed, keep, flush_bytes)| {
        let keep = Duration::from_millis(keep.unsigned_abs());
        Setup { seed, keep, flush_bytes, lie }
    })
}

/// Runs a history; tells which promise was broken first.
fn run(setup: Setup, steps: &[Step]) -> Result<(), String> {
    let mut world = World::new(setup);
    world.open()?;
    for (number, step) in steps.iter().enumerate() {
        world.step(step).map_err(|broken| format!("step {number}: {broken}"))?;
    }
    world.finish().map_err(|broken| format!("at the end: {broken}"))
}

/// Generates the history of a seed and runs it; one that breaks a promise is shown as short as it can be made.
fn run_seed(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = ProptestConfig { max_shrink_iters: 100_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, random);
    let history = (setup(Lie::Nothing), steps()).new_tree(&mut runner).unwrap();
    let held = runner.run_one(history, |(setup, steps)| run(setup, &steps).map_err(TestCaseError::fail));
    if let Err(broken) = held {
        panic!(
            "{broken}\nagain (several times: threads race for what a flush takes): PROMARCHIVE_SEED={seed} cargo test … every_history"
        );
    }
}

#[test]
fn every_history_keeps_what_was_promised() {
    seeds(1500).for_each(run_seed);
}

fn write(samples: &[(i64, f64)]) -> Step {
    Step::Write(vec![Request::of_samples(samples)])
}

fn flushed() -> Step {
    Step::Flush(FlushStep::default())
}

fn without_purge() -> Step {
    Step::Flush(FlushStep { no_purge: true, ..FlushStep::default() })
}

fn restarted() -> Step {
    Step::Restart(Restart { power_loss: false, wal: 0, die_at: None })
}

/// Runs a history with the shortest horizon.
fn run_short(flush_bytes: u64, steps: &[Step]) {
    let setup = Setup { seed: 1, keep: Duration::ZERO, flush_bytes, lie: Lie::Nothing };
    run(setup, steps).unwrap();
}

#[test]
fn flushes_without_rows_do_not_push_out_one_that_has_rows() {
    let again = || Step::Retry(vec![0]);
    run_short(u64::MAX, &[write(&[(1, 1.0)]), flushed(), again(), flushed(), again(), flushed(), again()]);
}

#[test]
fn a_flush_whose_rows_were_superseded_does_not_become_the_last_one() {
    run_short(
        u64::MAX,
        &[
            write(&[(1, 1.0)]),
            flushed(),
            write(&[(2, 1.0)]),
            flushed(),
            write(&[(1, 2.0), (3, 1.0)]),
            flushed(),
            restarted(),
            Step::Retry(vec![1]),
        ],
    );
}

/// Nothing of the retry is committed: only the WAL says that it was dealt with, and the WAL is not purged.
fn outlasting_retry() -> Vec<Step> {
    let mut steps = vec![write(&[(1, 1.0)]), flushed(), Step::Retry(vec![0]), without_purge()];
    for at in 2..5 {
        steps.extend([write_exemplar(at), without_purge()]);
    }
    steps.push(restarted());
    steps
}

#[test]
fn what_was_known_when_it_came_is_known_when_it_is_replayed() {
    run_short(u64::MAX, &outlasting_retry());
}

#[test]
fn short_memory_does_not_take_the_horizon_from_replayed_rows() {
    let mut steps = outlasting_retry();
    steps.push(Step::Relieve(0));
    run_short(u64::MAX, &steps);
}

fn write_exemplar(timestamp: i64) -> Step {
    Step::Write(vec![Request::of_exemplar(timestamp)])
}

#[test]
fn replay_that_flushes_in_between_does_not_outrun_the_horizon() {
    let writes = || (1..6).map(|at| write(&[(at, 1.0)]));
    let again = || Step::Retry(vec![0]);
    run_short(1, &writes().chain([again(), restarted()]).collect::<Vec<_>>());
    let dying = Step::Restart(Restart { power_loss: true, wal: 0, die_at: Some(4) });
    run_short(1, &writes().chain([again(), dying]).collect::<Vec<_>>());
}

#[test]
fn a_flush_that_a_restart_interrupts_counts_once() {
    let half = FlushStep { commit: Some((Table::EXEMPLARS, PutFault::Before)), ..FlushStep::default() };
    let first = Step::Write(vec![Request::of_samples(&[(1, 1.0)]), Request::of_exemplar(1)]);
    run_short(
        u64::MAX,
        &[first, Step::Flush(half), restarted(), flushed(), write(&[(2, 1.0)]), flushed(), Step::Retry(vec![0])],
    );
}

/// The time of the horizon counts from when a row came, not from when an outage was over.
#[test]
fn a_long_flush_does_not_shorten_the_horizon() {
    let stuck = FlushStep {
        commit: Some((Table::EXEMPLARS, PutFault::Before)),
        meanwhile: Some(Request::of_samples(&[(1, 1.0)])),
        ..FlushStep::default()
    };
    let steps = [
        write(&[(1, 1.0)]),
        flushed(),
        write_exemplar(1),
        flushed(),
        write_exemplar(2),
        Step::Flush(stuck),
        Step::Wait(11 * MINUTE),
    ];
    let keep = Duration::from_secs(600);
    for restart in [vec![], vec![restarted()]] {
        let setup = Setup { seed: 1, keep, flush_bytes: u64::MAX, lie: Lie::Nothing };
        run(setup, &[&steps[..], &restart].concat()).unwrap();
    }
}

/// What a file says of when it was committed is what the horizon goes by, also if its commit had to be tried again.
#[test]
fn a_commit_that_is_tried_again_late_counts_from_then() {
    let failed = FlushStep { commit: Some((Table::SAMPLES, PutFault::Before)), ..FlushStep::default() };
    let steps = [
        write(&[(1, 1.0)]),
        flushed(),
        write(&[(2, 1.0)]),
        Step::Flush(failed),
        Step::Wait(11 * MINUTE),
        flushed(),
        write(&[(3, 1.0)]),
        flushed(),
        Step::Retry(vec![0]),
    ];
    run(Setup { seed: 1, keep: Duration::from_secs(600), flush_bytes: u64::MAX, lie: Lie::Nothing }, &steps).unwrap();
}

/// The commit of three records is lost with the power; replay flushes each, and the third flush has the position of the lost one.
#[test]
fn a_flush_that_was_lost_is_not_the_one_that_replay_makes() {
    let landed = FlushStep { commit: Some((Table::SAMPLES, PutFault::After)), ..FlushStep::default() };
    let power_cut = Step::Restart(Restart { power_loss: true, wal: 0, die_at: None });
    let writes = (1..4).map(|at| write(&[(at, 1.0)]));
    let rest = [Step::Flush(landed), power_cut, Step::Relieve(0), Step::Retry(vec![0])];
    run_short(1, &writes.chain(rest).collect::<Vec<_>>());
}

#[test]
fn metadata_that_is_replayed_late_is_known() {
    let metadata = || Step::Write(vec![Request::of_metadata("Help.")]);
    run_short(u64::MAX, &[metadata(), flushed(), metadata(), Step::Wait(3 * DAY_MS), restarted()]);
}

/// A group fills a segment, which is synced, and the next cannot be made: all of it is refused, though its first record is in the WAL.
#[test]
fn metadata_that_was_refused_is_not_taken_for_known() {
    let metadata = |help| Request::of_metadata(help);
    let noise = |at: i64| f64::from_bits((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let bulky = Request::of_samples(&(0..400).map(|at| (at, noise(at))).collect::<Vec<_>>());
    run_short(
        u64::MAX,
        &[
            Step::FailSync(3),
            Step::Write(vec![metadata("Help."), bulky]),
            Step::Heal,
            Step::Write(vec![metadata("")]),
            without_purge(),
            restarted(),
            Step::Write(vec![metadata("Help.")]),
        ],
    );
}

/// Else it keeps the disk full until the next rows come, which a full disk turns away.
#[test]
fn a_purge_that_failed_is_tried_again_with_nothing_to_flush() {
    let mut world = World::new(Setup { seed: 1, keep: Duration::ZERO, flush_bytes: u64::MAX, lie: Lie::Nothing });
    world.open().unwrap();
    let bulky = write(&(0..400).map(|at| (at, 1.0 / at as f64)).collect::<Vec<_>>());
    for step in [bulky, Step::Flush(FlushStep { no_purge: true, ..FlushStep::default() })] {
        world.step(&step).unwrap();
    }
    let kept = world.core().unwrap().wal_bytes();
    world.step(&flushed()).unwrap();
    let left = world.core().unwrap().wal_bytes();
    assert!(left < kept, "{left} of {kept} bytes");
}

/// The longest time from acknowledged to committed holds whatever is done to the clock, and across a restart as well as can be known.
#[test]
fn rows_wait_by_the_monotonic_clock() {
    let mut world = World::new(Setup { seed: 1, keep: Duration::ZERO, flush_bytes: u64::MAX, lie: Lie::Nothing });
    world.open().unwrap();
    for step in [write(&[(1, 1.0)]), Step::Wait(2 * MINUTE)] {
        world.step(&step).unwrap();
    }
    let mut waited = |by| world.age_after_setting_the_clock(by).map(|age| age.as_secs());
    for by in [-DAY_MS, 3 * DAY_MS, -2 * DAY_MS] {
        assert_eq!(waited(by), Some(120), "{by}");
    }
    world.step(&restarted()).unwrap();
    assert_eq!(world.age_after_setting_the_clock(0).map(|age| age.as_secs()), Some(120));
}

/// A world with two samples of a series that two flushes have written.
fn world_of_two_flushes() -> World {
    let mut world = World::new(Setup { seed: 1, keep: Duration::ZERO, flush_bytes: u64::MAX, lie: Lie::Nothing });
    world.open().unwrap();
    take(&mut world, &[write(&[(1, 1.0)]), flushed(), write(&[(2, 1.0)]), flushed()]);
    world
}

fn take(world: &mut World, steps: &[Step]) {
    steps.iter().for_each(|step| world.step(step).unwrap());
}

fn of_samples(change: Others) -> Step {
    Step::Others(Table::SAMPLES, change)
}

/// The values of all samples at a time, sorted.
fn values(world: &mut World, timestamp: i64) -> Vec<f64> {
    let rows = world.contents().unwrap().rows.into_iter();
    let rows = rows.filter(|(key, _)| matches!(key, Key::Sample(_, at) if *at == timestamp));
    let mut values: Vec<f64> = rows.flat_map(|(_, rows)| rows).filter_map(|(_, content)| content.value()).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn a_restart_rebuilds_the_horizon_from_a_merged_file() {
    let mut world = world_of_two_flushes();
    take(&mut world, &[of_samples(Others::Merge(0))]);
    assert_eq!(world.files(Table::SAMPLES).len(), 1);
    // Both come again, and then one with another value, which is written into the merged file.
    take(&mut world, &[restarted(), Step::Retry(vec![0, 1]), flushed()]);
    assert_eq!((values(&mut world, 1), values(&mut world, 2)), (vec![1.0], vec![1.0]));
    take(&mut world, &[write(&[(1, 2.0)]), flushed(), restarted(), Step::Retry(vec![0, 1, 2]), flushed()]);
    assert_eq!((values(&mut world, 1), values(&mut world, 2)), (vec![2.0], vec![1.0]));
    let files = world.files(Table::SAMPLES);
    assert!(matches!(&files[..], [file] if matches!(file.origin, Origin::Merge { .. })), "{files:?}");
    world.finish().unwrap();
}

/// What a running receiver remembers by the flush is found in the file that the flush's file was merged into.
#[test]
fn a_winner_is_written_into_the_merged_file_of_its_loser() {
    let mut world = world_of_two_flushes();
    take(&mut world, &[of_samples(Others::Merge(0)), write(&[(1, 2.0), (2, 3.0)]), flushed()]);
    assert_eq!((values(&mut world, 1), values(&mut world, 2)), (vec![2.0], vec![3.0]));
    assert_eq!(world.files(Table::SAMPLES).len(), 1);
    world.finish().unwrap();
}

#[test]
fn a_winner_whose_losers_file_is_gone_is_not_dropped() {
    let mut world = world_of_two_flushes();
    take(&mut world, &[of_samples(Others::Replace(0)), write(&[(1, 2.0)]), flushed()]);
    assert_eq!((values(&mut world, 1), values(&mut world, 2)), (vec![1.0, 2.0], vec![1.0]));
    // The winner is known by the flush that has it: it comes again, and is beaten, as any other row.
    take(&mut world, &[Step::Retry(vec![2]), write(&[(1, 1.5)]), flushed(), write(&[(1, 3.0)]), flushed()]);
    assert_eq!(values(&mut world, 1), [1.0, 3.0]);
    take(&mut world, &[restarted(), Step::Retry(vec![2]), write(&[(1, 4.0)]), flushed()]);
    assert_eq!(values(&mut world, 1), [1.0, 4.0]);
    world.finish().unwrap();
    assert_eq!(values(&mut world, 1), [4.0]);
}

/// The same if the loser's flush has another file of that day.
#[test]
fn a_winner_whose_losers_file_is_gone_is_not_dropped_for_the_file_beside_it() {
    let mut world = world_of_two_flushes();
    let third = [write(&[(3, 1.0)]), flushed()];
    take(&mut world, &third);
    // The file of the second flush is gone, and the merged file spans its position.
    let merge = |world: &World| merges(&world.files(Table::SAMPLES)).len() - 1;
    take(&mut world, &[of_samples(Others::Replace(1))]);
    let whole = of_samples(Others::Merge(merge(&world)));
    take(&mut world, &[whole, write(&[(2, 2.0), (3, 2.0)]), flushed()]);
    assert_eq!([1, 2, 3].map(|at| values(&mut world, at)), [vec![1.0], vec![1.0, 2.0], vec![2.0]]);
    world.finish().unwrap();
    assert_eq!(values(&mut world, 2), [2.0]);
}

#[test]
fn files_of_another_program_do_no_harm() {
    let mut world = world_of_two_flushes();
    for table in Table::ALL {
        take(&mut world, &[Step::Others(table, Others::Append)]);
    }
    let all = [Request::of_samples(&[(2, 2.0), (4, 1.0)]), Request::of_exemplar(1), Request::of_metadata("Help.")];
    let all = Step::Write(all.to_vec());
    take(
        &mut world,
        &[restarted(), Step::Retry(vec![0, 1]), all, flushed(), restarted(), Step::Retry(vec![1, 2, 3, 4]), flushed()],
    );
    assert_eq!([1, 2, 4].map(|at| values(&mut world, at)), [[1.0], [2.0], [1.0]]);
    world.finish().unwrap();
}

/// Whether one of 300 histories breaks a promise in this way.
fn finds(lie: Lie, violation: &str) -> bool {
    let mut runner = TestRunner::deterministic();
    (0..300).any(|_| {
        let (setup, steps) = (setup(lie), steps()).new_tree(&mut runner).unwrap().current();
        run(setup, &steps).is_err_and(|broken| broken.contains(violation))
    })
}

#[test]
fn the_check_notices_a_missing_sync() {
    assert!(finds(Lie::Sync, "acknowledged and lost"));
}

#[test]
fn the_check_notices_a_commit_that_is_believed_before_it_is_synced() {
    let setup = Setup { seed: 1, keep: Duration::ZERO, flush_bytes: u64::MAX, lie: Lie::CommitSync };
    let broken = run(setup, &landed_and_found(&[])).unwrap_err();
    assert!(broken.contains("acknowledged and lost"), "{broken}");
}

/// The commit lands, its sync fails, the next flush finds it and purges the WAL, and the power fails.
fn landed_and_found(between: &[Step]) -> Vec<Step> {
    let landed = FlushStep { commit: Some((Table::SAMPLES, PutFault::After)), ..FlushStep::default() };
    let power_cut = Step::Restart(Restart { power_loss: true, wal: 0, die_at: None });
    [&[write(&[(1, 1.0)]), Step::Flush(landed)], between, &[flushed(), power_cut]].concat()
}

#[test]
fn a_commit_that_landed_is_durable_before_the_wal_is_purged() {
    for between in [vec![], vec![restarted()], vec![write(&[(2, 1.0)])]] {
        run_short(u64::MAX, &landed_and_found(&between));
    }
}

#[test]
fn the_check_notices_a_forgotten_transaction() {
    assert!(finds(Lie::Transactions, "twice"));
}

#[test]
fn the_check_notices_positions_that_restart() {
    assert!(finds(Lie::Positions, "acknowledged and lost"));
}
