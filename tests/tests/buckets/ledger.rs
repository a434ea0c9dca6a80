//! The ledger test, with the archive in a bucket: the receiver is killed again and again, and what it acknowledged is there once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use promarchive_model::failpoint::NAMES;
use promarchive_tests::ledger::{
    Book, Checked, Home, Manners, Notes, Random, Receiver, Senders, Start, Tool, drive, read_tables_with,
};
use promarchive_tests::program::needed;
use promarchive_tests::s3_server::S3Server;

use crate::{json, run};

const KILLS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// An archive in a bucket, and a WAL on this machine.
struct Place {
    server: S3Server,
    home: Home,
}

impl Place {
    fn new() -> Self {
        Self { server: S3Server::start(), home: Home::new() }
    }

    fn spawn(&self, start: Start) -> Receiver {
        let environment = self.server.variables().into_iter();
        let environment = environment.map(|(name, value)| (leak(name), value.into())).collect();
        Start { environment, ..start }.spawn_on(&self.home, &self.archive(), &self.home.wal())
    }

    fn archive(&self) -> PathBuf {
        self.server.path("archive")
    }

    /// What is noted is in the tables, once.
    fn audit(&self, book: &Book, before: &Notes) -> Checked {
        let variables: BTreeMap<String, String> = self.server.variables();
        let tables = read_tables_with(Tool::DeltaLake, &self.archive(), &variables).unwrap_or_else(|e| panic!("{e}"));
        book.check(before, &tables)
            .unwrap_or_else(|violations| panic!("the tables are not what was sent.\n{violations}"))
    }
}

/// Names of variables live as long as the program.
fn leak(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

#[test]
fn nothing_is_lost_or_doubled_by_kills() {
    let place = Place::new();
    let (mut random, seed) = Random::from_environment();
    eprintln!("{KILLS} kills; PROMARCHIVE_CRASH_SEED={seed}");
    let mut senders = Senders::start(Manners::default(), &mut random);
    let mut proved = Vec::new();
    for kill in 0..KILLS {
        let mut receiver = place.spawn(Start::default());
        senders.aim(receiver.wait_listening());
        assert!(receiver.wait_ready(), "the receiver ended by itself: {}", receiver.log());
        proved.push(receiver.log().contains("proved again"));
        assert!(senders.wait_acknowledged(20, PATIENCE), "hardly anything is acknowledged");
        // At rest, in a flush, and between its steps.
        let flush = (kill % 2 == 0).then(|| receiver.start_flush());
        std::thread::sleep(random.up_to_ms(120));
        assert!(receiver.kill(), "it ended by itself: {}", receiver.log());
        senders.aim(None);
        drop(flush);
    }
    assert_eq!(proved, [vec![false], vec![true; KILLS as usize - 1]].concat(), "all is proved once");
    let mut receiver = place.spawn(Start::default());
    senders.aim(receiver.wait_listening());
    assert!(receiver.wait_ready(), "the receiver ended by itself: {}", receiver.log());
    assert!(senders.wait_acknowledged(20, PATIENCE), "hardly anything is acknowledged");
    let before = senders.book().notes();
    receiver.flush().unwrap();
    let checked = place.audit(senders.book(), &before);
    assert!(checked.acknowledged > 500, "{checked:?}");
    receiver.terminate();
    assert!(receiver.wait_ended().success(), "{}", receiver.log());
    senders.aim(None);
    senders.stop();
    senders.check_answers();
    let checked = place.audit(senders.book(), &senders.book().notes());
    check_commands(&place, checked);
}

/// Points that need what a test must prepare anew, and that do not depend on where the archive is.
const PREPARED: [&str; 2] = ["archive-note", "replay-repair"];

#[test]
fn nothing_is_lost_or_doubled_by_a_kill_at_any_point() {
    let place = Place::new();
    let (mut random, seed) = Random::from_environment();
    eprintln!("PROMARCHIVE_CRASH_SEED={seed}");
    let mut senders = Senders::start(Manners::default(), &mut random);
    for point in NAMES.iter().filter(|point| !PREPARED.contains(*point)) {
        let mut receiver = place.spawn(Start::at(format!("{point}=kill")));
        senders.aim(receiver.wait_listening());
        let until = Instant::now() + PATIENCE;
        drive(&senders, &mut receiver, |receiver| receiver.ended().is_some() || Instant::now() > until);
        assert!(receiver.dies_within(Duration::from_millis(1)), "{point} was not reached: {}", receiver.log());
        senders.aim(None);
    }
    let mut receiver = place.spawn(Start::default());
    senders.aim(receiver.wait_listening());
    assert!(receiver.wait_ready(), "the receiver ended by itself: {}", receiver.log());
    senders.stop();
    senders.check_answers();
    let before = senders.book().notes();
    receiver.flush().unwrap();
    place.audit(senders.book(), &before);
}

/// The commands read the archive where the receiver has put it.
fn check_commands(place: &Place, checked: Checked) {
    let url = place.server.url("archive");
    let wal = place.home.wal();
    let verified = json(&place.server, &["verify", &url, "--wal", wal.to_str().unwrap()]);
    assert_eq!(verified["ok"], true, "{verified}");
    let inspected = json(&place.server, &["inspect", &url]);
    assert_eq!(inspected["archive"], url.as_str());
    let sql = "SELECT (SELECT count(*) FROM samples) + (SELECT count(*) FROM histograms) AS rows_there";
    let Output { status, stdout, stderr } = query(&place.server, &url, sql);
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success() && said.contains(&checked.rows.to_string()), "{} rows: {said}", checked.rows);
    let nothing = query(&place.server, &place.server.url("nothing"), "SELECT 1");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no tables of an archive here"), "{nothing:?}");
    let missing = run(&place.server, &["inspect", &place.server.url("nothing")], &[]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("no archive found"), "{said}");
}

fn query(server: &S3Server, url: &str, sql: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/query.py");
    let mut command = server.command(&needed("PROMARCHIVE_PYTHON"));
    command.env_remove("PYTHONPATH").arg(script).arg(url).arg(sql).output().unwrap()
}
