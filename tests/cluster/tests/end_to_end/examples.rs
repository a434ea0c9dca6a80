//! The examples, applied as they are, to the state that each of them promises.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use promarchive_cluster::Cluster;
use serde_json::Value;

use crate::Clock;
use crate::install::ROOT;
use crate::site::{PATIENCE, not_yet, volume_of};

/// A scrape every 30 s, and the 3 min after which the reloader of the Prometheus Operator looks again if it has missed a change.
const ARRIVAL: Duration = Duration::from_secs(300);
/// What an archive of each must have in its tables: its namespace and name, and queries whose answers are not 0, and 0.
const EXAMPLES: [Example; 3] = [
    Example {
        file: "two-teams",
        namespace: "archives",
        archive: "teams",
        some: &[r#"labels LIKE '%"team":"a"%' AND metric LIKE 'go\_%' ESCAPE '\'"#, r#"labels LIKE '%"team":"b"%'"#],
        none: &[r#"labels LIKE '%"team":"b"%' AND metric LIKE 'go\_%' ESCAPE '\'"#],
    },
    Example { file: "agent", namespace: "edge", archive: "edge", some: &["metric = 'up'"], none: &[] },
    Example { file: "manual", namespace: "gitops", archive: "lab", some: &["metric = 'up'"], none: &[] },
];

struct Example {
    file: &'static str,
    namespace: &'static str,
    archive: &'static str,
    some: &'static [&'static str],
    none: &'static [&'static str],
}

/// All of them side by side.
pub(crate) fn reach_their_states(clock: &Clock, cluster: &Cluster) {
    thread::scope(|scope| {
        for example in &EXAMPLES {
            scope.spawn(move || example.reaches_its_state(clock, cluster));
        }
    });
}

impl Example {
    fn reaches_its_state(&self, clock: &Clock, cluster: &Cluster) {
        let Self { file, namespace, archive, .. } = self;
        let start = Instant::now();
        cluster.kubectl(["apply", &format!("--filename={ROOT}/examples/{file}.yaml")]).unwrap();
        if *file == "manual" {
            paste(cluster, namespace);
        }
        let receiving = cluster.wait_for(&format!("the example {file}"), ARRIVAL, || {
            let found: Value = self.get(cluster, &format!("metricsarchive/{archive}"))?;
            let mut conditions = found["status"]["conditions"].as_array().into_iter().flatten();
            match conditions.find(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
                Some(_) => Ok(found["status"]["summary"].clone()),
                None => Err(not_yet(found["status"].to_string())),
            }
        });
        let summary = receiving.unwrap();
        assert_eq!(summary, if *file == "two-teams" { "2/2" } else { "1/1" });
        clock.says(&format!("example {file}: ready after {:.1} s", start.elapsed().as_secs_f32()));
        self.has_in_its_tables(cluster);
        clock.says(&format!("example {file}: what it promises is in the tables"));
    }

    /// A receiver that is stopped in order leaves everything in the tables.
    fn has_in_its_tables(&self, cluster: &Cluster) {
        let Self { file, namespace, archive, some, none } = self;
        let pods = "--selector=app.kubernetes.io/component=receiver";
        cluster.kubectl(["delete", "pods", pods, "--namespace", namespace]).unwrap();
        let tables = volume_of(cluster, namespace, &format!("{archive}-archive")).join("archive");
        for query in *some {
            let rows = cluster.wait_for(&format!("{file}: {query}"), PATIENCE, || match count(&tables, query) {
                0 => Err(not_yet("no rows")),
                rows => Ok(rows),
            });
            rows.unwrap();
        }
        for query in *none {
            assert_eq!(count(&tables, query), 0, "{file}: {query}");
        }
        cluster.kubectl(["delete", "metricsarchive", archive, "--namespace", namespace, "--wait=false"]).unwrap();
    }

    fn get(&self, cluster: &Cluster, object: &str) -> promarchive_cluster::Result<Value> {
        let text = cluster.kubectl(["get", object, "--namespace", self.namespace, "--output=json"])?;
        serde_json::from_str(&text).map_err(|error| not_yet(error.to_string()))
    }
}

/// As a person does: the entry out of the ConfigMap into the manifest, and applied.
fn paste(cluster: &Cluster, namespace: &str) {
    let entry = cluster.wait_for("the entry to paste", PATIENCE, || {
        let file = format!(r"--output=jsonpath={{.data.prometheus\.{namespace}\.main\.yaml}}");
        match cluster.kubectl(["get", "configmap", "lab-remote-write", "--namespace", namespace, &file])? {
            text if text.is_empty() => Err(not_yet("nothing to paste")),
            text => Ok(text),
        }
    });
    let entry: String = entry.unwrap().lines().map(|line| format!("  {line}\n")).collect();
    let patch = format!("spec:\n{entry}");
    cluster.kubectl(["patch", "prometheus/main", "--namespace", namespace, "--type=merge", "--patch", &patch]).unwrap();
}

/// Rows of the table `samples`; 0 while there is no table.
fn count(tables: &Path, query: &str) -> u64 {
    let python = std::env::var("PROMARCHIVE_PYTHON").expect("make sets it");
    let mut command = Command::new(python);
    command.arg(format!("{ROOT}/examples/query.py")).arg(tables);
    let output =
        command.arg(format!("SELECT 'rows=' || count(*) AS found FROM samples WHERE {query}")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let digits =
        text.split_once("rows=").map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
