//! What people write into objects of their own, to have the operator do what they may not, tell what they may not know, or have no
//! time for others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Case;
use crate::consent::tokens;
use crate::place::{PATIENCE, Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    // The longest first: it waits for a round that comes once a minute.
    ("forged::keys_of_nobody_are_left_alone", keys_of_nobody_are_left_alone),
    ("forged::a_tokens_file_earns_nobody_a_token", a_tokens_file_earns_nobody_a_token),
    ("forged::a_pod_of_nobody_holds_up_nothing", a_pod_of_nobody_holds_up_nothing),
    ("forged::nobody_learns_who_does_not_consent", nobody_learns_who_does_not_consent),
];

/// As whoever may edit ConfigMaps and archives of one namespace, and nothing else.
struct Tenant<'a> {
    place: &'a Place<'a>,
    name: String,
}

impl<'a> Tenant<'a> {
    fn of(place: &'a Place<'a>) -> Self {
        let name = format!("tenant-{}", place.namespace);
        let verbs = ["get", "create", "update", "patch", "delete"];
        let rules = json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs},
            {"apiGroups": ["promarchive.dev"], "resources": ["metricsarchives"], "verbs": verbs},
        ]);
        let version = "rbac.authorization.k8s.io/v1";
        let api = &place.suite.api;
        api.apply(place.object("Role", version, "tenant", json!({"rules": rules}))).unwrap();
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        });
        api.apply(place.object("RoleBinding", version, "tenant", binding)).unwrap();
        Self { place, name }
    }

    fn apply(&self, object: &Value) {
        let (user, input) = (format!("--as={}", self.name), object.to_string());
        let arguments = ["apply", "--server-side", "--force-conflicts", &user, "--filename=-"];
        eventually("what a tenant may do", PATIENCE, || {
            self.place.suite.cluster.kubectl_with_input(&arguments, &input).map_err(|error| error.to_string())
        });
    }
}

/// A tokens file that names others, kube-system among them.
fn forged_tokens(place: &Place, victim: &str, metadata: &Value) -> Value {
    let hash = "ab".repeat(32);
    let many = (0..8_500).map(|n| format!("Prometheus/{victim}/p{n} {n:064x}\n"));
    let first = format!("Prometheus/kube-system/k8s {hash}\nPrometheusAgent/kube-system/agent {hash}\n");
    let body = json!({"metadata": metadata, "data": {"tokens": first + &many.collect::<String>()}});
    place.object("ConfigMap", "v1", "lab-receiver", body)
}

fn a_tokens_file_earns_nobody_a_token(suite: &Suite) {
    let (place, victim) = (Place::new(suite, "forged-tokens"), Place::new(suite, "forged-tokens-victim"));
    victim.prometheus("p1", None);
    let tenant = Tenant::of(&place);
    let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": "lab"});
    let nothing_is_made = || {
        for namespace in ["kube-system", &victim.namespace] {
            let secret = suite.api.get("secrets", namespace, "promarchive-remote-write");
            if let Some(secret) = secret {
                return Err(format!("{namespace}: {} keys", secret["data"].as_object().map_or(0, |data| data.len())));
            }
        }
        Ok(())
    };
    // Made beforehand.
    tenant.apply(&forged_tokens(&place, &victim.namespace, &json!({"labels": labels})));
    let spec = json!({"spec": {"storage": {"persistentVolume": {"size": "1Gi"}}, "prometheuses": []}});
    tenant.apply(&place.object("MetricsArchive", "promarchive.dev/v1alpha1", "lab", spec));
    place.condition("lab", "Stalled", "True", "NameTaken");
    always("no token for others", 1, nothing_is_made);

    // Written into the archive's own, which says whose it is.
    suite.api.delete("configmaps", &place.namespace, "lab-receiver");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let own = suite.api.get("configmaps", &place.namespace, "lab-receiver").unwrap();
    let owners = &own["metadata"]["ownerReferences"];
    tenant.apply(&forged_tokens(&place, &victim.namespace, &json!({"labels": labels, "ownerReferences": owners})));
    eventually("the file is short again", PATIENCE, || match tokens(&place, "lab").len() {
        few if few <= 1_001 => Ok(()),
        many => Err(format!("{many} lines")),
    });
    always("no token for others", 3, nothing_is_made);
    assert_eq!(suite.record.writes(&victim.namespace), [] as [String; 0]);
    // The operator has time for others.
    victim.archive("theirs", json!([named("p1")]));
    victim.entry("p1", "theirs");
}

/// Keys that look like an archive's, of one that never was and of one that is there, and that somebody else wrote.
fn keys_of_nobody_are_left_alone(suite: &Suite) {
    let place = Place::new(suite, "forged-keys");
    let strays = ["forged-keys.never.x.p.token", "forged-keys.lab.stray.p.token"];
    let body = json!({
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "promarchive-operator"}},
        "stringData": {strays[0]: "x", strays[1]: "x"},
    });
    suite.api.create(place.object("Secret", "v1", "promarchive-remote-write", body)).unwrap();
    // What an archive's own manager has left goes; so it is seen that the round was here.
    let left = json!({"data": {"forged-keys.gone.x.p.token": "eA=="}});
    let left = place.object("Secret", "v1", "promarchive-remote-write", left).to_string();
    let manager = "--field-manager=promarchive/forged-keys/gone";
    suite.cluster.kubectl_with_input(&["apply", "--server-side", manager, "--filename=-"], &left).unwrap();
    place.prometheus("main", None);
    place.archive("lab", json!([named("main")]));
    place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    eventually("what an archive left is gone", 150, || match place.secret_keys() {
        keys if keys.iter().any(|key| key.contains(".gone.")) => Err(format!("{keys:?}")),
        _ => Ok(()),
    });
    let writes = || {
        let all = suite.record.writes(&place.namespace);
        all.into_iter().filter(|write| write.contains("/secrets/")).collect::<Vec<_>>()
    };
    let before = writes();
    always("the Secret is not written", 9, || match writes() {
        now if now == before => Ok(()),
        now => Err(format!("{:?}", &now[before.len()..])),
    });
    assert!(before.len() < 6, "{before:?}");
    let keys = place.secret_keys();
    assert!(strays.iter().all(|stray| keys.iter().any(|key| key == stray)), "{keys:?}");
}

/// A pod that has the labels of a Prometheus' pods, and was made by whoever.
fn a_pod_of_nobody_holds_up_nothing(suite: &Suite) {
    let place = Place::new(suite, "forged-pod");
    place.prometheus("main", Some(json!([foreign("a")])));
    let labels = json!({"operator.prometheus.io/name": "main", "app.kubernetes.io/name": "prometheus"});
    let spec = json!({"containers": [{"name": "prometheus", "image": "x"}]});
    let pod = json!({"metadata": {"labels": labels}, "spec": spec});
    suite.api.create(place.object("Pod", "v1", "prometheus-main-0", pod)).unwrap();
    place.runs("prometheus-main-0");
    place.archive("lab", json!([named("main")]));
    let old = place.entry("main", "lab");
    place.condition("lab", "ReceiverAvailable", "True", "Available");
    let mut item = named("main");
    item["remoteWrite"] = json!({"exemplars": false});
    place.archive("lab", json!([item]));
    eventually("the new entry alone", PATIENCE, || match place.entries("main", "lab").as_slice() {
        [one] if *one != old => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// One archive asks for what is there and does not consent, the other one for what is not there.
fn nobody_learns_who_does_not_consent(suite: &Suite) {
    let home = Place::new(suite, "forged-told");
    let there = Place::new(suite, "told-aaaa");
    let found = there.prometheus("aaaa", Some(json!([foreign("a")])));
    // A namespace that is there has nothing to do with it, either.
    let items = |letters: &str| {
        let namespace = format!("told-{letters}");
        let named = json!({"id": "named", "name": letters, "namespaces": [namespace], "drainTimeout": "5s"});
        let all = json!({"id": "all", "selector": {}, "namespaces": [namespace], "drainTimeout": "5s"});
        [json!([named, all]), json!([all])]
    };
    for letters in ["aaaa", "bbbb"] {
        let [named, all] = items(letters);
        home.archive(&format!("n{letters}"), named);
        home.archive(&format!("s{letters}"), all);
    }
    for letters in ["aaaa", "bbbb"] {
        for kind in ["n", "s"] {
            home.condition(&format!("{kind}{letters}"), "ReceiverAvailable", "True", "Available");
        }
        home.condition(&format!("n{letters}"), "PrometheusConfigured", "False", "PrometheusNotFound");
        home.condition(&format!("s{letters}"), "Ready", "True", "NoPrometheusSelected");
    }
    for kind in ["n", "s"] {
        let (of, other) = (format!("{kind}aaaa"), format!("{kind}bbbb"));
        eventually("the same is said of both", PATIENCE, || match (told(&home, &of), told(&home, &other)) {
            (one, two) if one == two => Ok(()),
            (one, two) => Err(format!("{one}\n{two}")),
        });
    }
    let uid = found["metadata"]["uid"].as_str().unwrap();
    let said = ["naaaa", "saaaa"].map(|archive| home.status(archive).to_string()).concat();
    assert!(!said.contains(uid), "{said}");
    assert_eq!(suite.record.writes("told-aaaa"), [] as [String; 0]);
    // To whom it consents, it is told.
    there.consent(Some("forged-told/naaaa"));
    home.state("naaaa", "aaaa", "WaitingForSamples");
    let list = there.list("aaaa");
    assert_eq!(list.len(), 2, "{list:?}");
}

/// What is said of an archive, without times, and with one name instead of the other.
fn told(home: &Place, archive: &str) -> String {
    let mut status = home.status(archive);
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition.as_object_mut().unwrap().remove("lastTransitionTime");
    }
    let events = home.suite.api.list("events", &home.namespace, "");
    // Which step comes first is chance; that something is missing is said at the end.
    let events: BTreeSet<String> = events
        .iter()
        .filter(|event| event["regarding"]["name"] == archive)
        .filter(|event| event["note"].as_str().is_some_and(|note| note.starts_with("PrometheusConfigured")))
        .map(|event| format!("{} {}", event["reason"], event["note"]))
        .collect();
    format!("{status} {events:?}").replace("bbbb", "aaaa")
}
