//! Everything is sent to real receivers, one for each protocol, and read by every reader.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use promarchive_model::Protocol;
use promarchive_tests::program::Receiver;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::Request;
use tempfile::TempDir;

use crate::cases::{Case, Section};
use crate::queries;
use crate::value::{Row, read};

/// What one protocol has left.
pub struct Archive {
    pub protocol: Protocol,
    directory: TempDir,
    /// Why requests were refused, by metric.
    refusals: BTreeMap<String, String>,
    /// Rows by reader and table, and in there by metric.
    tables: BTreeMap<(&'static str, &'static str), BTreeMap<String, Vec<Row>>>,
}

/// The readers, and what the page calls them.
pub const READERS: [(Reader, &str); 5] = [
    (Reader::DuckDb, "DuckDB"),
    (Reader::Polars, "Polars"),
    (Reader::Pandas, "pandas, Arrow"),
    (Reader::PandasNumpy, "pandas, NumPy"),
    (Reader::Spark, "Spark"),
];

pub fn name(reader: Reader) -> &'static str {
    READERS.iter().find(|(one, _)| *one == reader).unwrap().1
}

impl Archive {
    /// Sends all; one part is flushed by request, the rest at the end of the process; and again, for what needs another bound.
    pub fn make(protocol: Protocol, sections: &[Section]) -> Self {
        let mut refusals = BTreeMap::new();
        let mut receiver = Receiver::start(&[]);
        send(&receiver, protocol, sections, &mut refusals, |case| !case.far);
        let filters = receiver.write(protocol, &Request::of(queries::series()));
        assert_eq!(filters.status, 204, "{filters:?}");
        assert!(receiver.terminate().success());
        let directory = tempfile::tempdir().unwrap();
        for name in ["archive", "archive.wal"] {
            fs::rename(receiver.directory().join(name), directory.path().join(name)).unwrap();
        }
        let mut receiver = Receiver::start_in(directory, &["--max-future", "36500d"], &[]);
        send(&receiver, protocol, sections, &mut refusals, |case| case.far);
        assert!(receiver.terminate().success());
        let directory = tempfile::tempdir().unwrap();
        fs::rename(receiver.archive(), directory.path().join("archive")).unwrap();
        let mut archive = Self { protocol, directory, refusals, tables: BTreeMap::new() };
        archive.read();
        archive
    }

    fn read(&mut self) {
        for (reader, _) in READERS {
            for table in ["samples", "histograms", "exemplars", "metadata"] {
                let rows = read(reader, &self.path(), table);
                let counts = |rows: &BTreeMap<String, Vec<Row>>| -> Vec<(String, usize)> {
                    rows.iter().map(|(metric, rows)| (metric.clone(), rows.len())).collect()
                };
                let first = self.tables.get(&(READERS[0].1, table)).unwrap_or(&rows);
                assert_eq!(counts(first), counts(&rows), "{reader:?}: rows of {table}");
                self.tables.insert((name(reader), table), rows);
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// The rows of a metric.
    pub fn rows(&self, reader: Reader, table: &'static str, metric: &str) -> &[Row] {
        self.tables[&(name(reader), table)].get(metric).map_or(&[], Vec::as_slice)
    }

    /// All rows of a table, by metric.
    pub fn all_rows(&self, reader: Reader, table: &'static str) -> &BTreeMap<String, Vec<Row>> {
        &self.tables[&(name(reader), table)]
    }

    /// Why a case was refused, if it was.
    pub fn refusal(&self, metric: &str) -> Option<&str> {
        self.refusals.get(metric).map(String::as_str)
    }
}

fn send(
    receiver: &Receiver,
    protocol: Protocol,
    sections: &[Section],
    refusals: &mut BTreeMap<String, String>,
    chosen: fn(&Case) -> bool,
) {
    let all = sections.iter().flat_map(|section| section.cases.iter().map(move |case| (section, case)));
    let all: Vec<_> = all.filter(|(_, case)| case.protocols.contains(&protocol) && chosen(case)).collect();
    let rounds = all.iter().map(|(_, case)| case.series.len()).max().unwrap_or(0);
    for round in 0..rounds {
        if round > 0 {
            receiver.flush();
        }
        for (section, case) in &all {
            let Some(request) = case.requests(protocol, section).into_iter().nth(round) else { continue };
            let answer = receiver.write(protocol, &request);
            if answer.status != 204 {
                refusals.insert(case.metric(section), reason(answer.status, &answer.body));
            }
        }
    }
}

/// `400`, and the name of the reason.
fn reason(status: u16, body: &str) -> String {
    let words = body.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_' && !letter.is_ascii_digit());
    let name = words.into_iter().find(|word| word.contains('_')).unwrap_or_else(|| panic!("no reason: {body}"));
    format!("{status} `{name}`")
}
