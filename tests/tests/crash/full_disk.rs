//! Small disks, filled with series whose labels are all new, long and random: the most that a flush can need for what the WAL holds.
//!
//! When a disk is full everything acknowledged must be in the tables already, or come there in the space that is held back: nothing may
//! wait in the WAL for space that only a flush could make. When there is space again, writing goes on by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use promarchive_tests::ledger::{Body, Connection, Home, Random, Receiver, Start, Tool, read_tables};
use promarchive_wire::proto::v1;
use prost::Message;

use crate::rounds_asked_for;

const SERIES: u64 = 100;
/// Refused for so long: the disk is full, and no flush helps.
const FULL_AFTER: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);
/// Labels that have columns of their own, and others.
const LABELS: [&str; 8] = ["cluster", "container", "instance", "job", "namespace", "path", "pod", "version"];

/// A file system in memory that is as small as it says; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: PathBuf, mib: u64) -> Self {
        Self::mount_with(directory, &format!("size={mib}m"))
    }

    fn mount_with(directory: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&directory).expect("a mount point");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&directory);
        let status = mount.status().expect("mount");
        assert!(status.success(), "{mount:?}: {status}; only root may mount: run the test as root");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// How the disks are laid out, in MiB.
#[derive(Clone, Copy, Debug)]
enum Disks {
    /// WAL and archive on one.
    One(u64),
    /// Each on its own.
    Two { archive: u64, wal: u64 },
}

/// Which samples were acknowledged, by number; a sample's timestamp is its number behind the base.
struct Filler {
    base: i64,
    random: Random,
    acknowledged: Vec<bool>,
}

impl Filler {
    fn new(random: Random) -> Self {
        Self { base: promarchive_tests::program::now_ms() - 3_600_000, random, acknowledged: Vec::new() }
    }

    fn request(&mut self, first: u64) -> Body {
        let sample = |id: u64| v1::Sample { value: id as f64, timestamp: self.base + id as i64 };
        let samples: Vec<v1::Sample> = (first..first + SERIES).map(sample).collect();
        let mut timeseries = Vec::new();
        for sample in samples {
            let label = |name: &str, value: String| v1::Label { name: name.to_owned(), value };
            let mut labels = vec![label("__name__", "full".to_owned())];
            labels.extend(LABELS.map(|name| label(name, self.text())));
            timeseries.push(v1::TimeSeries { labels, samples: vec![sample], ..Default::default() });
        }
        let message = v1::WriteRequest { timeseries, ..Default::default() }.encode_to_vec();
        let bytes = snap::raw::Encoder::new().compress_vec(&message).expect("a body");
        Body { content_type: "application/x-protobuf", bytes }
    }

    /// Six bits to a byte, so that hardly anything compresses.
    fn text(&mut self) -> String {
        const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        (0..20 + self.random.below(80)).map(|_| DIGITS[self.random.below(64) as usize] as char).collect()
    }

    /// Sends one request of new series, once.
    fn send(&mut self, connection: &mut Connection) -> Result<(), String> {
        let first = self.acknowledged.len() as u64;
        let body = self.request(first);
        let answer = connection.write(&body).map_err(|error| error.to_string())?;
        let acknowledged = answer.status == 204;
        self.acknowledged.extend((0..SERIES).map(|_| acknowledged));
        assert!(acknowledged || answer.status == 503, "answered {} {}", answer.status, answer.body);
        if acknowledged { Ok(()) } else { Err(answer.body) }
    }

    /// Sends until nothing is taken any more, and returns the last reason.
    fn fill(&mut self, receiver: &mut Receiver) -> String {
        let mut connection = connect(receiver);
        let mut last = Instant::now();
        loop {
            match self.send(&mut connection) {
                Ok(()) => last = Instant::now(),
                Err(reason) if last.elapsed() > FULL_AFTER => return reason,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.iter().filter(|acknowledged| **acknowledged).count()
    }

    /// Every acknowledged sample is in the table, and none is twice.
    fn audit(&self, archive: &Path, when: &str) {
        let tables = read_tables(Tool::DuckDb, archive).unwrap_or_else(|error| panic!("{when}: {error}"));
        let mut found = vec![0_u32; self.acknowledged.len()];
        for timestamp in tables.sample_timestamps() {
            let id = usize::try_from(timestamp - self.base).ok().filter(|&id| id < found.len());
            found[id.unwrap_or_else(|| panic!("{when}: a sample at {timestamp} was never sent"))] += 1;
        }
        let lost =
            self.acknowledged.iter().zip(&found).filter(|(acknowledged, times)| **acknowledged && **times == 0).count();
        let doubled = found.iter().filter(|times| **times > 1).count();
        assert!(
            lost == 0 && doubled == 0,
            "{when}: {lost} of {} acknowledged samples are not there, {doubled} are twice",
            self.acknowledged()
        );
    }
}

fn connect(receiver: &mut Receiver) -> Connection {
    Connection::open(receiver.address().expect("an address"), ANSWER).expect("a connection")
}

fn free_mib(directory: &Path) -> u64 {
    let disk = rustix::fs::statvfs(directory).expect("a disk");
    (disk.f_bavail * disk.f_frsize) >> 20
}

/// What was acknowledged comes into the tables without anybody's help.
fn flushes(receiver: &mut Receiver, when: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = receiver.flush() {
        assert!(Instant::now() < until, "{when}: flushes go on failing: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A file that is there for a moment, again and again, is found missing; one that stays is not.
fn goes_away(file: &Path, when: &str) {
    let until = Instant::now() + PATIENCE;
    while file.exists() {
        assert!(Instant::now() < until, "{when}: {} stays", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn fill_and_recover(disks: Disks, flush_bytes: &'static str) {
    let home = Home::new();
    let _mounted = match disks {
        Disks::One(mib) => vec![SmallDisk::mount(home.data(), mib)],
        Disks::Two { archive, wal } => {
            vec![SmallDisk::mount(home.archive(), archive), SmallDisk::mount(home.wal(), wal)]
        }
    };
    let when = |what: &str| format!("{disks:?}, flushes of {flush_bytes}: {what}");
    let (mut random, seed) = Random::from_environment();
    let mut filler = Filler::new(random.fork());
    let start = Start { flush_interval: "2s", flush_bytes, ..Start::default() };
    let mut receiver = start.spawn(&home);
    assert!(receiver.wait_ready(), "{}", when("the receiver ended by itself"));
    // Something that a person can delete, or retention.
    fs::create_dir_all(home.archive()).expect("the archive");
    let ballast = home.archive().join("ballast");
    let size = match disks {
        Disks::One(mib) | Disks::Two { archive: mib, .. } => mib << 18,
    };
    fs::write(&ballast, vec![0_u8; size as usize]).expect("ballast");

    let reason = filler.fill(&mut receiver);
    let first = filler.acknowledged();
    assert!(first > 0, "{}: {reason}", when("nothing was acknowledged"));
    let free = free_mib(&home.archive());
    flushes(&mut receiver, &when("full"));
    filler.audit(&home.archive(), &when("full"));
    eprintln!(
        "{disks:?}, flushes of {flush_bytes}: {first} samples until full ({free} MiB free: {reason}); PROMARCHIVE_CRASH_SEED={seed}"
    );

    fs::remove_file(&ballast).expect("ballast");
    let until = Instant::now() + PATIENCE;
    let mut connection = connect(&mut receiver);
    while let Err(reason) = filler.send(&mut connection) {
        assert!(Instant::now() < until, "{}: {reason}", when("there is space, and nothing is taken"));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(connection);
    filler.fill(&mut receiver);
    assert!(receiver.kill());
    let mut receiver = start.spawn(&home);
    let until = Instant::now() + PATIENCE;
    while receiver.flush().is_err() {
        assert!(
            Instant::now() < until && receiver.ended().is_none(),
            "{}: {}",
            when("started on a full disk"),
            receiver.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    filler.audit(&home.archive(), &when("full, killed and started again"));
    assert!(filler.acknowledged() > first);
}

#[test]
fn a_full_disk_has_everything_acknowledged_in_the_tables_and_goes_on_when_there_is_space() {
    fill_and_recover(Disks::One(40), "4Mi");
}

#[test]
fn a_disk_smaller_than_one_flush_does_not_lock_itself_up() {
    fill_and_recover(Disks::One(40), "128Mi");
}

/// There is space, and no file can be made.
#[test]
fn no_inode_left_is_told_and_over_when_there_are_some() {
    let home = Home::new();
    let _mounted = SmallDisk::mount_with(home.archive(), "size=64m,nr_inodes=100");
    let mut receiver = Start { flush_interval: "2m", ..Start::default() }.spawn(&home);
    assert!(receiver.wait_ready(), "the receiver ended by itself");
    let files = home.archive().join("files");
    fs::create_dir(&files).expect("a directory");
    let made = (0..100).take_while(|file| fs::write(files.join(file.to_string()), "").is_ok()).count();
    assert!(made > 0, "there were some inodes");
    let mut filler = Filler::new(Random::from_environment().0);
    filler.send(&mut connect(&mut receiver)).expect("the WAL has room");
    let error = receiver.flush().expect_err("no file can be made");
    assert!(error.contains("no free inodes (check with df -i)"), "{error}");
    assert!(receiver.log().contains("no free inodes") && !receiver.is_ready(), "{}", receiver.log());
    fs::remove_dir_all(&files).expect("the files");
    flushes(&mut receiver, "inodes");
    assert!(receiver.is_ready() && receiver.log().contains("works again"), "{}", receiver.log());
    filler.audit(&home.archive(), "inodes");
}

/// The disk of the WAL has room for some blocks, and not for a request: a few bytes that can be written prove nothing.
#[test]
fn nothing_works_again_while_a_request_still_has_no_room() {
    const ROOM: u64 = 16 << 10;
    let home = Home::new();
    let _mounted = SmallDisk::mount(home.wal(), 4);
    let mut receiver = Start { flush_interval: "2m", ..Start::default() }.spawn(&home);
    assert!(receiver.wait_ready(), "the receiver ended by itself");
    let ballast = home.wal().join("ballast");
    let disk = rustix::fs::statvfs(home.wal()).expect("a disk");
    fs::write(&ballast, vec![0_u8; (disk.f_bavail * disk.f_frsize - ROOM) as usize]).expect("ballast");

    let mut filler = Filler::new(Random::from_environment().0);
    let mut connection = connect(&mut receiver);
    filler.send(&mut connection).expect_err("there is no room");
    // Behind each flush the receiver looks whether the WAL works again.
    for _ in 0..2 {
        flushes(&mut receiver, "no room for a request");
        let log = receiver.log();
        assert!(log.contains("not ready") && !log.contains("works again") && !receiver.is_ready(), "{log}");
    }
    goes_away(&home.wal().join("probe"), "what is tried keeps the last room");

    fs::remove_file(&ballast).expect("ballast");
    assert!(receiver.wait_ready());
    assert_eq!(receiver.log().matches("works again").count(), 1, "{}", receiver.log());
    filler.send(&mut connection).expect("there is room");
    flushes(&mut receiver, "room");
    filler.audit(&home.archive(), "room");
}

#[test]
#[ignore = "minutes long: part of make crash"]
fn disks_of_several_sizes_fill_up_and_go_on() {
    if rounds_asked_for().is_none() {
        return;
    }
    for flush_bytes in ["4Mi", "32Mi", "128Mi"] {
        for disks in [
            Disks::One(60),
            Disks::One(200),
            Disks::Two { archive: 40, wal: 40 },
            Disks::Two { archive: 200, wal: 40 },
            Disks::Two { archive: 40, wal: 200 },
        ] {
            fill_and_recover(disks, flush_bytes);
        }
    }
}
