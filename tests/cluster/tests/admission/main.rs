//! What the operator's ServiceAccount may do, with the roles and admission policies of config/: everything that it is for, and
//! nothing else, whoever has its token. Every case is a dry run on a real API server, from the same objects.

mod archives;
mod entries;
mod objects;
mod prometheuses;
mod receivers;
mod requests;

use std::time::Duration;

use promarchive_cluster::{Cluster, Error, Options, Shape};
use requests::{Requests, assert_answer};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_operator_is_held_to_what_it_is_for() {
    let cluster = Cluster::start(&Options::new(Shape::ControlPlane)).unwrap();
    cluster.install_prometheus_kinds().unwrap();
    for part in ["default", "remove"] {
        cluster.kubectl(["apply", "--server-side", "--kustomize", &format!("{ROOT}/config/{part}")]).unwrap();
    }
    cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
    for namespace in ["monitoring", "team"] {
        cluster.kubectl(["create", "namespace", namespace]).unwrap();
    }
    let uid = archives::create(&cluster);
    prometheuses::create(&cluster);
    entries::create(&cluster);
    objects::create(&cluster, &uid);
    let operator = Requests::new(&cluster, "promarchive-operator");
    wait_for_policies(&cluster, &operator);

    for kind in ["Prometheus", "PrometheusAgent"] {
        prometheuses::check(&operator, kind);
        entries::check(&operator, kind);
    }
    entries::check_consent(&operator);
    objects::check(&operator);
    objects::check_secrets(&operator);
    receivers::check(&operator);
    archives::check(&operator);
    allow_labels_and_annotations(&cluster, &operator);
    let everything = "--serviceaccount=promarchive:promarchive-operator";
    let removal = Requests::new(&cluster, "promarchive-removal");
    prometheuses::check_removal(&removal);
    archives::check_removal(&removal);
    cluster.kubectl(["create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", everything]).unwrap();
    prometheuses::check_with_all_rights(&operator);
    archives::check_with_all_rights(&operator);
    the_expressions_have_no_faults(&cluster);
}

/// A request that a policy denies, and the answer.
type Probe<'a> = &'a dyn Fn() -> Result<(), String>;

/// A policy is in force some time after it is written, each by itself.
fn wait_for_policies(cluster: &Cluster, operator: &Requests) {
    let denied: [(&str, Probe<'_>); 4] = [
        ("prometheuses", &|| prometheuses::denied(operator)),
        ("own-objects", &|| objects::denied(operator)),
        ("receivers", &|| receivers::denied(operator)),
        ("archives", &|| archives::denied(operator)),
    ];
    for (policy, denied) in denied {
        cluster
            .wait_for(policy, Duration::from_secs(60), || match denied() {
                Err(error) if error.contains(&format!("promarchive-operator-{policy}'")) => Ok(()),
                other => Err(Error::Unusable(format!("{policy}: {other:?}"))),
            })
            .unwrap();
    }
}

/// As with `admissionPolicy.receiverPodLabels` and `receiverPodAnnotations` in the values of the chart. As it was found: `example.com`
/// allowed `example.com.evil/x`.
fn allow_labels_and_annotations(cluster: &Cluster, operator: &Requests) {
    let policy = ["validatingadmissionpolicy", "promarchive-operator-receivers"];
    let found = cluster.kubectl(["get"].into_iter().chain(policy).chain(["--output=json"])).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let variables = found["spec"]["variables"].as_array().unwrap();
    let fields = [
        ("labels", "allowedLabels", "receiverPodLabels"),
        ("annotations", "allowedAnnotations", "receiverPodAnnotations"),
    ];
    for (_, variable, _) in fields {
        let at = variables.iter().position(|one| one["name"] == variable).unwrap();
        let list = r#"["example.com/", "example.org/contact", "example.net"]"#;
        let patch = json!([{"op": "replace", "path": format!("/spec/variables/{at}/expression"), "value": list}]);
        cluster.kubectl(["patch", "--type=json", "--patch", &patch.to_string()].into_iter().chain(policy)).unwrap();
    }
    for (field, _, value) in fields {
        let allowed = || receivers::marked(operator, field, "example.com/contact").map_err(Error::Unusable);
        cluster.wait_for("what is allowed", Duration::from_secs(60), allowed).unwrap();
        for (key, message) in [
            ("example.com/team", ""),
            ("example.org/contact", ""),
            ("example.net", ""),
            ("example.org/contact2", value),
            ("example.org/other", value),
            ("example.net/x", value),
            ("example.net.evil/x", value),
            ("example.com.evil/x", value),
            ("evil.example.com/x", value),
        ] {
            assert_answer(&format!("{field} {key}"), &receivers::marked(operator, field, key), message);
        }
    }
}

/// The API server looks for fields that no kind has, and for types that do not fit.
fn the_expressions_have_no_faults(cluster: &Cluster) {
    let policies = cluster.kubectl(["get", "validatingadmissionpolicies", "--output=json"]).unwrap();
    let policies: Value = serde_json::from_str(&policies).unwrap();
    assert_eq!(policies["items"].as_array().unwrap().len(), 4);
    for policy in policies["items"].as_array().unwrap() {
        assert_eq!(
            policy["status"]["typeChecking"]["expressionWarnings"],
            Value::Null,
            "{}",
            policy["metadata"]["name"]
        );
    }
}
