//! What changes the whole cluster: one case after the other, while no other case runs.

use serde_json::{Value, json};

use crate::Case;
use crate::place::{Place, foreign, named};
use crate::process::Operator;
use crate::suite::{Suite, eventually};

pub(crate) const IN_ORDER: &[Case] = &[
    ("everywhere::remove_takes_everything_out", remove_takes_everything_out),
    ("everywhere::kinds_come_and_go", kinds_come_and_go),
    ("everywhere::our_own_kind_is_deleted", our_own_kind_is_deleted),
];

/// Entries of ours and finalizers of ours, in all namespaces.
fn left(suite: &Suite) -> Vec<String> {
    let mut left = Vec::new();
    for kind in ["prometheuses", "prometheusagents"] {
        for object in suite.api.list(kind, "", "") {
            let list = object["spec"]["remoteWrite"].as_array().cloned().unwrap_or_default();
            let ours =
                list.iter().filter_map(|entry| entry["name"].as_str()).filter(|name| name.starts_with("promarchive/"));
            left.extend(
                ours.map(|name| {
                    format!("{name} in {}/{}", object["metadata"]["namespace"], object["metadata"]["name"])
                }),
            );
        }
    }
    for archive in suite.api.list("metricsarchives", "", "") {
        if archive["metadata"]["finalizers"].to_string().contains("promarchive.dev") {
            left.push(format!("the finalizer of {}/{}", archive["metadata"]["namespace"], archive["metadata"]["name"]));
        }
    }
    left
}

fn remove_takes_everything_out(suite: &Suite) {
    let place = Place::new(suite, "everywhere");
    place.prometheus("main", Some(json!([foreign("a"), foreign("b")])));
    let agent = json!({"spec": {"scrapeInterval": "1s", "podMonitorSelector": {}}});
    suite.api.apply(place.object("PrometheusAgent", "monitoring.coreos.com/v1alpha1", "agent", agent)).unwrap();
    for archive in ["one", "two"] {
        let agent = json!({"id": "agent", "kind": "PrometheusAgent", "name": "agent", "drainTimeout": "5s"});
        place.archive(archive, json!([named("main"), agent]));
        place.entry("main", archive);
        place.condition(archive, "ReceiverAvailable", "True", "Available");
    }
    assert!(left(suite).len() >= 6, "{:?}", left(suite));
    suite.end_operator();
    let mut removal = Operator::remove(suite);
    let status = removal.wait(60);
    let log = removal.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(status.success(), "{last}");
    assert_eq!(left(suite), [] as [String; 0], "{last}");
    assert_eq!(place.list("main"), [foreign("a"), foreign("b")]);
    // The data stays where it is, and what was installed again goes on.
    assert!(suite.api.get("persistentvolumeclaims", "everywhere", "one-archive").is_some());
    suite.start_operator();
    place.entry("main", "one");
}

fn kinds_come_and_go(suite: &Suite) {
    let place = Place::new(suite, "everywhere-kinds");
    let agent = json!({"id": "agent", "kind": "PrometheusAgent", "name": "agent", "drainTimeout": "5s"});
    place.archive("lab", json!([named("main")]));
    place.archive("agents", json!([agent]));
    place.archive("idle", json!([]));
    place.prometheus("main", None);
    place.entry("main", "lab");
    let definition = |plural: &str| format!("{plural}.monitoring.coreos.com");
    for plural in ["prometheuses", "prometheusagents", "podmonitors"] {
        suite.api.delete("customresourcedefinitions", "", &definition(plural));
    }
    for archive in ["lab", "agents"] {
        place.condition(archive, "PrometheusConfigured", "False", "KindNotInstalled");
    }
    // Others go on, and one that comes gets its receiver.
    place.archive("later", json!([named("main")]));
    for archive in ["idle", "later"] {
        place.condition(archive, "ReceiverAvailable", "True", "Available");
    }
    place.condition("idle", "Ready", "True", "NoPrometheusSelected");
    suite.cluster.install_prometheus_kinds().unwrap();
    place.condition("agents", "PrometheusConfigured", "False", "PrometheusNotFound");
    place.prometheus("main", Some(json!([foreign("a")])));
    for archive in ["lab", "later"] {
        place.entry("main", archive);
    }
    for archive in ["lab", "later", "idle"] {
        eventually("its PodMonitor", 60, || {
            let monitor = suite.api.get("podmonitors", "everywhere-kinds", &format!("{archive}-receiver"));
            monitor.ok_or_else(|| format!("none of {archive}"))
        });
    }
}

fn our_own_kind_is_deleted(suite: &Suite) {
    let place = Place::new(suite, "everywhere-end");
    place.prometheus("main", Some(json!([foreign("a")])));
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    suite.api.delete("customresourcedefinitions", "", "metricsarchives.promarchive.dev");
    eventually("the definition gone", 150, || {
        match suite.api.get("customresourcedefinitions", "", "metricsarchives.promarchive.dev") {
            None => Ok(()),
            // It may go between the two requests.
            Some(_) => Err(match suite.api.try_list("metricsarchives", "", "") {
                Ok(archives) => archives.iter().map(|one| one["metadata"]["finalizers"].to_string()).collect(),
                Err(refused) => format!("{refused:?}"),
            }),
        }
    });
    assert_eq!((place.list("main"), place.secret_keys()), (vec![foreign("a")], vec![]));
    let entries = suite
        .api
        .list("prometheuses", "", "")
        .into_iter()
        .filter(|object| object["spec"].to_string().contains("\"promarchive/"));
    // Pasted by a person, and what only looks like ours.
    let theirs = ["patch-manual", "team"];
    let entries: Vec<Value> =
        entries.filter(|object| !theirs.iter().any(|name| object["metadata"]["namespace"] == *name)).collect();
    assert_eq!(entries, [] as [Value; 0]);
}
