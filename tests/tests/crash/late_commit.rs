//! A commit that a dead process had asked for lands after all, while the next process has rows of the same records waiting. Nobody can
//! say by then which of them it brought: the receiver ends, and the next start finds out.

use std::fs;
use std::path::Path;

use promarchive_model::Protocol::V2;
use promarchive_tests::program::Receiver;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;
use serde_json::Value;

const T: i64 = 1_700_000_000_000;

#[test]
fn a_commit_that_lands_late_ends_the_receiver_and_loses_nothing() {
    let mut receiver = Receiver::start(&[]);
    let [first, second] = [0, 1].map(|at| Request::of([Series::metric("up").sample(T + at, 1.0)]));
    let mut wanted = Tables::default();
    for request in [&first, &second] {
        wanted.add(V2, request);
    }
    let send = |receiver: &Receiver, request: &Request| assert_eq!(receiver.write(V2, request).status, 204);
    send(&receiver, &first);
    receiver.flush();
    // The record of the late commit has only a row that is in the table already, so that the commit needs no file.
    send(&receiver, &first);
    send(&receiver, &second);
    commit_next_position(&receiver.archive().join("samples/_delta_log"));

    let answer = receiver.send(reqwest::Method::POST, "/-/flush", &[], Vec::new());
    assert!(answer.status == 503 && answer.body.contains("landed late"), "{answer:?}");
    assert!(!receiver.wait_for_end().success(), "it must be seen to have failed");
    assert!(receiver.log().contains("restart promarchive"), "{}", receiver.log());

    let receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    receiver.flush();
    wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
}

/// Puts a commit behind the last one that has the position behind its own.
fn commit_next_position(log: &Path) {
    let last = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let last = last.filter(|path| path.extension().is_some_and(|extension| extension == "json")).max().unwrap();
    let version: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut transaction = actions.into_iter().find(|action| action.get("txn").is_some()).unwrap();
    let position = transaction["txn"]["version"].as_u64().unwrap();
    transaction["txn"]["version"] = (position + 1).into();
    fs::write(log.join(format!("{:020}.json", version + 1)), format!("{transaction}\n")).unwrap();
}
