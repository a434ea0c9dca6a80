//! A namespace with an archive and a Prometheus that it chooses: what is asked of them, and the comparison of their samples.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use promarchive_cluster::{Cluster, Error, Result};
use serde_json::{Value, json};

use crate::install::ROOT;

/// How long anything may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// From a scrape to its rows: the queue's 5 s, the flush, and a retry or two.
const ARRIVAL: Duration = Duration::from_secs(60);

/// A namespace with the archive `lab` and the Prometheus `main`, which scrapes itself every second.
#[derive(Clone)]
pub(crate) struct Site<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'static str,
    replicas: usize,
}

impl<'a> Site<'a> {
    /// A namespace and all that is in it.
    pub(crate) fn create(cluster: &'a Cluster, namespace: &'static str, replicas: usize) -> Self {
        make_namespace(cluster, namespace, "restricted");
        Self::around(cluster, namespace, replicas, &archive(namespace).to_string())
    }

    /// The archive `lab`, in YAML or JSON, and the Prometheus that it chooses. Applies everything at once, as a user does.
    pub(crate) fn around(cluster: &'a Cluster, namespace: &'static str, replicas: usize, archive: &str) -> Self {
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
                "metadata": {"name": "main", "namespace": namespace},
                "spec": {
                    "replicas": replicas,
                    "scrapeInterval": "1s",
                    "scrapeConfigSelector": {},
                    // A namespace that is deleted waits for half of the longest grace period in it: 600 s by default.
                    "terminationGracePeriodSeconds": 20,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }},
            {"apiVersion": "monitoring.coreos.com/v1alpha1", "kind": "ScrapeConfig",
                "metadata": {"name": "self", "namespace": namespace},
                "spec": {"staticConfigs": [{"targets": ["localhost:9090"]}]}},
        ]});
        cluster.apply(&format!("{archive}\n---\n{objects}")).unwrap();
        Self { cluster, namespace, replicas }
    }

    /// kubectl in the namespace.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.cluster.kubectl(["--namespace", self.namespace].iter().chain(words))
    }

    /// A kind and a name, as JSON.
    pub(crate) fn get(&self, object: &str) -> Result<Value> {
        let text = self.kubectl(&["get", object, "--output=json"])?;
        serde_json::from_str(&text).map_err(|error| not_yet(error.to_string()))
    }

    /// Merges `patch` into the object.
    pub(crate) fn patch(&self, object: &str, patch: &Value) {
        self.kubectl(&["patch", object, "--type=merge", "--patch", &patch.to_string()]).unwrap();
    }

    /// Status, reason and message of a condition of the archive, of its present generation.
    pub(crate) fn condition(&self, kind: &str) -> Result<(String, String, String)> {
        let archive = self.get("metricsarchive/lab")?;
        let conditions = archive["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind);
        let condition = found.ok_or_else(|| not_yet(format!("no condition {kind}")))?;
        if condition["observedGeneration"] != archive["metadata"]["generation"] {
            return Err(not_yet(format!("{kind} is of an older generation")));
        }
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason"), text("message")))
    }

    /// Waits until the condition is True; how long it took.
    pub(crate) fn wait_until(&self, kind: &str, patience: Duration) -> Duration {
        let start = Instant::now();
        let waited = self.cluster.wait_for(&format!("{kind} of {}", self.namespace), patience, || {
            match self.condition(kind)? {
                (status, ..) if status == "True" => Ok(()),
                (status, reason, message) => Err(not_yet(format!("{kind}={status} {reason}: {message}"))),
            }
        });
        waited.unwrap();
        start.elapsed()
    }

    /// The names of all entries of the Prometheus, in their order.
    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let prometheus = self.get("prometheus/main")?;
        let list = prometheus["spec"]["remoteWrite"].as_array().cloned().unwrap_or_default();
        Ok(list.iter().map(|entry| entry["name"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// The one pod of the receiver that is not ending.
    pub(crate) fn receiver_pod(&self) -> Result<Value> {
        let pods =
            self.kubectl(&["get", "pods", "--selector=app.kubernetes.io/component=receiver", "--output=json"])?;
        let pods: Value = serde_json::from_str(&pods).map_err(|error| not_yet(error.to_string()))?;
        let mut pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods.pop().ok_or_else(|| not_yet("no pod of the receiver"))
    }

    /// The ids of the Prometheus' containers: others after a restart.
    pub(crate) fn containers(&self) -> Vec<String> {
        let ids = "{range .items[*].status.containerStatuses[?(@.name=='prometheus')]}{.containerID} {end}";
        let selector = "--selector=app.kubernetes.io/name=prometheus";
        let text = self.kubectl(&["get", "pods", selector, &format!("--output=jsonpath={ids}")]).unwrap();
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// The tables, on the node's disk.
    pub(crate) fn tables(&self) -> PathBuf {
        volume_of(self.cluster, self.namespace, "lab-archive").join("archive")
    }

    /// What each pod of the Prometheus has between two times, in its own words. Ask before it goes.
    pub(crate) fn scraped(&self, window: Window) -> Vec<Scraped> {
        (0..self.replicas)
            .map(|number| {
                let pod = format!("prometheus-main-{number}");
                let length = window.until - window.after;
                let query = format!("%7B__name__%3D~%22.%2B%22%7D%5B{length}ms%5D");
                let path = format!(
                    "/api/v1/namespaces/{}/pods/{pod}:9090/proxy/api/v1/query?query={query}&time={}.{:03}",
                    self.namespace,
                    window.until / 1000,
                    window.until % 1000
                );
                let answer = self.kubectl(&["get", "--raw", &path]).unwrap();
                Scraped { pod, window, answer }
            })
            .collect()
    }

    /// Waits until the tables have every sample of `scraped` with the same bits, once, and nothing else in its window; how
    /// many that are.
    pub(crate) fn assert_kept(&self, what: &str, scraped: &[Scraped]) -> u64 {
        let tables = self.tables();
        let mut samples = 0;
        for scraped in scraped {
            let compared = self.cluster.wait_for(&format!("{}: {what}", self.namespace), ARRIVAL, || {
                let found = compare(&tables, scraped);
                let faults = ["missing", "different", "only_in_archive", "twice"];
                match faults.iter().all(|fault| found[fault] == 0) {
                    true => Ok(found),
                    false => Err(not_yet(found.to_string())),
                }
            });
            let found = compared.unwrap()["sent"].as_u64().unwrap();
            assert!(found > 1000, "{}: {what}: a comparison of {found} samples shows nothing", self.namespace);
            samples += found;
        }
        samples
    }

    /// Both: of a window that ends now.
    pub(crate) fn assert_all_kept(&self, what: &str, after: u64) -> u64 {
        self.assert_kept(what, &self.scraped(Window::until_now(after)))
    }
}

/// A namespace whose pods must keep to this Pod Security Standard.
pub(crate) fn make_namespace(cluster: &Cluster, name: &str, standard: &str) {
    let labels = json!({"pod-security.kubernetes.io/enforce": standard});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    cluster.apply(&namespace.to_string()).unwrap();
}

/// The directory behind a claim, on the node's disk.
pub(crate) fn volume_of(cluster: &Cluster, namespace: &str, claim: &str) -> PathBuf {
    let claim = format!("persistentvolumeclaim/{claim}");
    let name = ["get", &claim, "--namespace", namespace, "--output=jsonpath={.spec.volumeName}"];
    let name = cluster.kubectl(name).unwrap();
    assert!(!name.is_empty(), "{claim} is not bound");
    let path = ["get", "persistentvolume", &name, "--output=jsonpath={.spec.local.path}"];
    PathBuf::from(cluster.kubectl(path).unwrap())
}

fn archive(namespace: &str) -> Value {
    json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab", "namespace": namespace},
        "spec": {
            "storage": {"persistentVolume": {"size": "10Gi"}},
            "receiver": {"flushInterval": "5s"},
            "prometheuses": [{"id": "all", "selector": {}}],
        },
    })
}

/// Samples after one time, until another one; ms since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    after: u64,
    until: u64,
}

impl Window {
    /// These.
    pub(crate) const fn between(after: u64, until: u64) -> Self {
        Self { after, until }
    }

    /// One that ends now. Waits until the scrape that is being made is stored.
    pub(crate) fn until_now(after: u64) -> Self {
        let until = now();
        std::thread::sleep(Duration::from_secs(2));
        Self { after, until }
    }
}

/// One pod's answer.
pub(crate) struct Scraped {
    pod: String,
    window: Window,
    answer: String,
}

fn compare(tables: &std::path::Path, scraped: &Scraped) -> Value {
    let python = std::env::var("PROMARCHIVE_PYTHON").expect("make sets it");
    let answer = tempfile(&scraped.answer);
    let mut command = Command::new(python);
    command.arg(format!("{ROOT}/tests/cluster/tests/end_to_end/compare.py"));
    command.arg(format!("{ROOT}/examples/query.py")).arg(tables).arg(&scraped.pod);
    command.args([scraped.window.after, scraped.window.until].map(|time| time.to_string()));
    let output = command.stdin(fs::File::open(&answer).unwrap()).stderr(Stdio::piped()).output().unwrap();
    fs::remove_file(answer).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// More than a pipe holds.
fn tempfile(text: &str) -> PathBuf {
    let number = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("promarchive-{}-{number:?}.json", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

/// ms since 1970; all clocks here are one.
pub(crate) fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// For what is not so yet.
pub(crate) fn not_yet(what: impl Into<String>) -> Error {
    Error::Unusable(what.into())
}
