//! Tests that walk through the whole room; what one module can show alone is tested in it.

mod framing;
mod oracle;
mod refusals;

use promarchive_model::*;

use super::*;

type Pairs = Vec<(String, String)>;

/// All that can be read of one series, owned.
#[derive(Debug, PartialEq)]
struct Read {
    labels: Result<(String, Pairs), Reason>,
    description: String,
    samples: Vec<Sample>,
    histograms: Vec<Result<Histogram, Reason>>,
    exemplars: Vec<Result<(Pairs, u64, i64), Reason>>,
    metadata: Option<SeriesMetadata>,
}

fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Reads everything, as a receiver does that sees each series for the first time.
fn read_all(protocol: Protocol, body: &[u8]) -> Result<Vec<Read>, DecodeError> {
    let mut decoder = Decoder::new(protocol, body)?;
    let symbols = decoder.symbols();
    let mut all = Vec::new();
    while let Some(series) = decoder.next_series()? {
        let labels = LabelSet::parse(&series.labels, &symbols);
        let histograms = series.histograms.iter().map(|raw| raw.parse(series.created_timestamp));
        let exemplars = series.exemplars.iter().map(|raw| Exemplar::parse(raw, &symbols));
        if let (Some(metadata), Ok(set)) = (series.metadata, &labels) {
            let _ = Metadata::of_series(set.metric, metadata, &symbols);
        }
        all.push(Read {
            labels: labels.map(|set| (set.metric.to_owned(), owned(&set.labels))).map_err(|invalid| invalid.reason),
            description: series.labels.describe(&symbols),
            samples: series.samples.clone(),
            histograms: histograms.map(|result| result.map_err(|invalid| invalid.reason)).collect(),
            exemplars: exemplars
                .map(|result| result.map(|e| (owned(&e.labels), e.value, e.timestamp)).map_err(|e| e.reason))
                .collect(),
            metadata: series.metadata,
        });
    }
    for raw in decoder.metadata() {
        let _ = Metadata::parse(raw?);
    }
    Ok(all)
}
