//! The two loops that all samples go through, on one core: decode and route to series, and settle, sort and encode.
//!
//! ```text
//! cargo bench -p promarchive-bench
//! ```

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use promarchive_archive::file::Origin;
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_bench::load::{Load, Name, Request};
use promarchive_model::{Protocol, TimestampBounds};
use promarchive_pipeline::memtable::{self, Horizon, Index, IndexAccess, Memtable, RequestKind, resolve};
use promarchive_pipeline::settle::{Plan, settle};
use promarchive_wire::decompress;

const ALL_TIMES: TimestampBounds = TimestampBounds { earliest: i64::MIN, latest: i64::MAX };
const MAX_BODY: usize = 32 << 20;

fn load(name: Name, protocol: Protocol) -> Load {
    Load::new(name, protocol).expect("the load is part of this program")
}

/// Snappy, protobuf, series, memtable: what a receiver does with a request besides HTTP and the WAL.
fn route(
    index: impl IndexAccess,
    memtable: &mut Memtable,
    protocol: Protocol,
    request: &Request,
    decoded: &mut Vec<u8>,
) {
    decoded.clear();
    decompress(&request.body, MAX_BODY, decoded).expect("it was compressed here");
    let (bounds, kind) = (ALL_TIMES, RequestKind::Arriving);
    let request = memtable::Request { protocol, body: decoded, bounds, received_at: 0, label: None, kind };
    let mut batch = resolve(index, request).expect("it was encoded here");
    memtable.apply(1, 0, &mut batch, |_| false);
}

/// With all of a load: every series known, every sample buffered.
fn filled(load: &Load) -> (Index, Memtable) {
    let (mut index, mut memtable, mut decoded) = (Index::new(1), Memtable::default(), Vec::new());
    for request in load.connections.iter().flatten() {
        route(&mut index, &mut memtable, load.protocol, request, &mut decoded);
    }
    (index, memtable)
}

fn decode_and_route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode and route");
    for (name, protocol) in [
        (Name::Real, Protocol::V1),
        (Name::Real, Protocol::V2),
        (Name::TwoHundred, Protocol::V1),
        (Name::TwoHundred, Protocol::V2),
    ] {
        let load = load(name, protocol);
        let (mut index, _) = filled(&load);
        let part = |requests: &'_ Vec<Request>| requests.iter().take(requests.len() / 10).cloned().collect::<Vec<_>>();
        let requests: Vec<Request> = load.connections.iter().flat_map(part).collect();
        group.throughput(Throughput::Elements(requests.iter().map(|request| request.samples).sum()));
        group.bench_function(format!("{name} {protocol:?}"), |bencher| {
            bencher.iter_batched_ref(
                || (Memtable::default(), Vec::new()),
                |(memtable, decoded)| {
                    for request in &requests {
                        route(&mut index, memtable, protocol, request, decoded);
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// The same by two threads, each with its own requests: with one index between them, as in a receiver, and with one for each. What the
/// second is faster is what waiting for the index costs.
fn decode_and_route_by_two(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode and route by two threads");
    for protocol in [Protocol::V1, Protocol::V2] {
        let load = load(Name::TwoHundred, protocol).over(2);
        let part = |requests: &'_ Vec<Request>| requests.iter().take(requests.len() / 10).cloned().collect::<Vec<_>>();
        let requests: Vec<Vec<Request>> = load.connections.iter().map(part).collect();
        group.throughput(Throughput::Elements(requests.iter().flatten().map(|request| request.samples).sum()));
        for indexes in [1, 2] {
            let indexes: Vec<Mutex<Index>> = (0..indexes).map(|_| Mutex::new(Index::new(1))).collect();
            let work = |(at, requests): (usize, &Vec<Request>)| {
                let (mut memtable, mut decoded) = (Memtable::default(), Vec::new());
                for request in requests {
                    route(&indexes[at % indexes.len()], &mut memtable, protocol, request, &mut decoded);
                }
            };
            // Every series is known before anything is measured.
            load.connections.iter().enumerate().for_each(&work);
            group.bench_function(format!("{protocol:?}, indexes: {}", indexes.len()), |bencher| {
                bencher.iter(|| {
                    let work = &work;
                    thread::scope(|scope| {
                        for requests in requests.iter().enumerate() {
                            scope.spawn(move || work(requests));
                        }
                    });
                });
            });
        }
    }
    group.finish();
}

fn settle_sort_and_encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settle, sort and encode");
    for name in [Name::Real, Name::TwoHundred, Name::TwoHours] {
        let load = load(name, Protocol::V2);
        let (index, memtable) = filled(&load);
        group.throughput(Throughput::Elements(memtable.samples()));
        let columns = LabelColumns::default();
        group.bench_function(format!("{name}"), |bencher| {
            let flush = |mut memtable: Memtable| {
                let settled = settle(&mut memtable, &Horizon::default());
                let view = index.series.view(settled.series().into_iter());
                let plan = Plan::new(settled, view);
                let files = plan.files(Table::SAMPLES);
                let encode = |(&date, file)| {
                    let (file, rest) =
                        plan.encode(Table::SAMPLES, date, file, &columns, &Origin::Import).expect("it encodes");
                    assert!(rest.is_none(), "all of a load fits into one file");
                    file.bytes.len()
                };
                files.iter().map(encode).sum::<usize>()
            };
            bencher.iter_batched(|| memtable.clone(), flush, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(10)).without_plots();
    targets = decode_and_route, decode_and_route_by_two, settle_sort_and_encode
}
criterion_main!(benches);
