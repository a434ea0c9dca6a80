//! The Helm chart with Helm itself and a real API server, and the examples against the definitions that it installs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use promarchive_cluster::{Cluster, Options, Shape};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Values with every switch at something else than its default.
const EVERYTHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart/everything.yaml");

fn helm() -> PathBuf {
    PathBuf::from(env::var_os("PROMARCHIVE_CLUSTER_TOOLS").expect("make sets it")).join("bin/helm")
}

fn chart() -> String {
    format!("{ROOT}/charts/promarchive")
}

fn template(arguments: &[&str]) -> Output {
    let mut command = Command::new(helm());
    command.args(["template", "lab", &chart(), "--namespace=archives"]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn generated_files_are_what_their_sources_say() {
    let mut command = Command::new(format!("{ROOT}/scripts/generate.sh"));
    // `make` builds the programs beside this one.
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_promarchive-cluster"));
    command.arg("--check").env("HELM", helm()).env("PROMARCHIVE_PROGRAMS", programs.parent().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn lint_has_no_complaint() {
    for values in [&[][..], &["--values", EVERYTHING]] {
        let mut command = Command::new(helm());
        let output = command.args(["lint", "--strict", &chart()]).args(values).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stdout));
    }
}

/// After a change: `UPDATE_GOLDEN=1 cargo test … --test chart`, and read the difference.
#[test]
fn every_switch_renders_as_it_did() {
    let output = template(&["--values", EVERYTHING]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart/everything.golden.yaml");
    let rendered = text(&output.stdout);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, &rendered).unwrap();
    }
    assert!(rendered == fs::read_to_string(golden).unwrap(), "not {golden}; it is:\n{rendered}");
}

#[test]
fn switches_take_away_what_they_name() {
    for (switch, gone) in [
        ("crds.enabled=false", "kind: CustomResourceDefinition"),
        ("crds.keep=false", "helm.sh/resource-policy: keep"),
        ("admissionPolicy.enabled=false", "kind: ValidatingAdmissionPolicy"),
        ("removal.enabled=false", "helm.sh/hook: pre-delete"),
        ("networkPolicy.enabled=false", "kind: NetworkPolicy"),
        ("rbac.create=false", "name: lab-promarchive-operator-lease"),
        ("rbac.aggregateToView=false", "aggregate-to-view"),
    ] {
        let with = text(&template(&[]).stdout);
        let without = template(&["--set", switch]);
        assert!(with.contains(gone) && without.status.success(), "{switch}");
        assert!(!text(&without.stdout).contains(gone), "{switch}");
    }
    assert!(!text(&template(&[]).stdout).contains("PodDisruptionBudget"), "a budget for one pod blocks every drain");
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (wrong, named) in [
        ("replica=2", "replica"),
        ("replicas=two", "replicas"),
        ("replicas=9", "replicas"),
        ("image.pullPolicy=Sometimes", "image/pullPolicy"),
        ("image.digest=0123", "image/digest"),
        ("image.repository=", "image/repository"),
        ("crds.enabled=maybe", "crds/enabled"),
        ("namespaces=team-a", "namespaces"),
        ("namespaces={Team_A}", "namespaces/0"),
        ("fsGroup=all", "fsGroup"),
        ("metrics.monitor.kind=Both", "metrics/monitor/kind"),
        ("metrics.port=80", "metrics/port"),
        ("removal.timeoutSeconds=1", "removal/timeoutSeconds"),
        ("fullnameOverride=Bad_Name", "fullnameOverride"),
        ("serviceAccount.annotations.a=1", "serviceAccount/annotations/a"),
    ] {
        let output = template(&["--set", wrong]);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(named), "{wrong}: {error}");
    }
}

#[test]
fn installs_and_leaves_the_archives() {
    let cluster = Cluster::start(&Options::new(Shape::ControlPlane)).unwrap();
    cluster.install_prometheus_kinds().unwrap();
    for namespace in ["team-a", "team-b", "lab"] {
        cluster.kubectl(["create", "namespace", namespace]).unwrap();
    }
    let helm = |arguments: &[&str]| {
        let mut command = cluster.command("helm");
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "helm {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let chart = chart();
    let notes = helm(&["install", "promarchive", &chart, "--namespace=promarchive", "--create-namespace"]);
    assert!(notes.contains("helm test promarchive --namespace promarchive"), "{notes}");
    // Beside it, for its namespaces alone; the definition has an owner already.
    helm(&["install", "second", &chart, "--namespace=second", "--create-namespace", "--values", EVERYTHING]);
    helm(&["upgrade", "promarchive", &chart, "--namespace=promarchive", "--set=replicas=2"]);
    check_roles(&cluster);
    check_examples(&cluster);

    // Without hooks: here is no node to run them.
    helm(&["uninstall", "promarchive", "--namespace=promarchive", "--no-hooks"]);
    let archive = ["get", "metricsarchives", "--namespace=quickstart", "--output=name"];
    assert_eq!(cluster.kubectl(archive).unwrap().trim(), "metricsarchive.promarchive.dev/lab");
    cluster.kubectl(["get", "deployment", "--namespace=promarchive", "promarchive-operator"]).unwrap_err();
    // And a new release takes the definition over.
    helm(&["install", "promarchive", &chart, "--namespace=promarchive"]);
}

/// Every chart that was ever on main (`tests/fixtures`, made by the test `operator`) is upgraded in place: Helm changes what it
/// can, takes away what is not there any more, and the archives do not notice.
#[test]
fn earlier_charts_are_upgraded_in_place() {
    let folders = fs::read_dir(format!("{ROOT}/tests/fixtures")).unwrap().map(|folder| folder.unwrap().path());
    let charts: Vec<PathBuf> =
        folders.map(|folder| folder.join("cluster/chart")).filter(|chart| chart.is_dir()).collect();
    assert!(!charts.is_empty());
    for earlier in charts {
        let cluster = Cluster::start(&Options::new(Shape::ControlPlane)).unwrap();
        cluster.install_prometheus_kinds().unwrap();
        let helm = |arguments: &[&str]| {
            let mut command = cluster.command("helm");
            let output = command.args(arguments).arg("--namespace=promarchive").stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "helm {arguments:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        helm(&["install", "promarchive", &earlier.display().to_string(), "--create-namespace"]);
        check_examples(&cluster);
        let archives = ["get", "metricsarchives", "--all-namespaces", "--output=yaml"];
        let before = cluster.kubectl(archives).unwrap();
        assert_eq!(before.matches("kind: MetricsArchive\n").count(), 4, "{before}");

        helm(&["upgrade", "promarchive", &chart()]);
        assert_eq!(cluster.kubectl(archives).unwrap(), before);
        check_examples(&cluster);
        let wanted = helm(&["get", "manifest", "promarchive"]);
        let left = objects_of_helm(&cluster).into_iter().filter(|name| !wanted.contains(&format!("name: {name}\n")));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "left behind by {}", earlier.display());
    }
}

/// Names of everything in the cluster that says that Helm manages it.
fn objects_of_helm(cluster: &Cluster) -> Vec<String> {
    let kinds = "deployments,services,serviceaccounts,configmaps,roles,rolebindings,clusterroles,clusterrolebindings,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions";
    let label = "--selector=app.kubernetes.io/managed-by=Helm";
    let names = "--output=jsonpath={range .items[*]}{.metadata.name}{'\\n'}{end}";
    let names = cluster.kubectl(["get", kinds, "--all-namespaces", label, names]).unwrap();
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

fn check_roles(cluster: &Cluster) {
    for role in ["view", "edit", "promarchive-edit"] {
        let user = format!("--user={role}");
        let clusterrole = format!("--clusterrole={role}");
        cluster.kubectl(["create", "rolebinding", role, "--namespace=lab", &clusterrole, &user]).unwrap();
    }
    for (user, verb, expected) in [
        ("view", "list", true),
        ("view", "create", false),
        ("edit", "list", true),
        ("edit", "create", false),
        ("promarchive-edit", "create", true),
    ] {
        let answer = cluster.kubectl(["auth", "can-i", verb, "metricsarchives", "--namespace=lab", "--as", user]);
        assert_eq!(answer.is_ok(), expected, "{user} {verb}: {answer:?}");
    }
}

fn check_examples(cluster: &Cluster) {
    for example in ["quickstart", "two-teams", "agent", "manual"] {
        let file = format!("--filename={ROOT}/examples/{example}.yaml");
        cluster.kubectl(["apply", "--validate=strict", &file]).unwrap();
    }
}
