//! Series like those of a fleet of services behind Kubernetes' service discovery: 12 or 13 labels, about 340 bytes of them.
//!
//! Values: half constant, a quarter counters with random increments, 15 % histogram buckets, 10 % gauges with three decimals. That is more
//! entropy than real ones have (`docs/explanation/performance.md`).

use std::collections::HashMap;

use promarchive_model::Protocol;
use promarchive_wire::proto::{v1, v2};

use super::{Load, Name, Request, Stream};
use crate::Result;

const SAMPLES_A_REQUEST: usize = 2000;
const SERIES_A_TARGET: usize = 500;
const SCRAPE_INTERVAL_MS: i64 = 15_000;
const SCRAPES_IN_FIVE_MINUTES: usize = 20;
/// 2026-11-20 08:00 UTC: every load lies in one day.
const START_MS: i64 = 1_795_161_600_000;
/// As many as a Prometheus of this size has shards.
const CONNECTIONS: usize = 4;

/// `series` series, each scraped `scrapes` times.
pub(super) fn load(name: Name, protocol: Protocol, series: usize, scrapes: usize) -> Result<Load> {
    let mut connections = vec![Vec::new(); CONNECTIONS];
    let all: Vec<usize> = (0..series).collect();
    for (block, series) in all.chunks(SAMPLES_A_REQUEST).enumerate() {
        let mut requests = Block::new(protocol, series.to_vec());
        let requests = (0..scrapes).map(|_| requests.request()).collect::<Result<Vec<Request>>>()?;
        if let Some(connection) = connections.get_mut(block % CONNECTIONS) {
            connection.push(requests);
        }
    }
    let connections = connections.into_iter().map(by_scrape).collect();
    let five_minutes = scrapes.div_ceil(SCRAPES_IN_FIVE_MINUTES);
    Ok(Load { name, protocol, connections, series, five_minutes })
}

/// Requests by block of series → requests by scrape.
fn by_scrape(blocks: Vec<Vec<Request>>) -> Vec<Request> {
    let scrapes = blocks.first().map_or(0, Vec::len);
    (0..scrapes).flat_map(|scrape| blocks.iter().filter_map(move |block| block.get(scrape).cloned())).collect()
}

/// Requests of so many series that are made when they are sent, for more of them than fit into memory, by connection.
pub fn on_the_fly(protocol: Protocol, series: usize, scrapes: usize) -> Vec<Stream<'static>> {
    let blocks = series.div_ceil(SAMPLES_A_REQUEST);
    let of = move |block: usize| block * SAMPLES_A_REQUEST..((block + 1) * SAMPLES_A_REQUEST).min(series);
    let connection = move |connection: usize| {
        let blocks = move |scrape| (connection..blocks).step_by(CONNECTIONS).map(move |block| (scrape, block));
        let request = move |(scrape, block)| Block::new(protocol, of(block).collect()).skip(scrape).request();
        Box::new((0..scrapes).flat_map(blocks).map(request)) as Stream<'static>
    };
    (0..CONNECTIONS).map(connection).collect()
}

/// Series that are sent together, and the message in which they are, scrape by scrape.
struct Block {
    series: Vec<usize>,
    values: Vec<Values>,
    message: Message,
    scrape: usize,
}

enum Message {
    V1(v1::WriteRequest),
    V2(v2::Request),
}

impl Block {
    fn new(protocol: Protocol, series: Vec<usize>) -> Self {
        let values = series.iter().map(|&series| Values::new(series)).collect();
        let message = match protocol {
            Protocol::V1 => Message::V1(message_v1(&series)),
            Protocol::V2 => Message::V2(message_v2(&series)),
        };
        Self { series, values, message, scrape: 0 }
    }

    /// Leaves so many scrapes out.
    fn skip(mut self, scrapes: usize) -> Self {
        for _ in 0..scrapes {
            for values in &mut self.values {
                let _ = values.next();
            }
        }
        self.scrape += scrapes;
        self
    }

    /// The next scrape.
    fn request(&mut self) -> Result<Request> {
        let samples = self.series.iter().zip(&mut self.values);
        let samples = samples.map(|(&series, values)| (timestamp(series, self.scrape), values.next()));
        let request = match &mut self.message {
            Message::V1(message) => {
                for (entry, (timestamp, value)) in message.timeseries.iter_mut().zip(samples) {
                    entry.samples = vec![v1::Sample { value, timestamp }];
                }
                Request::of(message, self.series.len() as u64)
            }
            Message::V2(message) => {
                for (entry, (timestamp, value)) in message.timeseries.iter_mut().zip(samples) {
                    entry.samples = vec![v2::Sample { value, timestamp, start_timestamp: 0 }];
                }
                Request::of(message, self.series.len() as u64)
            }
        };
        self.scrape += 1;
        request
    }
}

fn message_v1(series: &[usize]) -> v1::WriteRequest {
    let timeseries = series.iter().map(|&series| {
        let labels = labels(series).into_iter().map(|(name, value)| v1::Label { name: name.to_owned(), value });
        v1::TimeSeries { labels: labels.collect(), ..v1::TimeSeries::default() }
    });
    v1::WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }
}

fn message_v2(series: &[usize]) -> v2::Request {
    let mut symbols = Symbols::default();
    let timeseries = series.iter().map(|&series| {
        let labels = labels(series);
        let labels = labels.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        v2::TimeSeries {
            labels_refs: labels.map(|text| symbols.reference(text)).collect(),
            ..v2::TimeSeries::default()
        }
    });
    let timeseries = timeseries.collect();
    v2::Request { symbols: symbols.into_table(), timeseries }
}

/// Targets are scraped at offsets of their own, as Prometheus does it.
fn timestamp(series: usize, scrape: usize) -> i64 {
    let target = (series / SERIES_A_TARGET) as u64;
    let offset = mix(target) % SCRAPE_INTERVAL_MS.unsigned_abs();
    START_MS + offset.cast_signed() + scrape as i64 * SCRAPE_INTERVAL_MS
}

fn labels(series: usize) -> Vec<(&'static str, String)> {
    let (target, at) = (series / SERIES_A_TARGET, series % SERIES_A_TARGET);
    let (family, within) = (at / 10, at % 10);
    let service =
        format!("{}-{}", pick(&["checkout", "inventory", "payment-gateway", "search-frontend"], target), target % 40);
    let id = mix(target as u64);
    let mut labels = vec![
        (
            "__name__",
            format!(
                "http_server_{}_{family:02}",
                pick(&["requests_total", "request_duration_seconds_bucket", "response_size_bytes"], family)
            ),
        ),
        ("cluster", "production-eu-central-1".to_owned()),
        ("container", service.clone()),
        ("endpoint", "http-metrics".to_owned()),
        ("instance", format!("10.{}.{}.{}:8080", id % 64, id / 64 % 256, id / 16_384 % 256)),
        ("job", format!("{}/{service}", pick(&["shop", "backoffice", "platform"], target))),
        ("method", pick(&["GET", "POST", "PUT", "DELETE"], at).to_owned()),
        ("namespace", pick(&["shop", "backoffice", "platform"], target).to_owned()),
        ("node", format!("ip-10-{}-{}-7.eu-central-1.compute.internal", id % 64, target % 50)),
        ("pod", format!("{service}-{:08x}-{:05x}", id >> 32, id & 0xf_ffff)),
        (
            "route",
            format!("/api/v1/{}/{within}", pick(&["orders/:id/items", "customers/:id", "products/search"], family)),
        ),
        ("service", service),
    ];
    if within % 2 == 0 {
        labels.push(("status", pick(&["200", "404", "500"], within).to_owned()));
    }
    labels
}

fn pick(texts: &[&'static str], at: usize) -> &'static str {
    texts.get(at % texts.len()).copied().unwrap_or_default()
}

/// The symbol table of a request of 2.0.
#[derive(Debug, Default)]
struct Symbols {
    table: Vec<String>,
    known: HashMap<String, u32>,
}

impl Symbols {
    /// The number of a text.
    fn reference(&mut self, text: &str) -> u32 {
        // The first symbol is the empty one.
        if let Some(&known) = self.known.get(text) {
            return known;
        }
        self.table.push(text.to_owned());
        let reference = self.table.len() as u32;
        self.known.insert(text.to_owned(), reference);
        reference
    }

    /// All texts by number.
    fn into_table(self) -> Vec<String> {
        std::iter::once(String::new()).chain(self.table).collect()
    }
}

/// The values of one series.
struct Values {
    kind: usize,
    random: u64,
    last: f64,
}

impl Values {
    fn new(series: usize) -> Self {
        let random = mix(series as u64 + 1);
        Self { kind: (random % 20) as usize, random, last: (random >> 8) as f64 % 100_000.0 }
    }

    fn next(&mut self) -> f64 {
        self.random = mix(self.random);
        let random = (self.random >> 16) as f64;
        match self.kind {
            0..10 => {}
            10..15 => self.last += random % 1000.0,
            15..18 => self.last += random % 4.0,
            _ => self.last = random % 100_000.0 / 1000.0,
        }
        // Whole numbers stay whole: the first value is cut here.
        if self.kind < 18 { self.last.floor() } else { self.last }
    }
}

/// A step of splitmix64 (Steele, Lea, Flood 2014).
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_made_on_the_fly_are_those_made_before() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let before = load(Name::Fifty, protocol, 9_000, 2).unwrap().connections;
            let on_the_fly = on_the_fly(protocol, 9_000, 2);
            assert_eq!(before.len(), on_the_fly.len());
            for (before, on_the_fly) in before.iter().zip(on_the_fly) {
                let bodies: Vec<_> = on_the_fly.map(|request| request.unwrap().body).collect();
                assert!(before.iter().map(|request| &request.body).eq(&bodies));
            }
        }
    }
}
