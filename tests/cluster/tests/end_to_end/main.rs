//! From `helm install` to `helm uninstall` on a real node, with real Prometheus pods: what they scraped is in the tables, sample
//! by sample, whatever happens in between.

mod examples;
mod install;
mod page;
mod reader_image;
mod reading;
mod site;

use std::thread;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use promarchive_cluster::Part;
use serde_json::json;

use crate::install::{Installed, RELEASE, TAGS};
use crate::reading::Reading;
use crate::site::{PATIENCE, Site, Window, not_yet, now};

/// Somebody else's entry, which nobody may touch.
const FOREIGN: &str = r#"{"name":"theirs","url":"http://localhost:1/"}"#;

/// What every change must pass.
#[test]
fn an_archive_loses_nothing_from_apply_to_delete() {
    let clock = Clock(Instant::now());
    let installed = Installed::start();
    clock.says("the chart is installed");
    let site = Site::create(&installed.0, "short", 2);
    let reading = Reading::create(&installed.0);
    thread::scope(|scope| {
        scope.spawn(|| reading.is_as_the_page_says(&clock));
        samples_arrive(&clock, &site);
        let from = now();
        another_container_of_the_pod_ends_again_and_again(&clock, &site);
        reading.nobody_reads_a_claim_of_one_pod(&site);
        a_deleted_archive_drains(&clock, &site, from);
        reading.somebody_reads_what_the_receiver_left(&site);
    });
    clock.says("all is over");
}

/// One story, because everything in it is slow: each part leaves the cluster as the next one needs it.
#[test]
#[ignore = "takes 25 minutes: make test-all"]
fn archives_lose_nothing_from_the_first_install_to_the_last_uninstall() {
    let clock = Clock(Instant::now());
    let installed = Installed::start();
    let cluster = &installed.0;
    clock.says("the chart is installed");
    installed.helm(&["test", RELEASE, "--timeout=60s"]);
    clock.says("helm test");

    let [changed, rotated, certified, drained] = [("changed", 1), ("rotated", 1), ("certified", 1), ("drained", 2)]
        .map(|(name, replicas)| Site::create(cluster, name, replicas));
    for site in [&changed, &rotated, &certified, &drained] {
        samples_arrive(&clock, site);
    }
    columns_and_explanations(&changed);
    selectors_match(&changed);
    let from = now();
    add_foreign_entry(&rotated);

    thread::scope(|scope| {
        scope.spawn(|| a_change_is_made_before_the_break(&clock, &changed, from));
        scope.spawn(|| tokens_are_rotated(&clock, &rotated, from));
        scope.spawn(|| certificates_are_rotated(&clock, &certified, from));
        scope.spawn(|| a_deleted_archive_drains(&clock, &drained, from));
        scope.spawn(|| examples::reach_their_states(&clock, cluster));
    });

    for site in [&changed, &rotated] {
        assert_eq!(site.containers().len(), 1);
    }
    let containers = [changed.containers(), rotated.containers()];
    let from = now();
    chaos(&clock, &installed, &[&changed, &rotated]);
    upgrade(&clock, &installed, &[&changed, &rotated]);
    for site in [&changed, &rotated] {
        let samples = site.assert_all_kept("everything that was scraped while parts died", from);
        clock.says(&format!("{}: all {samples} samples are there after the chaos", site.namespace));
    }
    assert_eq!([changed.containers(), rotated.containers()], containers, "a Prometheus has been restarted");
    assert_eq!(rotated.entries().unwrap().len(), 2);
    assert_eq!(rotated.entries().unwrap()[0], "theirs");

    a_namespace_goes_with_its_archive(&clock, &changed);
    uninstalling_takes_everything_out(&clock, &installed, &rotated);
    deleting_the_definition_first(&clock, &installed, &rotated);
}

/// Prints when what was so.
struct Clock(Instant);

impl Clock {
    fn says(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.0.elapsed().as_secs_f32());
    }
}

fn samples_arrive(clock: &Clock, site: &Site<'_>) {
    // 60 s, and the 3 min after which the reloader of the Prometheus Operator looks again if it has missed the change.
    let waited = site.wait_until("Receiving", Duration::from_secs(240));
    clock.says(&format!("{}: samples arrive after {:.1} s", site.namespace, waited.as_secs_f32()));
    site.wait_until("Ready", PATIENCE);
    let entries = site.entries().unwrap();
    assert!(
        matches!(&entries[..], [entry] if entry.starts_with(&format!("promarchive/{}/lab/", site.namespace))),
        "{entries:?}"
    );
}

fn columns_and_explanations(site: &Site<'_>) {
    let table = site.kubectl(&["get", "ma"]).unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAME", "READY", "RECEIVING", "PROMETHEUS", "STORE", "AGE"]);
    assert_eq!(lines.next().unwrap()[..5], ["lab", "True", "True", "1/1", "pvc/lab-archive"]);
    for kind in ["StorageReachable", "ReceiverAvailable", "PrometheusConfigured", "Receiving", "Ready"] {
        assert_eq!(site.condition(kind).unwrap().0, "True", "{kind}");
    }
    for absent in ["Reconciling", "Stalled"] {
        site.condition(absent).unwrap_err();
    }
    for field in
        ["spec.storage", "spec.receiver.flushInterval", "spec.prometheuses.selector", "status.prometheuses.state"]
    {
        let text = site.kubectl(&["explain", &format!("metricsarchive.{field}")]).unwrap();
        assert!(text.contains("DESCRIPTION:") && !text.contains("<empty>"), "{field}: {text}");
    }
}

/// No engine enforces a NetworkPolicy here, so its selectors are held against the labels of the pods.
fn selectors_match(site: &Site<'_>) {
    let policy = site.get("networkpolicy/lab-receiver").unwrap();
    let pods = |namespace: &str, selector: &serde_json::Value| {
        let mut words = Vec::new();
        for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            words.push(format!("{name}={}", value.as_str().unwrap()));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            assert_eq!(expression["operator"], "In");
            let values: Vec<&str> =
                expression["values"].as_array().unwrap().iter().filter_map(|value| value.as_str()).collect();
            words.push(format!("{} in ({})", expression["key"].as_str().unwrap(), values.join(",")));
        }
        assert!(!words.is_empty(), "{selector}");
        let names = site.cluster.kubectl([
            "get",
            "pods",
            "--namespace",
            namespace,
            "--output=name",
            "--selector",
            &words.join(","),
        ]);
        names.unwrap().lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let receivers = pods(site.namespace, &policy["spec"]["podSelector"]);
    assert!(receivers.len() == 1 && receivers[0].starts_with("pod/lab-receiver-"), "{receivers:?}");
    let from = policy["spec"]["ingress"][0]["from"].as_array().unwrap();
    let mut let_in = Vec::new();
    for source in from {
        let namespaces = &source["namespaceSelector"]["matchLabels"];
        let namespace = namespaces["kubernetes.io/metadata.name"].as_str().unwrap_or(site.namespace);
        let_in.extend(pods(namespace, &source["podSelector"]));
    }
    assert!(let_in.iter().any(|pod| pod == "pod/prometheus-main-0"), "{let_in:?}");
    assert!(let_in.iter().any(|pod| pod.starts_with(&format!("pod/{RELEASE}-operator-"))), "{let_in:?}");
}

fn add_foreign_entry(site: &Site<'_>) {
    let patch = format!(r#"[{{"op": "add", "path": "/spec/remoteWrite/0", "value": {FOREIGN}}}]"#);
    site.kubectl(&["patch", "prometheus/main", "--type=json", "--patch", &patch]).unwrap();
}

fn a_change_is_made_before_the_break(clock: &Clock, site: &Site<'_>, from: u64) {
    let before = site.entries().unwrap();
    let start = Instant::now();
    site.patch(
        "metricsarchive/lab",
        &json!({"spec": {"prometheuses": [
            {"id": "all", "selector": {}, "remoteWrite": {"exemplars": false, "queue": {"maxShards": 3}}},
        ]}}),
    );
    let both = site.cluster.wait_for("a second entry", PATIENCE, || match site.entries()? {
        two if two.len() == 2 => Ok(two),
        other => Err(not_yet(format!("{other:?}"))),
    });
    let both = both.unwrap();
    assert_eq!(both[0], before[0]);
    let after = site.cluster.wait_for("only the new entry", Duration::from_secs(300), || match site.entries()? {
        one if one.len() == 1 => Ok(one),
        other => Err(not_yet(format!("{other:?} {:?}", site.condition("Ready")))),
    });
    assert_eq!(after.unwrap(), both[1..]);
    clock.says(&format!("{}: the entry is replaced after {:.1} s", site.namespace, start.elapsed().as_secs_f32()));
    site.wait_until("Ready", PATIENCE);
    // The new queue alone carries a while, too.
    thread::sleep(Duration::from_secs(10));
    let samples = site.assert_all_kept("a change of the entry", from);
    clock.says(&format!("{}: all {samples} samples are there after the change", site.namespace));
}

fn tokens_are_rotated(clock: &Clock, site: &Site<'_>, from: u64) {
    let tokens = || -> Result<Vec<String>, _> {
        let config = site.get("configmap/lab-receiver")?;
        let tokens = config["data"]["tokens"].as_str().unwrap_or_default();
        let of_senders = tokens.lines().filter(|line| line.contains("Prometheus/")).map(ToOwned::to_owned);
        Ok::<_, promarchive_cluster::Error>(of_senders.collect())
    };
    let before = tokens().unwrap();
    assert_eq!(before.len(), 1, "{before:?}");
    let start = Instant::now();
    site.kubectl(&["annotate", "metricsarchive/lab", "promarchive.dev/rotate-tokens=now"]).unwrap();
    let both = site.cluster.wait_for("two tokens", PATIENCE, || match tokens()? {
        two if two.len() == 2 => Ok(two),
        other => Err(not_yet(format!("{other:?}"))),
    });
    assert!(both.unwrap().contains(&before[0]), "the old token does not count any more");
    let after = site.cluster.wait_for("the new token alone", Duration::from_secs(300), || match tokens()? {
        one if one.len() == 1 => Ok(one),
        other => Err(not_yet(format!("{other:?}"))),
    });
    assert_ne!(after.unwrap(), before);
    clock.says(&format!("{}: tokens are rotated after {:.1} s", site.namespace, start.elapsed().as_secs_f32()));
    thread::sleep(Duration::from_secs(10));
    let samples = site.assert_all_kept("a rotation of tokens", from);
    clock.says(&format!("{}: all {samples} samples are there after the rotation", site.namespace));
}

/// Ten minutes and more: Prometheus must have loaded the next authority before the receiver shows a certificate of it.
fn certificates_are_rotated(clock: &Clock, site: &Site<'_>, from: u64) {
    let bundle = || -> Result<Vec<String>, _> {
        let secret = site.get("secret/promarchive-remote-write")?;
        let value = secret["data"][format!("{}.lab.ca.crt", site.namespace)].clone();
        let bytes: ByteString = serde_json::from_value(value).unwrap_or_default();
        let text = String::from_utf8(bytes.0).unwrap_or_default();
        let certificates = text.split_inclusive("-----END CERTIFICATE-----").map(str::trim).map(ToOwned::to_owned);
        Ok::<_, promarchive_cluster::Error>(certificates.filter(|one| !one.is_empty()).collect())
    };
    let before = bundle().unwrap();
    assert_eq!(before.len(), 1, "{before:?}");
    let start = Instant::now();
    site.kubectl(&["annotate", "metricsarchive/lab", "promarchive.dev/rotate-certificates=now"]).unwrap();
    let both = site.cluster.wait_for("two certificates", PATIENCE, || match bundle()? {
        two if two.len() == 2 => Ok(two),
        other => Err(not_yet(format!("{other:?}"))),
    });
    let both = both.unwrap();
    assert_eq!(both[0], before[0]);
    let after = site.cluster.wait_for("the new certificate alone", Duration::from_secs(1800), || match bundle()? {
        one if one.len() == 1 => Ok(one),
        other => Err(not_yet(format!("{other:?}"))),
    });
    assert_eq!(after.unwrap(), both[1..]);
    assert!(start.elapsed() > Duration::from_secs(600), "{:?}", start.elapsed());
    clock.says(&format!("{}: the authority is changed after {:.0} s", site.namespace, start.elapsed().as_secs_f32()));
    thread::sleep(Duration::from_secs(30));
    let samples = site.assert_all_kept("a change of the authority", from);
    clock.says(&format!("{}: all {samples} samples are there after the change of the authority", site.namespace));
    site.cluster.kubectl(["delete", "namespace", site.namespace, "--wait=false"]).unwrap();
}

/// The pod of the receiver is not ready any more, and writes come through its Service as before. It stays so: the archive drains by it.
fn another_container_of_the_pod_ends_again_and_again(clock: &Clock, site: &Site<'_>) {
    let pod = site.receiver_pod().unwrap();
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
    site.cluster.inject_failing_container(site.namespace, image).unwrap();
    let from = now();
    site.kubectl(&["delete", "pod", pod["metadata"]["name"].as_str().unwrap()]).unwrap();
    let is_so = site.cluster.wait_for("a pod with one container that ends", PATIENCE, || {
        let status = site.receiver_pod()?["status"].clone();
        let of = |name: &str| {
            let mut all = status["containerStatuses"].as_array().into_iter().flatten();
            all.find(|container| container["name"] == name).cloned().unwrap_or_default()
        };
        let ready = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
        let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
        let has_ended =
            ["state", "lastState"].into_iter().any(|state| of("ends-at-once")[state]["terminated"].is_object());
        if of("receiver")["ready"] == true && has_ended && !is_ready {
            Ok(())
        } else {
            Err(not_yet(status.to_string()))
        }
    });
    is_so.unwrap();
    let samples = site.assert_all_kept("another container that ends again and again", from);
    site.wait_until("ReceiverAvailable", PATIENCE);
    site.wait_until("Ready", PATIENCE);
    clock.says(&format!("{}: all {samples} samples come though the pod is not ready", site.namespace));
}

fn a_deleted_archive_drains(clock: &Clock, site: &Site<'_>, from: u64) {
    thread::sleep(Duration::from_secs(20));
    // Until the deletion, to the millisecond.
    let until = now();
    let start = Instant::now();
    site.kubectl(&["delete", "metricsarchive/lab", "--wait=false"]).unwrap();
    site.kubectl(&["wait", "--for=delete", "metricsarchive/lab", "--timeout=180s"]).unwrap();
    clock.says(&format!("{}: the archive is gone after {:.1} s", site.namespace, start.elapsed().as_secs_f32()));
    assert_eq!(site.entries().unwrap(), [""; 0]);
    let window = Window::between(from, until);
    let scraped = site.scraped(window);
    let samples = site.assert_kept("a deletion", &scraped);
    clock.says(&format!("{}: all {samples} samples of two pods are there after the deletion", site.namespace));
}

/// Every part that samples go through dies, one after the other, while they flow.
fn chaos(clock: &Clock, installed: &Installed, sites: &[&Site<'_>]) {
    let cluster = &installed.0;
    let settle = |what: &str| {
        for site in sites {
            // An old condition may still say True: the receiver must have answered after this.
            let pod = cluster.wait_for("a ready receiver", PATIENCE, || {
                let pod = site.receiver_pod()?;
                match pod["status"]["containerStatuses"][0]["ready"] == true {
                    true => Ok(()),
                    false => Err(not_yet(pod["status"].to_string())),
                }
            });
            pod.unwrap();
            site.wait_until("Ready", PATIENCE);
        }
        thread::sleep(Duration::from_secs(5));
        clock.says(what);
    };
    for force in [&[][..], &["--force", "--grace-period=0"]] {
        for site in sites {
            let pod = site.receiver_pod().unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
            site.kubectl(&[&["delete", "pod", &pod], force].concat()).unwrap();
        }
        settle(&format!("deleted the receivers' pods {force:?}"));
    }
    for part in [Part::Kubelet, Part::Containerd, Part::ApiServer] {
        cluster.kill(part);
        thread::sleep(Duration::from_secs(5));
        cluster.start_part(part).unwrap();
        settle(&format!("killed {part:?} for 5 s"));
    }
    let selector = "--selector=app.kubernetes.io/component=operator";
    cluster.kubectl(["delete", "pod", "--namespace", RELEASE, selector, "--force", "--grace-period=0"]).unwrap();
    installed.operator_is_rolled_out();
    settle("deleted the operator's pod");
}

fn upgrade(clock: &Clock, installed: &Installed, sites: &[&Site<'_>]) {
    let tag = format!("--set=image.tag={}", TAGS[1]);
    installed.helm(&["upgrade", RELEASE, &install::chart(), &tag, "--wait", "--timeout=60s"]);
    for site in sites {
        let upgraded = installed.0.wait_for("a receiver of the new image", PATIENCE, || {
            let pod = site.receiver_pod()?;
            let status = &pod["status"]["containerStatuses"][0];
            match status["image"].as_str().is_some_and(|image| image.ends_with(TAGS[1])) && status["ready"] == true {
                true => Ok(()),
                false => Err(not_yet(status.to_string())),
            }
        });
        upgraded.unwrap();
        site.wait_until("Ready", PATIENCE);
    }
    clock.says("upgraded operator and receivers");
    thread::sleep(Duration::from_secs(5));
}

fn a_namespace_goes_with_its_archive(clock: &Clock, site: &Site<'_>) {
    let start = Instant::now();
    // Its Prometheus tries for a minute to send what it still has to a receiver that is gone already.
    site.cluster.kubectl(["delete", "namespace", site.namespace, "--timeout=300s"]).unwrap();
    clock.says(&format!("{}: the namespace is gone after {:.1} s", site.namespace, start.elapsed().as_secs_f32()));
}

fn uninstalling_takes_everything_out(clock: &Clock, installed: &Installed, site: &Site<'_>) {
    let (containers, tables) = (site.containers(), site.tables());
    let start = Instant::now();
    installed.helm(&["uninstall", RELEASE, "--timeout=120s"]);
    clock.says(&format!("uninstalled after {:.1} s", start.elapsed().as_secs_f32()));
    assert_eq!(site.entries().unwrap(), ["theirs"]);
    let archive = site.get("metricsarchive/lab").unwrap();
    assert!(archive["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{archive}");
    assert_eq!(site.containers(), containers);
    assert!(tables.join("samples/_delta_log").is_dir(), "the tables are gone");
}

/// The archives go with the definition; the operator, which is there again, takes its entries out.
fn deleting_the_definition_first(clock: &Clock, installed: &Installed, site: &Site<'_>) {
    installed.install();
    samples_arrive_again(clock, site);
    let definition = "customresourcedefinition/metricsarchives.promarchive.dev";
    installed.0.kubectl(["delete", definition, "--timeout=180s"]).unwrap();
    assert_eq!(site.entries().unwrap(), ["theirs"]);
    installed.helm(&["uninstall", RELEASE, "--timeout=120s"]);
    clock.says("the definition was deleted first, then the release");
}

fn samples_arrive_again(clock: &Clock, site: &Site<'_>) {
    site.wait_until("Ready", PATIENCE);
    let from = now();
    thread::sleep(Duration::from_secs(10));
    let samples = site.assert_all_kept("a new operator takes the archive over", from);
    clock.says(&format!("{}: {samples} samples after a new install", site.namespace));
}
