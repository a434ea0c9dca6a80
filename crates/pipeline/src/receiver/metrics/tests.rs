use std::collections::BTreeMap;

use super::*;

fn touched() -> Metrics {
    let metrics = Metrics::new();
    metrics.http_requests.get_or_create(&HttpLabels { path: "other", method: "GET", code: 404 }).inc();
    metrics.http_request_duration_seconds.get_or_create(&PathLabel { path: "/metrics" }).observe(0.2);
    metrics.sender_requests.get_or_create(&SenderLabel { sender: "a\"\\".to_owned(), code: 204 }).inc();
    metrics.refused.get_or_create(&ReasonLabel { reason: "no-name" }).inc_by(3);
    for family in [&metrics.flush_rows, &metrics.flush_file_bytes, &metrics.commits] {
        family.get_or_create(&TableLabel { table: "samples" }).inc();
    }
    metrics.last_commit_timestamp_seconds.set(1.5e9);
    metrics.request(Operation::PutIfAbsent, Status::Exists, 7, Duration::from_millis(3));
    metrics
}

/// Name and type of every metric family, checked line by line.
fn families(text: &str) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    let mut described = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 5, "{line}");
            described.push(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(described.last().unwrap(), name, "help and type stand together");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let family = described.last().unwrap();
            assert!(name.starts_with(family.as_str()), "{name} stands under {family}");
            assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
        }
    }
    types
}

#[test]
fn the_text_parses_and_names_follow_the_rules() {
    let text = touched().text(View::Full);
    let families = families(&text);
    assert!(families.len() >= 30, "{}", families.len());
    for (name, kind) in &families {
        assert!(name.starts_with("promarchive_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        match kind.as_str() {
            "counter" => assert!(name.ends_with("_total"), "{name}"),
            "histogram" => assert!(name.ends_with("_seconds"), "{name}"),
            "gauge" => assert!(!name.ends_with("_total") && !name.contains("duration"), "{name}"),
            other => panic!("{name} is a {other}"),
        }
    }
    for line in [
        "promarchive_http_requests_total{path=\"other\",method=\"GET\",code=\"404\"} 1",
        "promarchive_refused_total{reason=\"no-name\"} 3",
        "promarchive_store_requests_total{operation=\"put_if_absent\",status=\"exists\"} 1",
        "promarchive_store_requests_total{operation=\"get\",status=\"failed\"} 0",
        "promarchive_store_bytes_total{operation=\"put_if_absent\"} 7",
        "promarchive_store_request_duration_seconds_count{operation=\"put_if_absent\"} 1",
        "promarchive_http_request_duration_seconds_bucket{le=\"+Inf\",path=\"/metrics\"} 1",
        "promarchive_sender_requests_total{sender=\"a\\\"\\\\\",code=\"204\"} 1",
        concat!("promarchive_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "promarchive_flushes_total{result=\"failed\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn who_may_not_see_senders_sees_everything_else() {
    let metrics = touched();
    let (all, some) = (families(&metrics.text(View::Full)), families(&metrics.text(View::WithoutSenders)));
    let missing: Vec<&String> = all.keys().filter(|name| !some.contains_key(*name)).collect();
    assert_eq!(missing, ["promarchive_sender_requests_total"]);
    for text in [metrics.text(View::WithoutSenders), metrics.openmetrics(View::WithoutSenders)] {
        assert!(!text.contains("sender=") && !text.contains("a\\\"\\\\"), "{text}");
    }
    assert!(metrics.openmetrics(View::WithoutSenders).ends_with("# EOF\n"));
}

#[test]
fn exemplars_are_in_openmetrics_only() {
    let metrics = Metrics::new();
    metrics.wal_sync_duration_seconds.observe(0.002, Some(PositionLabel { position: 7 }), None);
    assert!(metrics.openmetrics(View::Full).contains("# {position=\"7\"} 0.002"));
    let text = metrics.text(View::Full);
    assert!(!text.contains("# {"), "{text}");
    assert!(text.contains("promarchive_wal_sync_duration_seconds_bucket{le=\"0.0025\"} 1\n"), "{text}");
}

#[test]
fn openmetrics_ends_as_it_must() {
    let text = touched().openmetrics(View::Full);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE promarchive_http_requests counter\n"));
    assert!(!text.contains("_total_total"));
}
