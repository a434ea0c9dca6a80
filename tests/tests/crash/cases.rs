//! Single cases of the real program: a stop under load, a second receiver, lost and damaged WALs, retries across everything.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use promarchive_tests::ledger::{
    Body, Book, Connection, Home, Manners, ROWS_PER_BLOCK, Random, Receiver, Row, Senders, Start, Tool, encode, verify,
};

use crate::{audit, audit_at_rest, whole};

const PATIENCE: Duration = Duration::from_secs(30);

fn ready(start: &Start, home: &Home) -> Receiver {
    let mut receiver = start.spawn(home);
    assert!(receiver.wait_ready(), "the receiver ended by itself");
    receiver
}

fn under_load(manners: Manners) -> Senders {
    let (mut random, seed) = Random::from_environment();
    eprintln!("PROMARCHIVE_CRASH_SEED={seed}");
    Senders::start(manners, &mut random)
}

/// Flushes only when asked to.
fn no_flushes() -> Start {
    Start { flush_interval: "1h", dedup_horizon: "2h", ..Start::default() }
}

fn write(receiver: &mut Receiver, body: &Body) {
    let address = receiver.address().expect("an address");
    let response = Connection::open(address, PATIENCE).and_then(|mut connection| connection.write(body));
    assert_eq!(response.map(|response| response.status).map_err(|error| error.to_string()), Ok(204));
}

fn stop(mut receiver: Receiver) {
    receiver.terminate();
    let status = receiver.wait_ended();
    assert!(status.success(), "SIGTERM ended it with {status}");
}

#[test]
fn sigterm_under_load_puts_everything_into_the_tables() {
    let (home, mut senders) = (Home::new(), under_load(Manners::default()));
    for round in 0..3 {
        let mut receiver = ready(&no_flushes(), &home);
        assert!(
            !receiver.log().contains("replayed the WAL"),
            "round {round}: there was something to replay after SIGTERM"
        );
        senders.aim(receiver.address());
        assert!(senders.wait_acknowledged(30, PATIENCE));
        stop(receiver);
        senders.aim(None);
        whole(audit_at_rest(&home, senders.book(), Tool::DuckDb), "after SIGTERM");
    }
    senders.stop();
    senders.check_answers();
    verify(&home.archive()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_second_receiver_on_the_archive_or_the_wal_is_refused() {
    let (home, senders) = (Home::new(), under_load(Manners::default()));
    let mut receiver = ready(&Start::default(), &home);
    senders.aim(receiver.address());
    let other = home.beside("other");
    let refused = |archive: &Path, wal: &Path, named: &Path| {
        let mut second = Start::default().spawn_on(&home, archive, wal);
        let status = second.wait_ended();
        let log = second.log();
        assert_eq!(status.code(), Some(1), "{status}: {log}");
        let told = log.lines().any(|line| line.starts_with("error: ") && line.contains(&named.display().to_string()));
        assert!(told, "the directory {} is not named in: {log}", named.display());
    };
    refused(&home.archive(), &other, &home.archive());
    refused(&other, &home.wal(), &home.wal());
    assert!(senders.wait_acknowledged(20, PATIENCE), "the first receiver does not go on");
    whole(audit(&mut receiver, &home, senders.book(), Tool::DuckDb), "after second receivers");
}

#[test]
fn a_retry_is_there_once_across_kill_stop_and_a_new_wal() {
    let (home, book) = (Home::new(), Book::default());
    let blocks: Vec<Vec<Row>> = (0..8).map(|_| book.new_block()).collect();
    let mixed: Vec<Row> = blocks.iter().flatten().step_by(3).copied().collect();
    let mut bodies: Vec<Body> = blocks.iter().map(|rows| encode(rows, false)).collect();
    bodies.push(encode(&mixed, true));
    let send = |receiver: &mut Receiver| bodies.iter().for_each(|body| write(receiver, body));
    let flush = |receiver: &mut Receiver| receiver.flush().unwrap_or_else(|error| panic!("{error}"));

    // Unflushed, then killed.
    let mut receiver = ready(&no_flushes(), &home);
    send(&mut receiver);
    blocks.iter().for_each(|rows| book.acknowledge(rows));
    assert!(receiver.kill());
    // Replayed, sent again before and after a flush, then killed.
    let mut receiver = ready(&no_flushes(), &home);
    assert!(receiver.log().contains("replayed the WAL"));
    send(&mut receiver);
    flush(&mut receiver);
    send(&mut receiver);
    assert!(receiver.kill());
    // Sent again after a kill and an orderly stop.
    let mut receiver = ready(&no_flushes(), &home);
    send(&mut receiver);
    stop(receiver);
    let mut receiver = ready(&no_flushes(), &home);
    send(&mut receiver);
    whole(audit(&mut receiver, &home, &book, Tool::DuckDb), "after retries");
    stop(receiver);
    // With an empty WAL and so another writer.
    fs::remove_dir_all(home.wal()).expect("a WAL to lose");
    let mut receiver = ready(&no_flushes(), &home);
    send(&mut receiver);
    assert!(receiver.kill());
    let mut receiver = ready(&no_flushes(), &home);
    send(&mut receiver);
    for tool in [Tool::DuckDb, Tool::Polars, Tool::DeltaLake] {
        let checked = whole(audit(&mut receiver, &home, &book, tool), "after a new WAL");
        assert_eq!(checked.rows, blocks.len() * ROWS_PER_BLOCK as usize);
    }
}

/// What waits in the WAL was acknowledged when the horizon reached far enough. How long the receiver is down must not change that.
#[test]
fn a_retry_that_waits_in_the_wal_is_there_once_however_long_the_receiver_is_down() {
    let (home, book) = (Home::new(), Book::default());
    let start = Start { flush_interval: "1s", dedup_horizon: "2s", ..Start::default() };
    let mut receiver = ready(&start, &home);
    let first = book.new_block();
    write(&mut receiver, &encode(&first, false));
    book.acknowledge(&first);
    receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    // Two more flushes: the first one is in the horizon for its age alone.
    for _ in 0..2 {
        let rows = book.new_block();
        write(&mut receiver, &encode(&rows, false));
        book.acknowledge(&rows);
        receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    }
    write(&mut receiver, &encode(&first, false));
    assert!(receiver.kill());
    std::thread::sleep(Duration::from_millis(2500));
    let mut receiver = ready(&start, &home);
    assert!(receiver.log().contains("replayed the WAL"), "the retry was flushed before the kill: {}", receiver.log());
    whole(audit(&mut receiver, &home, &book, Tool::DuckDb), "after a long time down");
}

/// A volume that is not mounted looks like a path where an archive is to be made.
#[test]
fn an_archive_that_is_gone_is_not_made_anew() {
    let (home, book) = (Home::new(), Book::default());
    // The first start dies once the tables are there and nobody has noted it.
    let mut receiver = Start::at("archive-note=kill").spawn(&home);
    receiver.wait_ended();
    let note = home.wal().join("archive");
    assert!(home.archive().join("samples").exists() && !note.exists(), "{}", receiver.log());
    let mut receiver = ready(&no_flushes(), &home);
    let (flushed, waiting) = (book.new_block(), book.new_block());
    write(&mut receiver, &encode(&flushed, false));
    receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    write(&mut receiver, &encode(&waiting, false));
    assert!(receiver.kill());
    book.acknowledge(&flushed);
    book.acknowledge(&waiting);

    let elsewhere = home.beside("elsewhere");
    fs::rename(home.archive(), &elsewhere).expect("an archive to move");
    for empty in [false, true] {
        if empty {
            fs::create_dir(home.archive()).expect("a mount point");
        }
        let mut refused = no_flushes().spawn(&home);
        assert_eq!(refused.wait_ended().code(), Some(1));
        let log = refused.log();
        let error = log.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        let named = [home.archive(), home.wal(), note.clone()];
        assert!(named.iter().all(|path| error.contains(&path.display().to_string())), "{log}");
        let made = fs::read_dir(home.archive()).map_or(0, |files| files.count());
        assert_eq!((home.archive().exists(), made), (empty, 0), "something was made");
    }
    fs::remove_dir(home.archive()).expect("the mount point");
    fs::rename(&elsewhere, home.archive()).expect("the archive's return");
    let mut receiver = ready(&no_flushes(), &home);
    whole(audit(&mut receiver, &home, &book, Tool::DuckDb), "after the archive's return");
    stop(receiver);

    // Moved away on purpose.
    fs::rename(home.archive(), &elsewhere).expect("an archive to move");
    fs::remove_file(&note).expect("a note");
    let (mut receiver, anew) = (ready(&no_flushes(), &home), Book::default());
    let rows = anew.new_block();
    write(&mut receiver, &encode(&rows, false));
    anew.acknowledge(&rows);
    receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    assert!(note.exists());
    verify(&home.archive()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn damage_in_the_middle_of_the_wal_is_reported_and_costs_nothing_beside_it() {
    const DAMAGE: [u8; 64] = [0xa5; 64];
    let (home, senders) = (Home::new(), under_load(Manners::once()));
    let mut receiver = ready(&no_flushes(), &home);
    senders.aim(receiver.address());
    assert!(senders.wait_acknowledged(60, PATIENCE));
    assert!(receiver.kill());
    senders.aim(None);

    let segments = home.segments();
    let segment = segments.last().expect("a segment");
    let file = OpenOptions::new().read(true).write(true).open(segment).expect("a segment to damage");
    let middle = file.metadata().expect("its length").len() / 2;
    file.write_all_at(&DAMAGE, middle).expect("damage");

    let mut receiver = ready(&no_flushes(), &home);
    let log = receiver.log();
    let name = segment.file_name().expect("a name").to_string_lossy();
    let report = log.lines().find(|line| line.contains(&format!("WAL segment {name} is damaged")));
    let report = report.unwrap_or_else(|| panic!("{name} is not reported: {log}"));
    let [length, offset, first, last] = numbers_of(report);
    assert!(offset <= middle && middle + DAMAGE.len() as u64 <= offset + length, "{middle} is not in: {report}");

    let violations = audit(&mut receiver, &home, senders.book(), Tool::DuckDb).expect_err("damage without a loss");
    assert!(violations.doubled.is_empty() && violations.wrong.is_empty(), "{violations}");
    // Whole requests are lost, no more of them than the receiver says, and nothing else.
    let lost = violations.lost_blocks();
    assert!(!lost.is_empty() && lost.len() as u64 <= last - first + 1, "{} lost: {report}", lost.len());
    assert_eq!(violations.lost.len(), lost.len() * ROWS_PER_BLOCK as usize, "{violations}");
}

/// `… damaged: LENGTH bytes at offset OFFSET cannot be read; records FIRST to LAST may be lost; …`
fn numbers_of(report: &str) -> [u64; 4] {
    let (_, told) = report.split_once(" is damaged: ").expect("a report");
    let numbers: Vec<u64> = told.split([' ', ',']).filter_map(|word| word.parse().ok()).take(4).collect();
    numbers.try_into().unwrap_or_else(|found| panic!("{found:?} instead of four numbers in: {report}"))
}
