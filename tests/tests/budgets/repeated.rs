//! A sender that fills memory does not shorten the time in which what others repeat is recognised.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::PoisonError;

use promarchive_model::Protocol::V1;
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{Request, Series};

use crate::{MEMORY_LIMIT, ONE_AT_A_TIME};

const T: i64 = 1_764_500_000_000;
const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const FLOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Of the honest sender.
const SERIES: usize = 500;
/// Times that the flood fills half of memory: four times what is remembered whatever happens.
const ROUNDS: usize = 8;

/// New series with long labels, until there is no room for more; then a flush.
fn fill(receiver: &Receiver, round: usize) {
    for part in 0.. {
        let series = (0..1_000).map(|at| {
            let value = format!("{round}-{part}-{at}-{}", "x".repeat(2_000));
            Series::new(&[("__name__", "flood"), ("value", &value)]).sample(T, 1.0)
        });
        let answer = receiver.write(V1, &Request::of(series));
        if answer.status != 204 {
            assert_eq!(answer.status, 503, "{answer:?}");
            break;
        }
    }
    receiver.flush();
}

#[test]
fn who_fills_memory_gives_back_its_own_rows() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut receiver = Receiver::start(&["--memory-limit", &MEMORY_LIMIT.to_string()]);
    let request = Request::of((0..SERIES).map(|at| {
        let value = at.to_string();
        Series::new(&[("__name__", "honest"), ("value", &value)]).sample(T, 1.0)
    }));
    receiver.send_from(HONEST);
    assert_eq!(receiver.write(V1, &request).status, 204);
    receiver.flush();
    for round in 0..ROUNDS {
        receiver.send_from(FLOOD);
        fill(&receiver, round);
    }
    receiver.send_from(HONEST);
    assert_eq!(receiver.write(V1, &request).status, 204);
    assert_eq!(receiver.flush()["duplicates"], SERIES);
}
