//! An operator that dies between two steps, and one that takes over.
//!
//! Each case has operators of its own, for its namespace alone, with their Lease in it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Case;
use crate::place::{PATIENCE, Place, foreign, named};
use crate::process::Operator;
use crate::suite::{ROOT, Suite, always, eventually};

/// Not beside the operator that the others share, which works everywhere.
pub(crate) const ALONE: &[Case] = &[
    ("failpoints::death_at_the_end", |suite| deaths(suite, AT_THE_END)),
    ("failpoints::death_at_the_beginning", |suite| deaths(suite, AT_THE_BEGINNING)),
    ("failpoints::all_of_them_are_here", |_| all_of_them_are_here()),
    ("supervision::a_task_that_dies_ends_the_operator", a_task_that_dies_ends_the_operator),
    ("leaders::the_second_takes_over", the_second_takes_over),
];

const AT_THE_BEGINNING: &[&str] =
    &["after-hold", "after-secrets", "after-apply", "before-patch", "after-patch", "before-status"];
const AT_THE_END: &[&str] = &["before-removal", "after-removal", "before-last-flush", "before-release"];

/// The list here is that of the operator.
fn all_of_them_are_here() {
    assert_eq!(names_in("process/failpoint.rs"), [AT_THE_BEGINNING, AT_THE_END].concat());
}

/// The names in a list of the operator's source.
fn names_in(file: &str) -> Vec<String> {
    let source = fs::read_to_string(format!("{ROOT}/crates/operator/src/{file}")).unwrap();
    let name = |line: &str| {
        let (variant, name) = line.trim().strip_suffix("\",")?.split_once(" => \"")?;
        variant.starts_with(char::is_uppercase).then(|| name.to_owned())
    };
    source.lines().filter_map(name).collect()
}

/// No task can be started that is not in the list (a lint sees to that), and each one has its case here by being in it.
fn a_task_that_dies_ends_the_operator(suite: &Suite) {
    let tasks = names_in("process/supervisor.rs");
    assert!(tasks.len() >= 7, "{tasks:?}");
    std::thread::scope(|scope| {
        for task in &tasks {
            scope.spawn(move || {
                let place = place(suite, &format!("doomed-{task}"));
                let mut operator = operator(&place, "doomed", Some(&format!("task-{task}")));
                let status = operator.wait(PATIENCE);
                let log = operator.log();
                assert_eq!(status.code(), Some(1), "{task}: {log}");
                let error = format!("ERROR promarchive_operator: the task {task} panicked");
                assert!(log.lines().any(|line| line.contains(&error)), "{task}: {log}");
            });
        }
    });
}

/// A place where an operator of its own may have a Lease.
fn place<'a>(suite: &'a Suite, namespace: &str) -> Place<'a> {
    let place = Place::new(suite, namespace);
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]});
    suite.api.apply(place.object("Role", "rbac.authorization.k8s.io/v1", "lease", json!({"rules": [rule]}))).unwrap();
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"},
        "subjects": [{"kind": "ServiceAccount", "name": "promarchive-operator", "namespace": "promarchive"}],
    });
    suite.api.apply(place.object("RoleBinding", "rbac.authorization.k8s.io/v1", "lease", binding)).unwrap();
    // The API server learns of it a little later.
    let operator = "--as=system:serviceaccount:promarchive:promarchive-operator";
    let question = ["auth", "can-i", "create", "leases", "--namespace", namespace, operator];
    eventually("the right to have a Lease", PATIENCE, || match suite.cluster.kubectl(question) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    place
}

fn operator(place: &Place, name: &str, failpoint: Option<&str>) -> Operator {
    let namespace = &place.namespace;
    let arguments = [format!("--namespaces={namespace}"), format!("--lease-namespace={namespace}")];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Operator::run(place.suite, &format!("{namespace}-{name}"), &arguments, failpoint)
}

/// Dies at each of these, in places of their own side by side; none of it shows at the end.
fn deaths(suite: &Suite, points: &[&'static str]) {
    let undisturbed = |point: &&str| AT_THE_END.contains(point);
    let at_the_end = points.iter().all(undisturbed);
    std::thread::scope(|scope| {
        let threads: Vec<_> = points
            .iter()
            .map(|point| Some(*point))
            .chain([None])
            .map(|point| (point, scope.spawn(move || life(suite, point, at_the_end))))
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|(point, thread)| (point, thread.join())).collect();
        let Some((None, Ok(expected))) = ends.last() else { panic!("the undisturbed one failed") };
        for (point, end) in &ends {
            let end = end.as_ref().unwrap_or_else(|_| panic!("{point:?} failed"));
            assert_eq!(end, expected, "{point:?}");
        }
    });
}

/// What is there at the end of a life, or of its beginning, with one death in it.
fn life(suite: &Suite, point: Option<&str>, at_the_end: bool) -> Value {
    let half = if at_the_end { "end" } else { "start" };
    let place = place(suite, &format!("fail-{half}-{}", point.unwrap_or("never")));
    place.prometheus("main", Some(json!([foreign("a"), foreign("b")])));
    let mut first = operator(&place, "first", point);
    place.archive("lab", json!([named("main")]));
    if at_the_end {
        place.entry("main", "lab");
        place.condition("lab", "ReceiverAvailable", "True", "Available");
        suite.api.delete("metricsarchives", &place.namespace, "lab");
    }
    let mut second = None;
    if let Some(point) = point {
        // One that does not end was built without the feature `failpoints`.
        let status = first.wait(PATIENCE);
        assert!(!status.success() && first.log().contains(&format!("fail point {point}")), "{status}: {}", first.log());
        suite.api.delete("leases", &place.namespace, "promarchive-operator");
        second = Some(operator(&place, "second", None));
    }
    if at_the_end {
        place.gone("metricsarchives", "lab", 120);
        eventually("the Deployment gone", PATIENCE, || {
            match suite.api.get("deployments", &place.namespace, "lab-receiver") {
                None => Ok(()),
                Some(_) => Err("there".to_owned()),
            }
        });
    } else {
        place.entry("main", "lab");
        place.condition("lab", "Ready", "False", "WaitingForSamples");
        place.condition("lab", "PrometheusConfigured", "True", "Configured");
    }
    drop((first, second));
    state(&place)
}

/// What an operator leaves in a namespace, but for what is random or names the namespace.
fn state(place: &Place) -> Value {
    let api = &place.suite.api;
    let labels = "app.kubernetes.io/managed-by=promarchive-operator";
    let kinds = [
        "deployments",
        "services",
        "configmaps",
        "serviceaccounts",
        "networkpolicies",
        "podmonitors",
        "persistentvolumeclaims",
        "secrets",
    ];
    let objects: Vec<Value> = kinds
        .iter()
        .flat_map(|kind| api.list(kind, &place.namespace, labels))
        .filter(|object| object["metadata"]["deletionTimestamp"].is_null())
        .map(|object| {
            let data: Vec<&String> = object["data"].as_object().into_iter().flatten().map(|(key, _)| key).collect();
            json!([object["metadata"]["name"], object["metadata"]["labels"], data])
        })
        .collect();
    let status = place.status("lab");
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let conditions: Vec<Value> = conditions.map(|one| json!([one["type"], one["status"], one["reason"]])).collect();
    let finalizers =
        api.get("metricsarchives", &place.namespace, "lab").map(|archive| archive["metadata"]["finalizers"].clone());
    let list: Vec<Value> = place
        .list("main")
        .into_iter()
        .map(|mut entry| {
            // The hash in the name is that of what is left.
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            if let Some((name, _)) = name.rsplit_once('/') {
                entry["name"] = json!(name);
                entry["headers"] = json!(null);
            }
            entry
        })
        .collect();
    let state = json!({"objects": objects, "conditions": conditions, "finalizers": finalizers, "list": list});
    serde_json::from_str(&state.to_string().replace(&place.namespace, "NAMESPACE")).unwrap()
}

/// Its Lease lasts 15 s, and with grace 20 s.
const QUIET: Duration = Duration::from_secs(5);
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(30);

/// A look at it every 2 s, and some for a busy machine; waiting for its end takes longer most of the time.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(6);

fn the_second_takes_over(suite: &Suite) {
    let place = place(suite, "leaders");
    place.prometheus("main", Some(json!([foreign("a")])));
    let mut first = operator(&place, "first", None);
    place.archive("one", json!([named("main")]));
    place.entry("main", "one");
    let mut second = operator(&place, "second", None);
    let works = |operator: &Operator| operator.log().contains("acquired the Lease");
    eventually("the second waits", PATIENCE, || match second.log().contains("waiting for the Lease") {
        true => Ok(()),
        false => Err(second.log()),
    });
    always("one works", 5, || if works(&second) { Err(second.log()) } else { Ok(()) });
    first.kill();
    let killed = Instant::now();
    let before = suite.record.writes("leaders").len();
    place.archive("two", json!([named("main")]));
    place.entry("main", "two");
    assert!(killed.elapsed() < TAKES_OVER_WITHIN, "{:?}", killed.elapsed());
    // Nothing was done twice, and what the first one did is left as it is.
    assert!(!second.log().contains("differs from the desired state archive=leaders/one"), "{}", second.log());
    assert_eq!(place.list("main").len(), 3);
    // All that it found it has by a list, and none of that is written again.
    place.condition("two", "PrometheusConfigured", "True", "Configured");
    place.condition("two", "ReceiverAvailable", "True", "Available");
    let news = || suite.record.writes("leaders").get(before..).unwrap_or_default().to_vec();
    eventually("nothing is written for a while", PATIENCE, || {
        let written = news();
        std::thread::sleep(QUIET);
        let more = news();
        if more.len() == written.len() { Ok(()) } else { Err(format!("{more:#?}")) }
    });
    let is_made_anew =
        |write: &String| write.contains("/one") && !write.contains("/status") && !write.contains("/events/");
    let of_the_first: Vec<_> = news().into_iter().filter(is_made_anew).collect();
    assert!(of_the_first.is_empty(), "{of_the_first:#?}");
    let third = operator(&place, "third", None);
    always("one works", 3, || if works(&third) { Err(third.log()) } else { Ok(()) });
    // One that stops in order gives its Lease back, and nobody waits for its end.
    second.terminate();
    let stopped = Instant::now();
    eventually("the third works", PATIENCE, || if works(&third) { Ok(()) } else { Err(third.log()) });
    assert!(stopped.elapsed() < GIVEN_BACK_WITHIN, "{:?}", stopped.elapsed());
}
