//! The Helm chart with Helm itself and a real API server, and the examples against the definitions that it installs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use promarchive_cluster::{Cluster, Options, Shape};
use serde_json::Value;

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

/// The operator's pod, the receivers, and the policy that lets receivers run no other image.
#[test]
fn images_are_named_by_digest_where_asked_for() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let rendered = |arguments: &[&str]| {
        let output = template(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let both = rendered(&["--set", &format!("image.repository=example.org/a,image.digest={}", digest("1"))]);
    let image = format!("example.org/a@{}", digest("1"));
    for line in [format!("image: \"{image}\""), format!("value: \"{image}\""), format!("expression: \"'{image}'\"")] {
        assert!(both.contains(&line), "{line}");
    }
    let receivers = format!("example.org/b@{}", digest("2"));
    let apart = rendered(&["--set", &format!("receiverImage={receivers}")]);
    for line in [format!("value: \"{receivers}\""), format!("expression: \"'{receivers}'\"")] {
        assert!(apart.contains(&line), "{line}");
    }
}

/// `config/own-image` or an overlay of somebody's own in another namespace: the policies are about the ServiceAccounts that are there,
/// and there is no Namespace, which would be somebody else's.
#[test]
fn another_namespace_takes_the_policies_along() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("another-namespace");
    let _ = fs::remove_dir_all(&directory);
    let copied = Command::new("cp").arg("-R").arg(format!("{ROOT}/config")).arg(&directory).status().unwrap();
    assert!(copied.success());
    let build = |part: &str| {
        let kubectl = helm().with_file_name("kubectl");
        let output = Command::new(kubectl).arg("kustomize").arg(directory.join(part)).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let users = |built: &str| {
        let names =
            built.split("system:serviceaccount:").skip(1).map(|rest| rest.split(':').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let owns_a_namespace = |built: &str| built.lines().any(|line| line == "kind: Namespace");
    assert!(owns_a_namespace(&build("own-image")) && owns_a_namespace(&build("default")));
    // Parts are deleted one by one; the namespace may hold claims of archives.
    assert!(["rbac", "policy", "operator", "remove"].into_iter().all(|part| !owns_a_namespace(&build(part))));
    let as_it_is = users(&build("own-image"));
    assert!(as_it_is.len() >= 8 && as_it_is.iter().all(|namespace| namespace == "promarchive"), "{as_it_is:?}");
    for (part, line, with) in [
        ("own-image", "# namespace: monitoring", "namespace: monitoring"),
        ("remove", "resources:", "namespace: monitoring\nresources:"),
    ] {
        let file = directory.join(part).join("kustomization.yaml");
        let changed = fs::read_to_string(&file).unwrap();
        assert!(changed.contains(line), "{changed}");
        fs::write(&file, changed.replacen(line, with, 1)).unwrap();
        let built = build(part);
        assert!(!built.contains("namespace: promarchive") && !built.contains("namespace=promarchive"), "{built}");
        assert!(!owns_a_namespace(&built), "{part}: to delete it deletes the namespace\n{built}");
        let users = users(&built);
        assert!(users.iter().all(|namespace| namespace == "monitoring"), "{users:?}");
        assert_eq!(users.len(), if part == "own-image" { as_it_is.len() } else { 0 });
    }
    // An overlay of somebody's own, and one over that: nothing but the namespace is another, and it is not among the objects.
    let overlays = [("mine", "monitoring", "default"), ("over-mine", "other", "mine")];
    for (part, namespace, base) in overlays {
        fs::create_dir(directory.join(part)).unwrap();
        let text = format!("namespace: {namespace}\nresources: [../{base}]\ntransformers: [../namespace]\n");
        fs::write(directory.join(part).join("kustomization.yaml"), text).unwrap();
        let built = build(part);
        assert_eq!(users(&built), vec![namespace; as_it_is.len()], "{part}");
        assert!(!owns_a_namespace(&built), "{part}: to delete it deletes the namespace\n{built}");
        assert_eq!(
            without_namespaces(&built, namespace),
            without_namespaces(&build("default"), "promarchive"),
            "{part}"
        );
    }
}

/// The manifests without the Namespace and the lines that name it. kustomize adds some to kinds that it does not know to have none.
fn without_namespaces(built: &str, namespace: &str) -> String {
    let line = format!("namespace: {namespace}");
    let objects = built.trim_end().split("\n---\n").filter(|object| !object.contains("kind: Namespace\n"));
    let objects = objects.collect::<Vec<_>>().join("\n---\n");
    let kept = objects.lines().filter(|one| one.trim() != line);
    let kept = kept.map(|one| one.replace(&format!("serviceaccount:{namespace}:"), "serviceaccount:it:"));
    kept.collect::<Vec<_>>().join("\n")
}

/// As `docs/how-to/install.md` says it: what is deleted by its label is all of the installation, but for the Namespace and the definition.
#[test]
fn the_label_of_the_uninstallation_is_on_everything_but_what_stays() {
    let kubectl = helm().with_file_name("kubectl");
    let output = Command::new(kubectl).arg("kustomize").arg(format!("{ROOT}/config/default")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = fs::read_to_string(format!("{ROOT}/docs/how-to/install.md")).unwrap();
    assert!(page.contains("--selector app.kubernetes.io/component=operator"), "{page}");
    let built = text(&output.stdout);
    // So far to the right are the labels of the object itself, and not those of its pods.
    let is_labelled = |object: &&str| object.lines().any(|line| line == "    app.kubernetes.io/component: operator");
    let (deleted, stays): (Vec<&str>, Vec<&str>) = built.split("\n---\n").partition(is_labelled);
    let kinds = |objects: Vec<&str>| {
        let kinds = objects.iter().filter_map(|object| object.lines().find_map(|line| line.strip_prefix("kind: ")));
        kinds.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kinds(stays), ["Namespace", "CustomResourceDefinition"]);
    let deleted = kinds(deleted);
    // The operator's rights go before the policies that limit them.
    let right = deleted.iter().rposition(|kind| kind == "ClusterRoleBinding");
    let policy = deleted.iter().position(|kind| kind.starts_with("ValidatingAdmissionPolicy"));
    assert!(right.is_some() && right < policy, "{deleted:?}");
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
        ("admissionPolicy.receiverPodAnnotations={example.com/team-}", "admissionPolicy/receiverPodAnnotations/0"),
        ("admissionPolicy.receiverPodAnnotations={a.com/b/c}", "admissionPolicy/receiverPodAnnotations/0"),
        ("admissionPolicy.receiverPodLabels={example.com/,example.com.}", "admissionPolicy/receiverPodLabels/1"),
        ("admissionPolicy.receiverPodLabels={/}", "admissionPolicy/receiverPodLabels/0"),
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
    // While the operator has its rights, it has the policies that hold it.
    let roles_gone = last_deletion(&cluster, "clusterrolebindings");
    let policies_gone = first_deletion(&cluster, "validatingadmissionpolicybindings");
    assert!(roles_gone < policies_gone, "{roles_gone} {policies_gone}");
    // And a new release takes the definition over.
    helm(&["install", "promarchive", &chart, "--namespace=promarchive"]);
}

/// Places in the audit log at which objects of this kind were deleted.
fn deletions(cluster: &Cluster, plural: &str) -> Vec<usize> {
    let log = fs::read_to_string(cluster.audit_log()).unwrap();
    let lines = log.lines().enumerate().filter_map(|(at, line)| Some((at, serde_json::from_str::<Value>(line).ok()?)));
    let deletions = lines.filter(|(_, event)| {
        let object = &event["objectRef"];
        let is_ours = object["name"].as_str().is_some_and(|name| name.starts_with("promarchive-operator"));
        event["verb"] == "delete" && object["resource"] == plural && is_ours
    });
    let at: Vec<usize> = deletions.map(|(at, _)| at).collect();
    assert!(!at.is_empty(), "no deletion of {plural}");
    at
}

fn first_deletion(cluster: &Cluster, plural: &str) -> usize {
    deletions(cluster, plural)[0]
}

fn last_deletion(cluster: &Cluster, plural: &str) -> usize {
    *deletions(cluster, plural).last().unwrap()
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
