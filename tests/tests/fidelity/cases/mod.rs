//! What is sent.

mod histograms;
mod labels;
mod others;
mod samples;

use std::collections::BTreeSet;

use promarchive_model::Protocol::{self, V1, V2};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};

/// 2023-11-14T22:13:20Z.
pub const T: i64 = 1_700_000_000_000;

/// Cases of one kind, which go into one table: a table of the page.
pub struct Section {
    pub title: &'static str,
    /// What to know before the table.
    pub about: &'static str,
    pub table: &'static str,
    /// The columns that tell the cases from one another.
    pub shown: &'static [&'static str],
    /// Whether it is about which of the rows stays, and not about whether all did.
    pub contest: bool,
    pub cases: Vec<Case>,
    /// Why a reader gives something else than the table holds.
    pub notes: &'static [(Reader, &'static str)],
}

/// Something to be sent.
pub struct Case {
    pub name: String,
    /// Each is a request of its own; between them is a flush. One without `__name__` gets the case's.
    pub series: Vec<Series>,
    pub protocols: &'static [Protocol],
    /// Only for a receiver that accepts timestamps of the far future.
    pub far: bool,
    /// Why it does not come out as it went in, if it does not.
    pub why: &'static str,
}

impl Case {
    /// In both protocols, and kept as it is.
    pub fn new(name: &str, series: Series) -> Self {
        Self::parts(name, vec![series])
    }

    /// The same, with flushes between the series.
    pub fn parts(name: &str, series: Vec<Series>) -> Self {
        Self { name: name.to_owned(), series, protocols: &[V1, V2], far: false, why: "" }
    }

    /// Which is kept in another way, or not.
    pub fn why(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    /// Which 1.0 cannot say.
    pub fn only_v2(self) -> Self {
        Self { protocols: &[V2], ..self }
    }

    /// Its requests.
    pub fn requests(&self, protocol: Protocol, section: &Section) -> Vec<Request> {
        self.named(section).into_iter().map(|series| request(protocol, series)).collect()
    }

    /// Its series, with names.
    pub fn named(&self, section: &Section) -> Vec<Series> {
        let metric = self.metric(section);
        let mut all = self.series.clone();
        for series in all.iter_mut().filter(|series| !series.labels.iter().any(|(name, _)| name == b"__name__")) {
            series.labels.insert(0, (b"__name__".to_vec(), metric.clone().into_bytes()));
        }
        all
    }

    /// Whether it is sent with a name of its own.
    pub fn has_name(&self) -> bool {
        self.given_name().is_some()
    }

    fn given_name(&self) -> Option<&[u8]> {
        let labels = self.series.iter().flat_map(|series| &series.labels);
        labels.filter(|(name, _)| name == b"__name__").map(|(_, value)| value.as_slice()).next()
    }

    /// The metric under which it is found again.
    pub fn metric(&self, section: &Section) -> String {
        let made = || {
            let words =
                format!("{} {}", section.title, self.name).to_lowercase().replace('−', "minus").replace('+', "plus");
            words.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
        };
        self.given_name().map_or_else(made, |name| String::from_utf8_lossy(name).into_owned())
    }
}

/// 1.0 has metadata beside the series.
fn request(protocol: Protocol, series: Series) -> Request {
    let metadata = series.metadata.clone().filter(|_| protocol == V1);
    let metric = series.labels.iter().find(|(name, _)| name == b"__name__").map(|(_, value)| value.clone());
    let families = metadata.map(|metadata| (String::from_utf8(metric.unwrap_or_default()).unwrap(), metadata));
    Request { families: families.into_iter().collect(), ..Request::of([series]) }
}

/// All of them, in the order of the page.
pub fn sections() -> Vec<Section> {
    let all = vec![
        samples::values(),
        samples::counters(),
        samples::starts(),
        samples::timestamps(),
        samples::contests(),
        labels::labels(),
        histograms::histograms(),
        others::exemplars(),
        others::metadata(),
    ];
    let cases = || all.iter().flat_map(|section| section.cases.iter().map(|case| case.metric(section)));
    assert_eq!(cases().collect::<BTreeSet<_>>().len(), cases().count(), "two cases with one metric");
    all
}
