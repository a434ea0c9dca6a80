//! Who may write.

use std::fs;
use std::time::Duration;

use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Receiver, headers, wait_for};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::{T, committed};

/// A line of a tokens file, as earlier versions had it.
pub(crate) fn line(sender: &str, token: &str) -> String {
    let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{sender} {hash}\n")
}

#[test]
fn a_token_is_needed_for_all_but_three_gets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, line("prometheus-a", "one") + &line("prometheus-b", "two")).unwrap();
    let receiver = Receiver::start(&["--tokens", file.to_str().unwrap()]);
    let send = |path: &str, authorization: Option<&str>, timestamp: i64| {
        let body = Request::of([Series::metric("up").sample(timestamp, 1.0)]).encode(V2);
        let mut headers = headers(V2).to_vec();
        headers.extend(authorization.map(|value| ("Authorization", value)));
        receiver.send(Method::POST, path, &headers, snap::raw::Encoder::new().compress_vec(&body).unwrap())
    };
    for path in ["/api/v1/write", "/receive", "/-/flush", "/no/such/path"] {
        for wrong in
            [None, Some("Bearer three"), Some("Bearer "), Some("Basic b25lOm9uZQ=="), Some("one"), Some("Bearer onee")]
        {
            let answer = send(path, wrong, T);
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{path} {wrong:?}");
            assert!(answer.is_one_line(), "{answer:?}");
        }
    }
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        assert_eq!(receiver.get(path).status, 200, "{path}");
    }
    for (path, right, timestamp) in [("/api/v1/write", "Bearer one", 1), ("/receive", "bearer  two", 2)] {
        let answer = send(path, Some(right), T + timestamp);
        assert_eq!((answer.status, answer.written()), (204, Some([1, 0, 0])), "{path} {answer:?}");
    }

    // A new token is taken up, and the old one stays good beside it; then it does not.
    fs::write(&file, line("prometheus-a", "one") + &line("prometheus-a", "new")).unwrap();
    let taken_up =
        wait_for(Duration::from_secs(20), || (send("/receive", Some("Bearer new"), T + 3).status == 204).then_some(()));
    assert!(taken_up.is_some(), "{}", receiver.log());
    assert_eq!(send("/receive", Some("Bearer one"), T + 4).status, 204);
    assert_eq!(send("/receive", Some("Bearer two"), T + 5).status, 401);

    assert_eq!(send("/-/flush", Some("Bearer new"), T).status, 403);
    fs::write(&file, line("prometheus-a", "new") + &line("admin", "admin").replace('\n', " operate\n")).unwrap();
    let flush = || (send("/-/flush", Some("Bearer admin"), T).status == 200).then_some(());
    assert!(wait_for(Duration::from_secs(20), flush).is_some(), "{}", receiver.log());
    let mut wanted = Tables::default();
    let samples = [1, 2, 3, 4].into_iter().fold(Series::metric("up"), |series, n| series.sample(T + n, 1.0));
    wanted.add(V2, &Request::of([samples]));
    wanted.assert_equals(&Tables::read(promarchive_tests::readers::Reader::DuckDb, &receiver.archive()));
    let metrics = receiver.send(Method::GET, "/metrics", &[("Authorization", "Bearer admin")], Vec::new()).body;
    assert!(metrics.contains("sender=\"prometheus-a\"") && !metrics.contains("\"three\""), "{metrics}");
}

#[test]
fn without_a_tokens_file_nobody_needs_one() {
    let receiver = Receiver::start(&[]);
    let answer = receiver.write(V2, &Request::of([Series::metric("up").sample(T, 1.0)]));
    assert_eq!(answer.status, 204);
    assert_eq!(committed(&receiver).samples.len(), 1);
}
