//! What a real Prometheus makes of rules that the operator takes: never more than the operator reckons with.
//!
//! Lists of rules that write into labels what labels have, over and over, become the rules of scrape jobs, for Prometheus shows the labels
//! of a target before and after its rules. The code is that of remote write. It has much of this in memory only if the operator was wrong, and is
//! held to 4 GB for that case.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::dice::Dice;

/// As in `refusal/growth.rs`.
const MOST_COPIES: usize = 8;
const MOST_TEXT: usize = 2_048;
/// Labels of a series that the operator reckons with; a target has fewer, with those that Prometheus gives to it.
const LABELS: usize = 32;

const NAMES: &[&str] = &["a", "b", "c", "l0", "l1", "l2", "x", "y"];
const EXPRESSIONS: &[&str] = &["(.*)", "(.+)", "((.*))", "(.*)(.)", "(.)(.*);(.*)", "(?P<n>.*)", "([^;]*);?(.*)", "l0"];
const REPLACEMENTS: &[&str] =
    &["$1", "$1$1", "${1}_${2}", "$2$1", "$0", "$n$1", "$1$1$1", "-$3-$2-$1-", "text", "$$1", "é${1}"];

/// Rules that make labels longer.
pub(crate) fn rules(dice: &mut Dice) -> Value {
    let many = 1 + dice.below(12);
    (0..many).map(|_| rule(dice)).collect()
}

fn rule(dice: &mut Dice) -> Value {
    let expression = json!(dice.one_of(EXPRESSIONS));
    let many = dice.below(4);
    let sources: Vec<&str> = (0..many).map(|_| dice.one_of(NAMES)).collect();
    match dice.below(10) {
        0 => {
            let replacement = dice.one_of(&["$1", "${1}_", "x_$1", "$1$1", "b"]);
            json!({"action": "labelmap", "regex": dice.one_of(&["(.+)", "l(.+)", "l(0|1)", "a"]), "replacement": replacement})
        }
        1 => {
            let action = dice.one_of(&["uppercase", "lowercase"]);
            json!({"action": action, "sourceLabels": sources, "targetLabel": dice.one_of(NAMES)})
        }
        2 => {
            let target = dice.one_of(&["${1}", "x_$1", "$1$1", "${n}_"]);
            let replacement = dice.one_of(REPLACEMENTS);
            json!({"sourceLabels": sources, "targetLabel": target, "regex": "([a-z]+)(?P<n>.*)", "replacement": replacement})
        }
        3 => json!({"action": "hashmod", "sourceLabels": sources, "modulus": 4_294_967_295_i64, "targetLabel": "x"}),
        4 => json!({"action": "labeldrop", "regex": dice.one_of(&["l1", "x_.*", "y"])}),
        _ => json!({
            "sourceLabels": sources, "separator": dice.one_of(&["", ";", "--"]), "regex": expression,
            "targetLabel": dice.one_of(NAMES), "replacement": dice.one_of(REPLACEMENTS),
        }),
    }
}

/// Labels of a target. Most of their text is in one of them, as in `id` of cAdvisor: what is copied is seen.
fn labels(dice: &mut Dice) -> Map<String, Value> {
    let values = ["", "a", "value", "é;é", "kube-system", "ⱥⱥⱥ"];
    let longest = dice.one_of(NAMES);
    let names = NAMES.iter().map(|name| (*name).to_owned()).chain((3..10).map(|number| format!("l{number}")));
    names
        .filter_map(|name| {
            let value = if name == longest {
                "pod0a1b2c3d".repeat(40 + dice.below(100))
            } else {
                dice.one_of(&values).to_owned()
            };
            (name == longest || dice.once_in(2)).then(|| (name, json!(value)))
        })
        .collect()
}

struct Prometheus {
    process: Child,
    port: u16,
}

impl Prometheus {
    /// `entries` have the rules, as in the file.
    fn start(folder: &Path, entries: &[Value], dice: &mut Dice) -> Self {
        let jobs: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(number, entry)| {
                let targets: Vec<Value> =
                    (0..4).map(|_| json!({"targets": ["127.0.0.1:1"], "labels": labels(dice)})).collect();
                json!({
                    "job_name": number.to_string(), "scrape_interval": "1h", "static_configs": targets,
                    "relabel_configs": entry["write_relabel_configs"],
                })
            })
            .collect();
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, json!({"scrape_configs": jobs}).to_string()).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let tools = std::env::var_os("PROMARCHIVE_GO_TOOLS").expect("PROMARCHIVE_GO_TOOLS is not set: run `make test`");
        let process = Command::new("prlimit")
            .arg("--as=4000000000")
            .arg(Path::new(&tools).join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    fn targets(&self) -> Option<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.write_all(b"GET /api/v1/targets?state=any HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// All targets, once they are there. Those that the rules make unfit are not.
    fn all_targets(&mut self, jobs: usize, folder: &Path) -> Vec<Value> {
        let seen = |answer: &Value| {
            let active = answer["data"]["activeTargets"].as_array()?.clone();
            let pools = active.iter().map(|target| target["scrapePool"].to_string());
            (pools.collect::<std::collections::BTreeSet<_>>().len() >= jobs * 9 / 10).then_some(active)
        };
        for _ in 0..1_800 {
            if let Some(targets) = self.targets().as_ref().and_then(seen) {
                return targets;
            }
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert_eq!(self.process.try_wait().unwrap(), None, "{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the targets are not there after three minutes");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn characters(labels: &Value) -> usize {
    let labels = labels.as_object().unwrap().iter();
    labels.map(|(name, value)| name.chars().count() + value.as_str().unwrap().chars().count()).sum()
}

/// Fails if a target's labels have become longer than an accepted list may make them.
pub(crate) fn check(folder: &Path, entries: &[Value], dice: &mut Dice) {
    let mut prometheus = Prometheus::start(folder, entries, dice);
    let targets = prometheus.all_targets(entries.len(), folder);
    let (mut factor, mut longest) = (0, 0);
    for target in &targets {
        let (before, after) = (characters(&target["discoveredLabels"]), characters(&target["labels"]));
        assert!(target["discoveredLabels"].as_object().unwrap().len() <= LABELS, "{target}");
        let pool: usize = target["scrapePool"].as_str().unwrap().parse().unwrap();
        // Prometheus gives `instance` to a target.
        let most = before * MOST_COPIES + MOST_TEXT + "instance127.0.0.1:1".len();
        assert!(after <= most, "{before} became {after}: {} {target}", entries[pool]);
        (factor, longest) = (factor.max(100 * after / before), longest.max(after));
    }
    eprintln!("{} targets: up to {factor} % of what they were, and {longest} characters", targets.len());
    // The test is worth something.
    assert!(factor > 400, "{factor} %");
}
