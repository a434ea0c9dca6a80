//! System calls that fail, by strace, which sees also those that bypass the C library.
//!
//! strace counts the calls of each thread for itself: `when=2` is the second of every thread that makes two.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use promarchive_tests::ledger::{Random, Start};

use crate::file_calls::{Bench, Life};

const FAULTS: [&str; 10] = [
    "fsync:error=EIO:when=2",
    "fsync:error=ENOSPC:when=3",
    "fdatasync:error=EIO:when=2+5",
    "fdatasync:delay_enter=2000000:when=2+6",
    "fallocate:error=ENOSPC:when=1",
    "fallocate:error=EOPNOTSUPP",
    "ftruncate:error=EIO:when=1",
    "mkdir:error=ENOSPC:when=1",
    "link,linkat:error=EIO:when=2",
    "rename,renameat,renameat2:error=EIO:when=2",
];

#[test]
fn nothing_is_lost_or_doubled_when_system_calls_fail() {
    let version = Command::new("strace").arg("--version").output();
    assert!(version.is_ok(), "cannot start strace: {version:?}. On Debian or Ubuntu: sudo apt-get install strace");
    let (mut random, seed) = Random::from_environment();
    eprintln!("PROMARCHIVE_CRASH_SEED={seed}");
    let randoms = FAULTS.map(|fault| (fault, random.fork()));
    std::thread::scope(|scope| {
        randoms.into_iter().for_each(|(fault, random)| drop(scope.spawn(move || fails(fault, random))));
    });
}

fn fails(fault: &str, mut random: Random) {
    let bench = Bench::new(&mut random);
    let trace = bench.beside("strace");
    let (calls, _) = fault.split_once(':').unwrap_or((fault, ""));
    // As a grandchild: the process that was started becomes the receiver.
    let mut under: Vec<OsString> = ["strace", "-D", "-f", "-o"].map(OsString::from).to_vec();
    under.push(trace.clone().into());
    under.extend([format!("--trace={calls}"), format!("--inject={fault}")].map(OsString::from));
    // Whatever is made, is made in the first life.
    bench.live(Life::First, Start { under, ..Start::default() }, fault);
    let traced = fs::read_to_string(&trace).unwrap_or_default();
    let failed = traced.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count();
    bench.settle(fault);
    assert!(failed > 0, "{fault}: no call was struck");
    eprintln!("{fault}: {failed} calls");
}
