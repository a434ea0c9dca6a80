//! What inspection tells.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn everything_there_is() {
    let fixture = Fixture::full().await;
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
    let tables: Vec<_> = inspection.tables.iter().map(|t| (t.table, t.version, t.files, t.rows, t.series)).collect();
    assert_eq!(
        tables,
        [
            ("samples", 3, 3, 120, Some(2)),
            ("histograms", 3, 3, 120, Some(2)),
            ("exemplars", 3, 3, 120, Some(2)),
            ("metadata", 3, 3, 3, None)
        ]
    );
    let table = &inspection.tables[0];
    assert_eq!(table.first, Some(Moment(NOON)));
    assert_eq!(table.last, Some(Moment(NOON + 139_000)));
    assert_eq!(
        (table.dates, table.first_date.as_deref(), table.last_date.as_deref()),
        (1, Some("2026-11-22"), Some("2026-11-22"))
    );
    assert_eq!((table.schema_version.as_str(), table.label_columns.len(), table.unlisted_files), ("1", 6, 0));
    assert_eq!(table.last_commit, Some(Moment(NOON + 180_000)));
    let samples = inspection.samples.unwrap();
    assert_eq!((samples.samples, samples.series, samples.metrics), (120, 2, 1));
    assert_eq!(samples.top_metrics, [MetricInspection { metric: "up".into(), samples: 120, series: 2 }]);
    let bytes_per_sample = samples.bytes_per_sample.unwrap();
    assert!((bytes_per_sample * 120.0 - table.bytes as f64).abs() < 1e-6);
    let [writer] = &inspection.writers[..] else { panic!("{:?}", inspection.writers) };
    assert_eq!(writer.positions.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3]);
    assert_eq!(writer.last_commit, Some(Moment(NOON + 180_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn top_metrics_over_many_files_and_series() {
    let fixture = Fixture::new().await;
    let mut expected: Vec<(String, u64, u64)> = Vec::new();
    for flush in 0..3_i64 {
        let mut timeseries = Vec::new();
        for metric in 0..12_i64 {
            // Every series is in every file; the last metric has a new one in each.
            let first = if metric == 11 { flush } else { 0 };
            for series in first..first + metric + 1 {
                let (name, instance) = (format!("m{metric:02}"), format!("i{series}"));
                let rows = 1 + (series * 7 + metric) % 23;
                let times = (0..rows).map(|row| (NOON + flush * 60_000 + row * 1000, row as f64));
                timeseries.extend(samples(&[("__name__", &name), ("instance", &instance)], times).timeseries);
                match expected.iter_mut().find(|(known, ..)| *known == name) {
                    Some(known) => known.1 += rows as u64,
                    None => expected.push((name, rows as u64, 0)),
                }
            }
        }
        fixture.flush(&v1::WriteRequest { timeseries, metadata: Vec::new() }).await;
    }
    for (metric, (_, _, series)) in (0..).zip(&mut expected) {
        *series = if metric == 11 { 14 } else { metric + 1 };
    }
    let samples = inspect(&fixture.store(), &()).await.unwrap().samples.unwrap();
    assert_eq!(samples.samples, expected.iter().map(|(_, rows, _)| rows).sum::<u64>());
    assert_eq!((samples.metrics, samples.series), (12, (1..=11).sum::<u64>() + 14));
    expected.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    let found: Vec<_> = samples.top_metrics.into_iter().map(|m| (m.metric, m.samples, m.series)).collect();
    assert_eq!(found, expected[..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_samples() {
    let fixture = Fixture::new().await;
    fs::remove_dir_all(fixture.table(Table::EXEMPLARS)).unwrap();
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    assert!(inspection.samples.is_none() && inspection.writers.is_empty());
    assert_eq!(inspection.tables.len(), 3);
    assert_eq!(inspection.problems, ["table exemplars does not exist; the receiver creates it when it starts"]);
    assert_eq!(inspection.tables[0].series, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_2000_are_told() {
    const YEAR_2000: i64 = 946_684_800_000;
    let fixture = Fixture::new().await;
    fixture.flush(&samples(&[("__name__", "up")], [(YEAR_2000, 1.0), (NOON, 1.0)])).await;
    assert_eq!(inspect(&fixture.store(), &()).await.unwrap().tables[0].before_2000, None);
    // 0, seconds instead of milliseconds, and what a broken clock says.
    let odd = [0, 1, NOON / 1000, YEAR_2000 - 1].map(|time| (time, 1.0));
    fixture.flush(&samples(&[("__name__", "up")], odd)).await;
    let (first_date, last_date) = ("1970-01-01".to_owned(), "1999-12-31".to_owned());
    let told = DaysBefore2000 { rows: 4, dates: 3, first_date, last_date };
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    assert_eq!(inspection.tables[0].before_2000, Some(told));
    assert!(inspection.tables.iter().skip(1).all(|table| table.before_2000.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_unlisted_files() {
    let fixture = Fixture::full().await;
    let path = fixture.files(Table::SAMPLES)[0].clone();
    fs::write(fixture.table(Table::SAMPLES).join(format!("{path}#1")), "half").unwrap();
    fs::write(fixture.table(Table::SAMPLES).join(&path), "PAR1").unwrap();
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    assert_eq!((inspection.tables[0].unlisted_files, inspection.tables[0].unlisted_bytes), (1, 4));
    assert_eq!(inspection.tables[0].series, None);
    assert!(inspection.samples.is_none());
    let [problem] = &inspection.problems[..] else { panic!("{:?}", inspection.problems) };
    assert!(problem.starts_with(&format!("samples/{path}: ")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_are_known_from_checkpoints() {
    let fixture = Fixture::new().await;
    for at in 0..33 {
        fixture.flush(&samples(&[("__name__", "up")], [(NOON + at, 1.0)])).await;
    }
    // Another WAL goes on.
    let other = receiver(&fixture.directory, "wal-2", &fixture.clock).await;
    send(&other, &samples(&[("__name__", "up")], [(NOON + 1000, 1.0)]));
    other.flush().await.unwrap();
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    let mut positions: Vec<i64> = inspection.writers.iter().map(|writer| writer.positions["samples"]).collect();
    positions.sort_unstable();
    assert_eq!(positions, [1, 33]);
}

/// Time for the same series with `rows` samples each.
async fn time_for(rows: i64) -> (f64, u64) {
    let fixture = Fixture::new().await;
    let series = (0..300).flat_map(|series| {
        let instance = format!("instance-{series}");
        let times = (0..rows).map(|row| (NOON + row * 1000, (row * series) as f64));
        samples(&[("__name__", "up"), ("instance", &instance)], times).timeseries
    });
    fixture.flush(&v1::WriteRequest { timeseries: series.collect(), metadata: Vec::new() }).await;
    let mut best = f64::MAX;
    let mut samples = 0;
    for _ in 0..5 {
        let start = Instant::now();
        samples = inspect(&fixture.store(), &()).await.unwrap().samples.unwrap().samples;
        best = best.min(start.elapsed().as_secs_f64());
    }
    (best, samples)
}

#[tokio::test(flavor = "multi_thread")]
async fn time_hardly_grows_with_the_samples_of_a_series() {
    let ((few, few_samples), (many, many_samples)) = (time_for(200).await, time_for(4000).await);
    assert_eq!((few_samples, many_samples), (60_000, 1_200_000));
    println!("inspect: {few_samples} samples {:.1} ms, {many_samples} samples {:.1} ms", few * 1e3, many * 1e3);
    // 20 times the samples. Reading them all takes more than 10 times as long, even beside other tests.
    assert!(many < few * 3.0 + 0.05, "{few} s, then {many} s");
}
