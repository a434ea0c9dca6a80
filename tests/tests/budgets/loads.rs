//! What is sent: requests whose rows follow from a number. A row's value is its number, so that it is known again in the tables.

use std::time::Duration;

use promarchive_tests::ledger::Body;
use promarchive_tests::program::now_ms;
use promarchive_tests::protobuf::Message;

const DAY_MS: i64 = 86_400_000;
const SCRAPE_MS: i64 = 15_000;

/// A kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rows of a request.
    pub rows: u64,
    shape: Shape,
    /// Milliseconds since the epoch of the first row.
    begin: i64,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// So many series, scraped in turn.
    Steady { series: u64 },
    /// A series for each row, with labels of a Kubernetes pod and one of so many bytes.
    New { label_bytes: usize },
    /// A day for each row, until there is none left; then the next series.
    Days { days: u64 },
}

impl Load {
    fn of(rows: u64, shape: Shape) -> Self {
        Self { rows, shape, begin: now_ms() - DAY_MS }
    }

    /// What a Prometheus sends: the same series again and again.
    pub fn steady(rows: u64, series: u64) -> Self {
        Self::of(rows, Shape::Steady { series })
    }

    /// Each row is a series that was never there, with about 340 bytes of labels and a label of so many more.
    pub fn new_series(rows: u64, label_bytes: usize) -> Self {
        Self::of(rows, Shape::New { label_bytes })
    }

    /// Each row is on another day: this many, evenly spread from 1970 to now.
    pub fn days(rows: u64, days: u64) -> Self {
        Self::of(rows, Shape::Days { days })
    }

    /// The request that begins with row `first` of the sender whose metric this is, compressed.
    pub fn body(&self, metric: &str, first: u64) -> Body {
        let mut request = Builder::new(metric);
        for row in first..first + self.rows {
            match self.shape {
                Shape::Steady { series } => {
                    let time = self.begin + (row / series) as i64 * SCRAPE_MS;
                    request.row(&[("instance", format!("10.0.0.7:{}", row % series))], time, row);
                }
                Shape::New { label_bytes } => {
                    let pod = format!("checkout-{:08x}-{row}", spread(row) as u32);
                    request.row(&[("pod", pod), ("request", text(row, label_bytes))], self.begin, row);
                }
                Shape::Days { days } => {
                    let time = (row % days) as i64 * (now_ms() / DAY_MS / days as i64) * DAY_MS;
                    request.row(&[("instance", (row / days).to_string())], time, row);
                }
            }
        }
        let bytes = snap::raw::Encoder::new().compress_vec(&request.finish()).unwrap();
        Body { content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request", bytes }
    }
}

/// A number's bits, spread.
fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Text of this length that does not compress well.
fn text(seed: u64, bytes: usize) -> String {
    let words = (0..).map(|n| format!("{:016x}", spread(seed << 20 | n)));
    words.take(bytes.div_ceil(16)).collect::<String>()[..bytes].to_owned()
}

/// A request of remote write 2.0.
struct Builder {
    symbols: Message,
    count: u64,
    /// References of the labels that all series share.
    shared: Vec<u64>,
    names: Vec<(&'static str, u64)>,
    series: Message,
}

impl Builder {
    fn new(metric: &str) -> Self {
        let symbols = Message::new().bytes(4, "");
        let mut new = Self { symbols, count: 1, shared: Vec::new(), names: Vec::new(), series: Message::new() };
        let shared = [
            ("__name__", metric),
            ("cluster", "production-europe-west4"),
            ("container", "checkout"),
            ("endpoint", "http-metrics"),
            ("job", "shop/checkout"),
            ("namespace", "shop"),
            ("node", "gke-production-europe-west4-pool-7-8d2c66f1-xk2p"),
            ("prometheus", "monitoring/k8s"),
            ("service", "checkout-headless"),
            ("team", "payments"),
        ];
        new.shared = shared.into_iter().flat_map(|(name, value)| [new.symbol(name), new.symbol(value)]).collect();
        new
    }

    fn symbol(&mut self, text: &str) -> u64 {
        self.symbols = std::mem::take(&mut self.symbols).bytes(4, text);
        self.count += 1;
        self.count - 1
    }

    fn row(&mut self, own: &[(&'static str, String)], timestamp: i64, row: u64) {
        let mut labels = self.shared.clone();
        for (name, value) in own {
            let name = match self.names.iter().find(|(known, _)| known == name) {
                Some(&(_, reference)) => reference,
                None => {
                    let reference = self.symbol(name);
                    self.names.push((name, reference));
                    reference
                }
            };
            labels.extend([name, self.symbol(value)]);
        }
        let sample = Message::new().double(1, (row as f64).to_bits()).signed(2, timestamp);
        let series = Message::new().packed_unsigned(1, &labels).message(2, sample);
        self.series = std::mem::take(&mut self.series).message(5, series);
    }

    fn finish(self) -> Vec<u8> {
        self.symbols.raw(&self.series.into_bytes()).into_bytes()
    }
}

/// How a sender goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// From one acknowledged request to the next.
    pub pause: Duration,
    /// Whether it waits when it is put off, as a Prometheus does; else it comes again at once.
    pub patient: bool,
}

impl Manners {
    /// A Prometheus.
    pub const HONEST: Self = Self { pause: Duration::from_millis(100), patient: true };
    /// As fast as it can.
    pub const HASTY: Self = Self { pause: Duration::ZERO, patient: false };
}
