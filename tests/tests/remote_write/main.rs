//! Remote write 1.0 and 2.0 over HTTP, against the program itself; what was accepted is read back from the tables with DuckDB.

mod access;
mod answers;
mod back_pressure;
mod bodies;
mod crowd;
mod generated;
mod histograms;
mod labels;
mod memory;
mod metrics;
mod negotiation;
mod permissions;
mod refusals;
mod samples;
mod senders;
mod shares;
mod surroundings;
mod tokens;
mod web_pages;

use promarchive_model::Protocol;
use promarchive_tests::program::Receiver;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::Request;
use promarchive_tests::tables::Tables;

const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::V2];

/// A timestamp of the tests: 2023-11-14T22:13:20Z.
const T: i64 = 1_700_000_000_000;

/// Everything acknowledged so far, as DuckDB reads it.
fn committed(receiver: &Receiver) -> Tables {
    receiver.flush();
    Tables::read(Reader::DuckDb, &receiver.archive())
}

/// Sends valid requests, each of which must be answered with 204 and, in 2.0, with the counts of what it holds; then compares the tables.
fn assert_kept(protocol: Protocol, requests: &[Request]) {
    let receiver = Receiver::start(&[]);
    let mut wanted = Tables::default();
    for request in requests {
        accept(&receiver, protocol, request);
        wanted.add(protocol, request);
    }
    wanted.assert_equals(&committed(&receiver));
}

/// Sends a valid request.
fn accept(receiver: &Receiver, protocol: Protocol, request: &Request) {
    let answer = receiver.write(protocol, request);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}\n{request:?}");
    let series = &request.series;
    let counts = [
        series.iter().map(|series| series.samples.len()).sum::<usize>(),
        series.iter().map(|series| series.histograms.len()).sum(),
        series.iter().map(|series| series.exemplars.len()).sum(),
    ]
    .map(|count| u64::try_from(count).unwrap());
    assert_eq!(answer.written(), (protocol == Protocol::V2).then_some(counts), "{answer:?}");
}
