//! From `helm install` to `helm uninstall` on a node: the first archive receives, with no rights but those of the chart, and
//! nothing of ours is left in other people's objects afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use promarchive_cluster::{Cluster, Error, Image, Options, Shape};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const IMAGE: &str = "ghcr.io/promarchive/promarchive:0.1.0";

#[test]
fn the_quick_start_receives_and_uninstalling_leaves_nothing_behind() {
    let cluster = Cluster::start(&Options::new(Shape::Node)).unwrap();
    cluster.install_prometheus_operator().unwrap();
    cluster.local_volumes(1, "ReadWriteOnce", "10Gi").unwrap();
    cluster.load(&image()).unwrap();

    let chart = format!("{ROOT}/charts/promarchive");
    helm(&cluster, &["install", "promarchive", &chart, "--create-namespace", "--wait", "--timeout=2m"]);
    let checked = helm(&cluster, &["test", "promarchive", "--logs", "--timeout=2m"]);
    assert_eq!(checked.matches("√ ").count(), 2, "{checked}");

    // In the version whose image is here.
    let version = cluster.load_prometheus().unwrap();
    let example = fs::read_to_string(format!("{ROOT}/examples/quickstart.yaml")).unwrap();
    let with_version = example.replace("  replicas: 1\n", &format!("  replicas: 1\n  version: v{version}\n"));
    // The archive last: a change that comes before the reloader watches its file is loaded only when it looks again, after
    // three minutes.
    let (archives, others): (Vec<&str>, Vec<&str>) =
        with_version.split("\n---\n").partition(|object| object.contains("kind: MetricsArchive"));
    cluster.apply(&others.join("\n---\n")).unwrap();
    wait_for_reloader(&cluster);
    cluster.apply(&archives.join("\n---\n")).unwrap();
    let wait = ["wait", "--for=condition=Receiving", "--timeout=120s", "--namespace=quickstart", "metricsarchive/lab"];
    if let Err(error) = cluster.kubectl(wait) {
        let shown = ["get", "metricsarchives,prometheuses,pods,pvc,events", "--namespace=quickstart", "--output=wide"];
        panic!("{error}\n{}", cluster.kubectl(shown).unwrap());
    }
    let mine = || entries(&cluster).into_iter().filter(|name| name.starts_with("promarchive/")).count();
    assert_eq!((mine(), finalizers(&cluster)), (1, "[\"promarchive.dev/archive\"]".to_owned()));

    helm(&cluster, &["uninstall", "promarchive", "--timeout=4m"]);
    assert_eq!((mine(), finalizers(&cluster)), (0, String::new()));
    let left =
        ["get", "deployments,jobs,serviceaccounts,roles,rolebindings", "--namespace=promarchive", "--output=name"];
    assert_eq!(cluster.kubectl(left).unwrap().trim(), "serviceaccount/default");
    // Data and what keeps it stay.
    cluster.kubectl(["get", "--namespace=quickstart", "deployment/lab-receiver", "pvc/lab-archive"]).unwrap();
    assert_eq!(refused(&cluster), Vec::<String>::new());
}

/// The programs that `make` builds beside this test, in the image that the chart names.
fn image() -> Image {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_promarchive-cluster"));
    let mut image = Image::new(IMAGE).entrypoint(&["/promarchive"]).user("65532:65532");
    for name in ["promarchive", "promarchive-operator"] {
        let program = programs.with_file_name(name);
        image = image.file(&format!("/{name}"), 0o755, &program).unwrap().libraries_of(&program).unwrap();
    }
    image
}

fn helm(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = cluster.command("helm");
    let output = command.arg("--namespace=promarchive").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn wait_for_reloader(cluster: &Cluster) {
    let logs = ["logs", "--namespace=quickstart", "prometheus-main-0", "--container=config-reloader"];
    cluster
        .wait_for("the reloader of Prometheus", Duration::from_secs(120), || match cluster.kubectl(logs)? {
            log if log.contains("started watching") => Ok(()),
            log => Err(Error::Unusable(log)),
        })
        .unwrap();
}

/// Names of the entries in remoteWrite.
fn entries(cluster: &Cluster) -> Vec<String> {
    let names = "--output=jsonpath={.spec.remoteWrite[*].name}";
    let names = cluster.kubectl(["get", "prometheus", "main", "--namespace=quickstart", names]).unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

fn finalizers(cluster: &Cluster) -> String {
    let finalizers = "--output=jsonpath={.metadata.finalizers}";
    cluster.kubectl(["get", "metricsarchive", "lab", "--namespace=quickstart", finalizers]).unwrap()
}

/// Requests of our ServiceAccounts that their roles or the admission policies did not allow.
fn refused(cluster: &Cluster) -> Vec<String> {
    let log = fs::read_to_string(cluster.audit_log()).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = |event: &Value| {
        event["user"]["username"].as_str().is_some_and(|name| name.starts_with("system:serviceaccount:promarchive:"))
    };
    // What the admission policies must deny is asked for as a dry run.
    let meant = |event: &Value| event["requestURI"].as_str().is_none_or(|uri| !uri.contains("dryRun=All"));
    let denied = |event: &Value| matches!(event["responseStatus"]["code"].as_u64(), Some(401 | 403 | 422));
    events.filter(|event| ours(event) && meant(event) && denied(event)).map(|event| event.to_string()).collect()
}
