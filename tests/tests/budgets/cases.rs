//! The loads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use promarchive_model::Protocol;
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{Request, Series};

use crate::Case;
use crate::loads::Load;

#[test]
fn as_fast_as_it_can() {
    const WAL_LIMIT: u64 = 64 << 20;
    let hostile = vec![Load::steady(2_000, 50_000); 2];
    let outcome = Case { name: "as fast as it can", hostile, flags: &["--wal-max-bytes", "64Mi"] }.run();
    // The limit is looked at before a request; one group is written after it.
    let most = WAL_LIMIT + (32 << 20);
    assert!(outcome.wal_peak <= most, "{} MiB of WAL", outcome.wal_peak >> 20);
}

#[test]
fn new_series_all_the_time() {
    let outcome = Case { name: "new series", hostile: vec![Load::new_series(2_000, 32); 2], flags: &[] }.run();
    let series: u64 = outcome.hostile.iter().map(|notes| notes.rows()).sum();
    assert!(series > 0, "{}", outcome.receiver.log());
}

#[test]
fn label_values_of_16_kib() {
    Case { name: "16 KiB values", hostile: vec![Load::new_series(50, 16 << 10); 2], flags: &[] }.run();
}

#[test]
fn requests_of_32_mib() {
    // 55,000 series, half a KiB each.
    let outcome = Case { name: "32 MiB requests", hostile: vec![Load::new_series(55_000, 450); 3], flags: &[] }.run();
    let rows: u64 = outcome.hostile.iter().map(|notes| notes.rows()).sum();
    assert!(rows > 0, "none got through:\n{}", outcome.receiver.log());
}

#[test]
fn connections_by_the_hundred() {
    Case { name: "500 connections", hostile: vec![Load::steady(50, 50); 500], flags: &[] }.run();
}

#[test]
fn clients_that_are_stuck() {
    let stuck = |receiver: &Receiver, stop: &AtomicBool| {
        let mut clients: Vec<TcpStream> = Vec::new();
        let head = |length: usize| {
            format!(
                "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: snappy\r\nContent-Length: {length}\r\n\r\n"
            )
        };
        let said = [String::new(), "POST /api/v1/wr".to_owned(), head(32 << 20), head(1 << 20), head(64 << 10)];
        while !stop.load(Ordering::SeqCst) {
            while clients.len() < 200 {
                let mut client = TcpStream::connect(receiver.address()).unwrap();
                client.set_nonblocking(true).unwrap();
                let _ = client.write(said[clients.len() % said.len()].as_bytes());
                clients.push(client);
            }
            sleep(Duration::from_millis(100));
            // A byte now and then, for as long as it is taken; the answer is not read until the connection is closed.
            clients.retain_mut(|client| client.write(b"x").is_ok());
        }
        clients.iter_mut().for_each(|client| drop(client.read(&mut [0; 16])));
    };
    Case { name: "stuck clients", hostile: vec![Load::steady(2_000, 10_000)], flags: &[] }.run_beside(stuck);
}

#[test]
fn days_from_1970_on() {
    // 1 January 2100.
    const FAR: i64 = 4_102_444_800_000;
    let future = |receiver: &Receiver, _: &AtomicBool| {
        let request = Request::of([Series::metric("future").sample(FAR, 1.0)]);
        let answer = receiver.write(Protocol::V2, &request);
        assert!(answer.status == 400 && answer.body.contains("future"), "{answer:?}");
    };
    Case { name: "days from 1970 on", hostile: vec![Load::days(200, 20_000)], flags: &[] }.run_beside(future);
}
