//! What the operator takes, Prometheus loads: rules and queues are made at random, good ones and nasty ones, and those that are taken
//! go through `promtool check config`. And what the operator says no Prometheus loads, promtool refuses.
//!
//! The seed is fixed, so that a run never fails by chance. `PROMARCHIVE_RULES` says how many rules are made for each validation scheme
//! (default: 12,000), `PROMARCHIVE_RULES_SEED` from which seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod dice;
mod growth;
mod rules;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use dice::Dice;
use promarchive_api::metrics_archive::{PrometheusKind, RemoteWriteSettings, TlsMode};
use promarchive_operator::names::{ArchiveName, PrometheusName};
use promarchive_operator::senders::entry::{Capabilities, Entry, RefusedSettings};
use serde_json::{Value, json};

/// What the test runs with; the sources of other releases are in `rule.rs`.
const RELEASE: &str = "3.16";
/// How many rules go into one file.
const AT_A_TIME: usize = 20_000;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// The entry for a Prometheus of this scheme in another namespace.
fn entry(settings: &Value, scheme: &str) -> Result<Value, RefusedSettings> {
    let settings: RemoteWriteSettings = serde_json::from_value(settings.clone()).unwrap();
    let spec = json!({"version": RELEASE, "nameValidationScheme": scheme});
    let capabilities = Capabilities::of(PrometheusKind::Prometheus, &spec, None);
    let prometheus =
        PrometheusName { kind: PrometheusKind::Prometheus, namespace: "theirs".to_owned(), name: "main".to_owned() };
    Entry::new(&ArchiveName::new("home", "lab"), TlsMode::SelfSigned, &settings, &prometheus, &capabilities)
        .map(|entry| entry.value().clone())
}

/// An element of `remote_write` as the Prometheus Operator writes it.
fn written(name: &str, entry: &Value) -> Value {
    let mut written = json!({"name": name, "url": entry["url"]});
    if let Some(queue) = entry.get("queueConfig") {
        let names = BTreeMap::from([
            ("capacity", "capacity"),
            ("minShards", "min_shards"),
            ("maxShards", "max_shards"),
            ("maxSamplesPerSend", "max_samples_per_send"),
            ("batchSendDeadline", "batch_send_deadline"),
            ("retryOnRateLimit", "retry_on_http_429"),
        ]);
        let fields = queue.as_object().unwrap().iter();
        written["queue_config"] = fields.map(|(key, value)| (names[key.as_str()].to_owned(), value.clone())).collect();
    }
    let rules = entry["writeRelabelConfigs"].as_array().into_iter().flatten().map(|rule| {
        let mut rule = rule.clone();
        let fields = rule.as_object_mut().unwrap();
        for (from, to) in [("sourceLabels", "source_labels"), ("targetLabel", "target_label")] {
            if let Some(value) = fields.remove(from) {
                fields.insert(to.to_owned(), value);
            }
        }
        fields.retain(|key, value| !(matches!(key.as_str(), "regex" | "target_label") && value == ""));
        rule
    });
    written["write_relabel_configs"] = rules.collect();
    written
}

fn configuration(entries: &[Value], scheme: &str) -> String {
    let scheme = scheme.to_lowercase();
    json!({"global": {"metric_name_validation_scheme": scheme}, "remote_write": entries}).to_string()
}

/// What promtool says of each of these files: none if it is good.
fn promtool(configurations: &[String]) -> Vec<Option<String>> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("promarchive-promtool-{}-{call}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files: Vec<PathBuf> = (0..configurations.len()).map(|number| folder.join(format!("{number}.yml"))).collect();
    files.iter().zip(configurations).for_each(|(file, text)| std::fs::write(file, text).unwrap());
    let tools = env::var_os("PROMARCHIVE_GO_TOOLS").expect("PROMARCHIVE_GO_TOOLS is not set: run `make test`");
    let program = PathBuf::from(tools).join("promtool");
    let answer = Command::new(program).args(["check", "config", "--syntax-only"]).args(&files).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = [answer.stdout, answer.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let faults: Vec<Option<String>> = files
        .iter()
        .map(|file| {
            // A fault names its file; what is good is named on the other stream.
            let name = format!("{}", file.display());
            let mut lines = text.lines().map(str::trim);
            let is_good = text.contains(&format!("SUCCESS: {name} is valid"));
            let fault = lines.find(|line| line.starts_with("FAILED:") && line.contains(&name));
            (!is_good).then(|| fault.unwrap_or(&text).to_owned())
        })
        .collect();
    assert_eq!(faults.iter().all(Option::is_none), answer.status.success(), "{text}");
    faults
}

/// Fails with the one entry that Prometheus does not load.
fn all_load(entries: &[Value], scheme: &str) {
    let Some(fault) = promtool(&[configuration(entries, scheme)]).remove(0) else { return };
    if let [entry] = entries {
        panic!("taken, and not loaded under {scheme}: {entry}\n{fault}");
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    all_load(first, scheme);
    all_load(second, scheme);
    panic!("only together are these not loaded: {fault}");
}

#[test]
fn what_is_taken_is_loaded_and_what_breaks_is_not() {
    let many = number("PROMARCHIVE_RULES", 12_000);
    let mut dice = Dice::new(number("PROMARCHIVE_RULES_SEED", 1));
    for scheme in ["UTF8", "Legacy"] {
        let (mut taken, mut breaking) = (Vec::new(), Vec::new());
        let mut by_action: BTreeMap<String, u64> = BTreeMap::new();
        for number in 0..many {
            let settings = json!({"writeRelabelConfigs": [rules::rule(&mut dice)]});
            match entry(&settings, scheme) {
                Ok(entry) => {
                    let action = entry["writeRelabelConfigs"][0]["action"].as_str().unwrap().to_owned();
                    *by_action.entry(action).or_default() += 1;
                    taken.push(written(&number.to_string(), &entry));
                }
                Err(refused) if refused.breaks_prometheus() => breaking.push((settings, refused)),
                Err(_) => {}
            }
        }
        eprintln!(
            "{scheme}: of {many} rules {} are taken, {} break Prometheus; {by_action:?}",
            taken.len(),
            breaking.len()
        );
        // The test is worth something.
        assert_eq!(by_action.len(), 11, "{by_action:?}");
        assert!(
            taken.len() as u64 > many / 8 && by_action.values().all(|count| *count > many / 1_000),
            "{by_action:?}"
        );
        taken.chunks(AT_A_TIME).for_each(|entries| all_load(entries, scheme));

        breaking.truncate(300);
        let files: Vec<String> = breaking
            .iter()
            .map(|(settings, _)| configuration(&[written("a", &with_url(&settings["writeRelabelConfigs"]))], scheme))
            .collect();
        let faults = promtool(&files);
        for ((settings, refused), fault) in breaking.iter().zip(faults) {
            assert!(fault.is_some(), "promtool takes {settings} under {scheme}, and it is said to break: {refused}");
        }
    }
}

/// An entry with rules that no entry of ours has.
fn with_url(rules: &Value) -> Value {
    json!({"url": "http://lab.example.org/", "writeRelabelConfigs": rules})
}

/// What was found to be taken once, and is not loaded: the test would notice.
#[test]
fn promtool_refuses_what_was_taken_once() {
    let found = [
        json!({"action": "drop", "regex": ".**"}),
        json!({"action": "drop", "regex": "(?P<a.b>up)"}),
        json!({"action": "drop", "regex": "\\p{Alphabetic}+"}),
        json!({"action": "labelmap", "replacement": ""}),
        json!({"action": "lowercase", "targetLabel": "a.b"}),
        json!({"action": "drop", "regex": "a{10}{200}"}),
    ];
    let files: Vec<String> =
        found.iter().map(|rule| configuration(&[written("a", &with_url(&json!([rule])))], "Legacy")).collect();
    for (rule, fault) in found.iter().zip(promtool(&files)) {
        assert!(fault.is_some(), "{rule}");
        entry(&json!({"writeRelabelConfigs": [rule]}), "Legacy").expect_err(&rule.to_string());
    }
}

#[test]
fn a_queue_that_is_taken_is_loaded() {
    let mut dice = Dice::new(number("PROMARCHIVE_RULES_SEED", 1));
    let queues = (0..3_000).map(|_| json!({"queue": rules::queue(&mut dice)}));
    let entries: Vec<Value> = queues.filter_map(|settings| entry(&settings, "UTF8").ok()).collect();
    let entries: Vec<Value> =
        entries.iter().enumerate().map(|(number, entry)| written(&number.to_string(), entry)).collect();
    assert!(entries.len() > 100, "{}", entries.len());
    all_load(&entries, "UTF8");
}

/// As the operator reckons with it: a series whose labels have so many characters has at most 8 times as many after the rules, and 2,048.
#[test]
fn rules_that_are_taken_do_not_let_labels_grow() {
    let mut dice = Dice::new(number("PROMARCHIVE_RULES_SEED", 1));
    let lists: Vec<Value> = (0..3_000).map(|_| json!({"writeRelabelConfigs": growth::rules(&mut dice)})).collect();
    let taken: Vec<Value> = lists.iter().filter_map(|settings| entry(settings, "UTF8").ok()).collect();
    eprintln!("{} of {} lists are taken", taken.len(), lists.len());
    assert!((300..lists.len() * 9 / 10).contains(&taken.len()), "{}", taken.len());
    let entries: Vec<Value> = taken.iter().map(|entry| written("a", entry)).take(600).collect();
    let folder = env::temp_dir().join(format!("promarchive-growth-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    growth::check(&folder, &entries, &mut dice);
    std::fs::remove_dir_all(&folder).unwrap();
}
