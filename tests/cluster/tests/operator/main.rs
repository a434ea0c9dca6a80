//! The operator against a real API server with its controllers, real receivers, and no node.
//!
//! All cases share one control plane and one operator, and run side by side, each in namespaces of its own; those that need
//! an operator of their own, or change what all share, come after. At the end the record of all of it is checked: what
//! happened to other people's entries, and which rights were used.
//!
//! `cargo test --test operator -- TEXT` runs the cases with TEXT in their names. `PROMARCHIVE_STEADY_SECONDS` says for how long an
//! operator with nothing to do is looked at (default: 45), `PROMARCHIVE_CROWD` how many objects of each kind are made to
//! fill its memory.

mod api;
mod claims;
mod consent;
mod crowd;
mod drift;
mod everywhere;
mod failpoints;
mod forged;
mod guard;
mod kubelet;
mod labels;
mod patch;
mod place;
mod plan;
mod process;
mod record;
mod removal;
mod rights;
mod rotation;
mod schema;
mod suite;
mod upgrade;
mod withdrawn;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use suite::Suite;

/// A case: its name, and what it does.
type Case = (&'static str, fn(&Suite));

/// How many cases run at a time. They mostly wait.
const SIDE_BY_SIDE: usize = 24;

fn main() -> ExitCode {
    let filter: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let chosen = |cases: &[Case]| -> Vec<Case> {
        let is_asked = |case: &&Case| filter.is_empty() || filter.iter().any(|text| case.0.contains(text.as_str()));
        cases.iter().filter(is_asked).copied().collect()
    };
    let start = Instant::now();
    let suite = Suite::start();
    eprintln!("ready after {:?}", start.elapsed());
    suite.start_operator();
    let mut failed = run(
        &suite,
        chosen(
            &[
                plan::CASES,
                schema::CASES,
                removal::CASES,
                forged::CASES,
                drift::CASES,
                consent::CASES,
                withdrawn::CASES,
                patch::CASES,
                claims::CASES,
                labels::CASES,
                rotation::CASES,
                upgrade::CASES,
            ]
            .concat(),
        ),
    );
    suite.end_operator();
    failed.extend(run(&suite, chosen(failpoints::ALONE)));
    failed.extend(run(&suite, chosen(guard::ALONE)));
    for case in chosen(&[crowd::IN_ORDER, everywhere::IN_ORDER].concat()) {
        suite.start_operator();
        failed.extend(run(&suite, vec![case]));
        suite.end_operator();
    }
    failed.extend(run(&suite, vec![("the_record_of_everything", |suite| suite.record.check())]));
    // Some are used by few cases.
    if filter.is_empty() {
        failed.extend(run(&suite, rights::LAST.to_vec()));
    }
    eprintln!("{} failed {failed:?} in {:?}", failed.len(), start.elapsed());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    keep_logs(&suite);
    ExitCode::FAILURE
}

/// Runs cases side by side; gives the names of those that failed.
fn run(suite: &Suite, cases: Vec<Case>) -> Vec<&'static str> {
    let waiting = Mutex::new(cases.into_iter());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, case)) = { waiting.lock().unwrap().next() } {
            let start = Instant::now();
            // The name is in the message of a panic.
            let thread = thread::Builder::new().name(name.to_owned());
            let is_ok = thread::scope(|scope| thread.spawn_scoped(scope, || case(suite)).unwrap().join().is_ok());
            eprintln!("{} {name} in {:?}", if is_ok { "ok    " } else { "FAILED" }, start.elapsed());
            if !is_ok {
                failed.lock().unwrap().push(name);
            }
        }
    };
    thread::scope(|scope| (0..SIDE_BY_SIDE).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().unwrap()
}

/// The cluster's directory goes with it.
fn keep_logs(suite: &Suite) {
    let kept = std::env::temp_dir().join(format!("promarchive-operator-test-{}", std::process::id()));
    std::fs::create_dir_all(&kept).unwrap();
    let logs = std::fs::read_dir(suite.cluster.directory()).unwrap().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        std::fs::copy(&log, kept.join(log.file_name().unwrap())).unwrap();
    }
    std::fs::copy(suite.cluster.audit_log(), kept.join("audit.log")).unwrap();
    eprintln!("the operators' logs and the audit log are in {}", kept.display());
}
