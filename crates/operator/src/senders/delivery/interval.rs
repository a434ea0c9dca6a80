//! The scrape interval of a Prometheus.

use promarchive_api::Timespan;

/// What the Prometheus Operator scrapes at if `spec.scrapeInterval` is not set.
pub const DEFAULT_SCRAPE_INTERVAL: Timespan = Timespan::from_secs(30);

/// Out of `spec.scrapeInterval`. What is no duration, or zero, counts as not set: a judgement needs some interval.
pub fn scrape_interval(text: Option<&str>) -> Timespan {
    let given = text.and_then(|text| text.parse().ok());
    given.filter(|span| *span > Timespan::from_millis(0)).unwrap_or(DEFAULT_SCRAPE_INTERVAL)
}

/// In milliseconds, as marks count.
pub(super) fn milliseconds(span: Timespan) -> i64 {
    i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_interval_is_the_default() {
        assert_eq!(scrape_interval(Some("1m30s")), Timespan::from_secs(90));
        for text in [None, Some(""), Some("0"), Some("0s"), Some("1y"), Some("soon")] {
            assert_eq!(scrape_interval(text), DEFAULT_SCRAPE_INTERVAL, "{text:?}");
        }
        assert_eq!(milliseconds(Timespan::from_millis(u64::MAX)), i64::MAX);
    }
}
