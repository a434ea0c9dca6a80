//! Archives that want the samples of other namespaces, and people who try to get more than they may.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Case;
use crate::place::{PATIENCE, Place, foreign, named};
use crate::suite::{Suite, always, eventually};

pub(crate) const CASES: &[Case] = &[
    ("consent::comes_and_goes", comes_and_goes),
    ("consent::of_one_object", of_one_object),
    ("consent::only_what_is_named_counts", only_what_is_named_counts),
    ("hostile::a_queue_takes_no_more_than_the_owner_reckons_with", a_queue_is_bounded),
    ("hostile::rules_do_not_stop_anothers_prometheus", rules_do_not_stop_anothers_prometheus),
    ("hostile::names_give_nobody_anothers_token", names_give_nobody_anothers_token),
    ("hostile::a_token_that_two_have_is_nobodys", a_token_that_two_have_is_nobodys),
    ("hostile::somebodys_secret_stops_only_its_owner", somebodys_secret_stops_only_its_owner),
    ("hostile::a_forged_entry_earns_no_token", a_forged_entry_earns_no_token),
    ("hostile::objects_of_our_names_are_not_touched", objects_of_our_names_are_not_touched),
    ("hostile::a_service_of_our_name_gets_no_samples", a_service_of_our_name_gets_no_samples),
    ("hostile::a_forged_owner_gains_nothing", a_forged_owner_gains_nothing),
];

/// An archive in one namespace that asks for `main` of another.
fn pair<'a>(suite: &'a Suite, name: &str) -> (Place<'a>, Place<'a>) {
    let (home, theirs) = (Place::new(suite, name), Place::new(suite, &format!("{name}-theirs")));
    theirs.prometheus("main", Some(json!([foreign("a")])));
    let item = json!({"id": "main", "name": "main", "namespaces": [theirs.namespace], "drainTimeout": "5s"});
    home.archive("lab", json!([item]));
    (home, theirs)
}

/// Senders and hashes in the receiver's tokens file.
pub(crate) fn tokens(place: &Place, archive: &str) -> Vec<(String, String)> {
    let map = place.suite.api.get("configmaps", &place.namespace, &format!("{archive}-receiver")).unwrap_or_default();
    let lines = map["data"]["tokens"].as_str().unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
        })
        .collect()
}

pub(crate) fn senders(place: &Place, archive: &str) -> Vec<String> {
    tokens(place, archive).into_iter().map(|(sender, _)| sender).filter(|sender| sender != "operator").collect()
}

/// The value of a key in the Secret of a place.
fn secret(place: &Place, key: &str) -> Option<String> {
    let secret = place.suite.api.get("secrets", &place.namespace, "promarchive-remote-write")?;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(secret["data"].get(key)?.clone()).unwrap();
    Some(String::from_utf8(bytes.0).unwrap())
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until `main` has the entry of another namespace's archive `lab`.
#[track_caller]
pub(crate) fn configured(theirs: &Place) {
    eventually("the entry", PATIENCE, || match theirs.list("main") {
        list if list.len() == 2 && list[0] == foreign("a") => Ok(()),
        list => Err(format!("{list:?}")),
    });
}

/// What is said is what is said of one that is not there; nothing of the archive's is left with them.
#[track_caller]
fn not_configured(home: &Place, theirs: &Place) {
    let text = format!("Prometheus {}/main does not exist or does not consent", theirs.namespace);
    eventually("what is said of one that is not there", PATIENCE, || match home.status("lab") {
        status if status["prometheuses"].is_null() && status["summary"] == "0/0" => {
            let message = home.condition("lab", "PrometheusConfigured", "False", "PrometheusNotFound");
            if message.contains(&text) { Ok(()) } else { Err(message) }
        }
        status => Err(status.to_string()),
    });
    nothing_is_left(home, theirs);
}

#[track_caller]
pub(crate) fn nothing_is_left(home: &Place, theirs: &Place) {
    eventually("no entry", PATIENCE, || match theirs.list("main") {
        list if list == [foreign("a")] => Ok(()),
        list => Err(format!("{list:?}")),
    });
    let sender = format!("Prometheus/{}/main", theirs.namespace);
    eventually("no token is accepted, and none is kept", PATIENCE, || {
        match (senders(home, "lab"), theirs.secret_keys()) {
            (senders, keys) if !senders.contains(&sender) && keys.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn comes_and_goes(suite: &Suite) {
    let (home, theirs) = pair(suite, "consent");
    not_configured(&home, &theirs);
    home.condition("lab", "Ready", "False", "PrometheusNotFound");
    for annotation in ["consent/lab", "x/y, consent/*"] {
        theirs.consent(Some(annotation));
        configured(&theirs);
        let token = secret(&theirs, "consent.lab.main.p.token").unwrap();
        let sender = ("Prometheus/consent-theirs/main".to_owned(), hash(&token));
        assert!(tokens(&home, "lab").contains(&sender), "{:?}", tokens(&home, "lab"));
        // They get what they need to send, and no key of the authority.
        let keys = theirs.secret_keys();
        assert_eq!(keys, ["consent.lab.ca.crt", "consent.lab.main.p.token"]);
        theirs.consent(None);
        not_configured(&home, &theirs);
    }
}

fn of_one_object(suite: &Suite) {
    let (home, theirs) = pair(suite, "consent-one");
    theirs.prometheus("other", None);
    let items = ["main", "other"].map(|name| json!({"id": name, "name": name, "namespaces": ["consent-one-theirs"]}));
    home.archive("lab", json!(items));
    let annotate = |value: Value| {
        let patch = json!({"metadata": {"annotations": {"promarchive.dev/allow-archives": value}}});
        suite.api.merge("prometheuses", "consent-one-theirs", "main", patch).unwrap();
    };
    not_configured(&home, &theirs);
    annotate(json!("consent-one/lab"));
    configured(&theirs);
    eventually("nothing of the other one", PATIENCE, || match home.status("lab") {
        status if status["summary"] == "1/1" && status["prometheuses"].as_array().map_or(0, Vec::len) == 1 => Ok(()),
        status => Err(status.to_string()),
    });
    let message = home.condition("lab", "PrometheusConfigured", "False", "PrometheusNotFound");
    assert!(message.contains("consent-one-theirs/other does not exist or does not consent"), "{message}");
    assert_eq!(senders(&home, "lab"), ["Prometheus/consent-one-theirs/main"]);
    annotate(Value::Null);
    not_configured(&home, &theirs);
}

fn only_what_is_named_counts(suite: &Suite) {
    let (home, theirs) = pair(suite, "consent-not");
    for annotation in
        ["*", "*/*", "*/lab", "lab", "consent-not", "consent-not/la", "consent-not/lab2", "consent/lab", ""]
    {
        theirs.consent(Some(annotation));
        // Longer than a look takes.
        always(annotation, 1, || match theirs.list("main") {
            list if list == [foreign("a")] => Ok(()),
            list => Err(format!("{list:?}")),
        });
    }
    not_configured(&home, &theirs);
    // Another archive of the same namespace has no consent because one has.
    theirs.consent(Some("consent-not/other"));
    not_configured(&home, &theirs);
    let selector = json!({"id": "all", "selector": {}, "namespaces": ["consent-not-theirs"], "drainTimeout": "5s"});
    home.archive("lab", json!([selector]));
    home.condition("lab", "PrometheusConfigured", "Unknown", "NoPrometheusSelected");
    nothing_is_left(&home, &theirs);
}

/// An archive `lab` of `home` with these settings for `main` of `theirs` is told that, and nothing changes there.
#[track_caller]
fn refused(home: &Place, theirs: &Place, settings: Value, wants: &str) {
    let before = theirs.list("main");
    let item = json!({"id": "main", "name": "main", "namespaces": [theirs.namespace], "remoteWrite": settings});
    home.archive("lab", json!([item]));
    eventually(&format!("{settings} refused"), PATIENCE, || {
        let status = home.status("lab");
        let mut all = status["prometheuses"].as_array().into_iter().flatten();
        let is_told = |one: &Value| {
            one["state"] == "PatchDenied" && one["message"].as_str().is_some_and(|message| message.contains(wants))
        };
        if all.any(is_told) { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(theirs.list("main"), before, "{settings}");
}

/// The memory is that of the Prometheus, so its owner reckons with what Prometheus takes by itself.
fn a_queue_is_bounded(suite: &Suite) {
    let (home, theirs) = pair(suite, "hostile-queue");
    theirs.consent(Some("hostile-queue/lab"));
    configured(&theirs);
    for (queue, wants) in [
        (json!({"capacity": 20_000}), "are 1100000 samples. A Prometheus in another namespace may have at most 600000"),
        (json!({"capacity": 1, "maxShards": 51}), "remoteWrite.queue.maxShards: 51 is greater than 50"),
        (json!({"batchSendDeadline": "100ms"}), "remoteWrite.queue.batchSendDeadline: \"100ms\" must be from 1000ms"),
    ] {
        refused(&home, &theirs, json!({"queue": queue}), wants);
    }
    home.condition("lab", "PrometheusConfigured", "False", "NotConfigured");
    // In its own namespace it may; and within the limits it may there, too.
    home.prometheus("own", None);
    let settings = |capacity: i32| json!({"queue": {"capacity": capacity, "maxShards": 25}});
    home.archive(
        "lab",
        json!([
            {"id": "own", "name": "own", "remoteWrite": settings(30_000)},
            {"id": "main", "name": "main", "namespaces": [theirs.namespace], "remoteWrite": settings(22_000)},
        ]),
    );
    assert_eq!(home.entry("own", "lab")["queueConfig"]["capacity"], 30_000);
    eventually("the other entry", PATIENCE, || match theirs.list("main").as_slice() {
        [_, one] if one["queueConfig"]["capacity"] == 22_000 => Ok(()),
        list => Err(format!("{list:?}")),
    });
}

fn rules_do_not_stop_anothers_prometheus(suite: &Suite) {
    let (home, theirs) = pair(suite, "hostile-rules");
    theirs.consent(Some("hostile-rules/lab"));
    configured(&theirs);
    for (rule, wants) in [
        (json!({"action": "drop", "regex": ".**"}), "writeRelabelConfigs[0].regex: at character 3: two repetition"),
        (json!({"action": "drop", "regex": "(?P<a.b>up)"}), "invalid group name \"a.b\""),
        (json!({"action": "drop", "regex": "\\p{Alphabetic}+"}), "not \"Alphabetic\""),
        (
            json!({"action": "labelmap", "replacement": ""}),
            "writeRelabelConfigs[0].replacement: \"\" does not result in valid label names",
        ),
        (json!({"action": "drop", "sourceLabels": ["service.name"]}), "\"service.name\" is not a valid label name"),
        (json!({"targetLabel": "a", "replacement": "$(NOT_THERE)"}), "environment variable"),
    ] {
        refused(&home, &theirs, json!({"writeRelabelConfigs": [rule]}), wants);
    }
    // One that an earlier version wrote goes, for with it the Prometheus loads nothing at all. What only may be refused stays.
    let mut list = theirs.list("main");
    let written = |hash: &str, regex: &str| {
        let name = format!("promarchive/hostile-rules/lab/{hash}");
        json!({
            "name": name, "url": "https://lab-receiver.hostile-rules.svc:9201/api/v1/write",
            "headers": {"X-Promarchive-Entry": name},
            "writeRelabelConfigs": [{"action": "drop", "sourceLabels": ["job"], "regex": regex}],
        })
    };
    list.extend([written("0123abcd", ".**"), written("4567abcd", "\\p{Greek}")]);
    theirs.set_list("main", json!(list));
    list.remove(2);
    eventually("the entry that breaks is out", PATIENCE, || match theirs.list("main") {
        found if found == list => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

/// Keys of a Secret are joined with dots, and names of Prometheus objects may have dots in them.
fn names_give_nobody_anothers_token(suite: &Suite) {
    let place = Place::new(suite, "hostile-names");
    let names = ["operator", "a", "a.b", "a.p", "a.p.token", "tls", "ca.crt", "lab.a", "previous"];
    names.iter().for_each(|name| drop(place.prometheus(name, None)));
    let long = "x".repeat(240);
    place.prometheus(&long, None);
    let all = json!([{"id": "all", "selector": {}, "drainTimeout": "5s"}]);
    place.archive("lab", all.clone());
    place.archive("lab-a", all);
    for archive in ["lab", "lab-a"] {
        names.iter().for_each(|name| drop(place.entry(name, archive)));
        let entries: Vec<Value> = names.iter().chain([&long.as_str()]).map(|name| place.entry(name, archive)).collect();
        let keys: Vec<&str> =
            entries.iter().map(|entry| entry["authorization"]["credentials"]["key"].as_str().unwrap()).collect();
        let mut hashes: Vec<String> = keys.iter().map(|key| hash(&secret(&place, key).unwrap())).collect();
        let listed = tokens(&place, archive);
        assert_eq!(listed.len(), hashes.len() + 1, "{listed:?}");
        assert!(hashes.iter().all(|hash| listed.iter().any(|(sender, one)| one == hash && sender != "operator")));
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), keys.len(), "two have one token");
    }
}

/// Two tenants write the same token into their Secrets; with luck it is a third one's.
fn a_token_that_two_have_is_nobodys(suite: &Suite) {
    let home = Place::new(suite, "hostile-token");
    home.prometheus("main", None);
    let theirs = ["hostile-token-one", "hostile-token-two"].map(|namespace| Place::new(suite, namespace));
    for place in &theirs {
        place.consent(Some("hostile-token/lab"));
        place.prometheus("main", Some(json!([foreign("a")])));
    }
    let namespaces = ["hostile-token", "hostile-token-one", "hostile-token-two"];
    home.archive("lab", json!([{"id": "all", "name": "main", "namespaces": namespaces, "drainTimeout": "5s"}]));
    theirs.iter().for_each(configured);
    for place in &theirs {
        // One is for a Prometheus that is not there.
        let tokens = json!({
            "hostile-token.lab.main.p.token": "ab".repeat(32), "hostile-token.lab.x.p.token": "cd".repeat(32),
        });
        let patch = json!({"stringData": tokens});
        suite.api.merge("secrets", &place.namespace, "promarchive-remote-write", patch).unwrap();
    }
    eventually("nobody has it", PATIENCE, || match senders(&home, "lab") {
        senders if senders == ["Prometheus/hostile-token/main"] => Ok(()),
        senders => Err(format!("{senders:?}")),
    });
    let listed = tokens(&home, "lab");
    let is_theirs = |one: &str| one == hash(&"ab".repeat(32)) || one == hash(&"cd".repeat(32));
    assert!(!listed.iter().any(|(_, one)| is_theirs(one)), "{listed:?}");
}

/// A Secret of our name that is not ours: nobody else is held up by it, and no entry comes whose token is not there.
fn somebodys_secret_stops_only_its_owner(suite: &Suite) {
    let (home, theirs) = pair(suite, "hostile-secret");
    home.prometheus("main", None);
    let body = json!({"immutable": true, "stringData": {"theirs": "x"}});
    suite.api.create(theirs.object("Secret", "v1", "promarchive-remote-write", body)).unwrap();
    let namespaces = ["hostile-secret", "hostile-secret-theirs"];
    home.archive("lab", json!([{"id": "all", "name": "main", "namespaces": namespaces, "drainTimeout": "5s"}]));
    theirs.consent(Some("hostile-secret/lab"));
    home.entry("main", "lab");
    // The Prometheus Operator stops its work on an object whose entry names a key that is not there.
    always("no entry without its token", 5, || match theirs.list("main") {
        list if list == [foreign("a")] => Ok(()),
        list => Err(format!("{list:?} {:?}; {}", theirs.secret_keys(), home.status("lab"))),
    });
    home.condition("lab", "ReceiverAvailable", "True", "Available");
    assert_eq!(theirs.secret_keys(), ["theirs"]);
    // Somebody mends it.
    suite.api.delete("secrets", "hostile-secret-theirs", "promarchive-remote-write");
    configured(&theirs);
}

/// An entry that looks like the archive's, in a Prometheus that nobody chose.
fn a_forged_entry_earns_no_token(suite: &Suite) {
    let (home, theirs) = pair(suite, "hostile-forged");
    home.archive("lab", json!([]));
    home.condition("lab", "ReceiverAvailable", "True", "Available");
    let forged = json!({
        "name": "promarchive/hostile-forged/lab/0123abcd", "url": "https://lab-receiver.hostile-forged.svc:9201/api/v1/write",
        "authorization": {"credentials": {"name": "promarchive-remote-write", "key": "hostile-forged.lab.main.p.token"}},
    });
    let no_token = || match (senders(&home, "lab"), theirs.secret_keys()) {
        (senders, keys) if senders.is_empty() && keys.is_empty() => Ok(()),
        given => Err(format!("{given:?}")),
    };
    theirs.set_list("main", json!([foreign("a"), forged]));
    always("no token", 4, no_token);
    // Whoever lets the archive have its samples has not been chosen by it.
    theirs.consent(Some("hostile-forged/lab"));
    theirs.set_list("main", json!([foreign("a"), forged]));
    always("no token for who consents", 4, no_token);
}

fn objects_of_our_names_are_not_touched(suite: &Suite) {
    let place = Place::new(suite, "hostile-taken");
    let labels = json!({"app": "x"});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    // With and without the labels of an object of ours.
    let ours = json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": "other"});
    let taken = [
        (
            "deployments",
            "Deployment",
            "apps/v1",
            "d-receiver",
            json!({"spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}}),
        ),
        ("services", "Service", "v1", "s-receiver", json!({"spec": {"ports": [{"port": 1}]}})),
        ("configmaps", "ConfigMap", "v1", "c-receiver", json!({"data": {"a": "b"}})),
        ("serviceaccounts", "ServiceAccount", "v1", "a-receiver", json!({})),
        (
            "networkpolicies",
            "NetworkPolicy",
            "networking.k8s.io/v1",
            "n-receiver",
            json!({"spec": {"podSelector": {}}}),
        ),
        (
            "podmonitors",
            "PodMonitor",
            "monitoring.coreos.com/v1",
            "p-receiver",
            json!({"spec": {"selector": {}, "podMetricsEndpoints": []}}),
        ),
        (
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            "v1",
            "v-archive",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
        ),
    ];
    for labels in [json!({}), ours] {
        let mut made = Vec::new();
        for (plural, kind, version, name, body) in &taken {
            let mut body = body.clone();
            body["metadata"] = json!({"labels": labels});
            let object = suite.api.create(place.object(kind, version, name, body)).unwrap();
            made.push((plural, name, object["metadata"]["uid"].clone(), object["spec"].clone()));
        }
        for (plural, name, ..) in &made {
            let archive = &name[..1];
            place.archive(archive, json!([]));
            place.condition(archive, "ReceiverAvailable", "False", "NameTaken");
            let message = place.condition(archive, "Stalled", "True", "NameTaken");
            assert!(message.contains(*name), "{plural}: {message}");
        }
        for (plural, name, uid, spec) in &made {
            let found = suite.api.get(plural, "hostile-taken", name).unwrap();
            assert_eq!(found["metadata"]["uid"], *uid);
            // What it was made with; a claim that is bound has the volume's name beside it.
            let mut fields = spec.as_object().into_iter().flatten();
            assert!(fields.all(|(key, value)| found["spec"][key] == *value), "{plural}: {found}");
            // The end of the archive is nothing to it.
            place.suite.api.delete("metricsarchives", "hostile-taken", &name[..1]);
        }
        for (plural, name, uid, _) in &made {
            place.gone("metricsarchives", &name[..1], 120);
            assert_eq!(suite.api.get(plural, "hostile-taken", name).unwrap()["metadata"]["uid"], *uid);
            suite.api.delete(plural, "hostile-taken", name);
            place.gone(plural, name, 60);
        }
    }
}

/// Somebody makes the Service first, with our labels, to have the samples of others sent to a pod of their own.
fn a_service_of_our_name_gets_no_samples(suite: &Suite) {
    let place = Place::new(suite, "hostile-service");
    place.prometheus("main", Some(json!([foreign("a")])));
    let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": "lab"});
    let body =
        json!({"metadata": {"labels": labels}, "spec": {"ports": [{"port": 9201}], "selector": {"app": "theirs"}}});
    suite.api.create(place.object("Service", "v1", "lab-receiver", body)).unwrap();
    place.archive_with("lab", json!({"prometheuses": [named("main")], "receiver": {"tls": "Disabled"}}));
    place.condition("lab", "Stalled", "True", "NameTaken");
    always("no entry", 8, || match place.list("main") {
        list if list == [foreign("a")] => Ok(()),
        list => Err(format!("{list:?}")),
    });
    // When it is out of the way, all is well.
    suite.api.delete("services", "hostile-service", "lab-receiver");
    place.entry("main", "lab");
}

/// Objects that say they are ours, with the archive's uid. One with a name of ours becomes ours, and nothing of theirs is left in it;
/// the others are left alone.
fn a_forged_owner_gains_nothing(suite: &Suite) {
    let place = Place::new(suite, "hostile-owner");
    suite.kubelet.down("hostile-owner");
    let archive = place.archive("lab", json!([]));
    place.condition("lab", "ReceiverAvailable", "False", "PodNotReady");
    let owner = json!([{"apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive", "name": "lab", "uid": archive["metadata"]["uid"], "controller": true}]);
    let labels = json!({"app.kubernetes.io/managed-by": "promarchive-operator", "app.kubernetes.io/instance": "lab"});
    let metadata = json!({"labels": labels, "ownerReferences": owner});
    suite.api.create(place.object("ConfigMap", "v1", "theirs", json!({"metadata": metadata}))).unwrap();
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    suite
        .api
        .create(place.object("PersistentVolumeClaim", "v1", "theirs", json!({"metadata": metadata, "spec": spec})))
        .unwrap();
    // A second Prometheus sends to a Service, and this one's selector would have its pods answer.
    suite
        .api
        .merge("services", "hostile-owner", "lab-receiver", json!({"spec": {"selector": {"app": "theirs"}}}))
        .unwrap();
    eventually("the selector is ours alone", 60, || {
        let selector =
            suite.api.get("services", "hostile-owner", "lab-receiver").unwrap_or_default()["spec"]["selector"].clone();
        match selector.get("app") {
            None => Ok(()),
            Some(_) => Err(selector.to_string()),
        }
    });
    for kind in ["configmaps", "persistentvolumeclaims"] {
        assert!(suite.api.get(kind, "hostile-owner", "theirs").is_some(), "{kind}");
    }
}
