use kube::CustomResourceExt;

use super::*;
use crate::bounds::{self, in_pods};
use crate::{ArchiveConfig, LabelColumns, ReceiveConfig, SenderLabel, yaml};

#[test]
fn the_crd_is_small_enough_for_a_plain_apply() {
    // `kubectl apply` puts the object into an annotation, and annotations may have 256 KiB.
    let crd = serde_json::to_string(&MetricsArchive::crd()).unwrap();
    assert!(crd.len() < 200 * 1024, "{} bytes", crd.len());
}

#[test]
fn every_field_has_a_description() {
    fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let path = format!("{path}.{name}");
                if property["description"].as_str().is_none_or(str::is_empty) {
                    missing.push(path.clone());
                }
                walk(&path, property, missing);
            }
        }
        if schema["items"].is_object() {
            walk(path, &schema["items"], missing);
        }
    }
    let crd = serde_json::to_value(MetricsArchive::crd()).unwrap();
    let mut missing = Vec::new();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    walk("spec", &schema["spec"], &mut missing);
    walk("status", &schema["status"], &mut missing);
    // What Kubernetes' own types leave out is theirs.
    missing.retain(|path| {
        [".affinity.", ".tolerations.", ".resources.", ".networkPolicyPeers."].iter().all(|part| !path.contains(part))
    });
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_smallest_archive_has_every_default() {
    let archive: MetricsArchive = serde_json::from_value(serde_json::json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab"},
        "spec": {"storage": {"persistentVolume": {"size": "100Gi"}}, "prometheuses": [{"id": "all", "selector": {}}]},
    }))
    .unwrap();
    assert_eq!(archive.spec.receiver.tls, TlsMode::SelfSigned);
    assert_eq!(archive.spec.deletion_policy, DeletionPolicy::Retain);
    assert!(archive.spec.prometheuses[0].remote_write.exemplars);
    assert_eq!(archive.spec.prometheuses[0].mode, Mode::Patch);
}

/// The rules are text, and cannot name the constants.
#[test]
fn the_rules_of_a_queue_say_the_limits_that_the_operator_has() {
    let crd = serde_json::to_value(MetricsArchive::crd()).unwrap();
    let queue = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["prometheuses"]
        ["items"]["properties"]["remoteWrite"]["properties"]["queue"];
    let rules: Vec<&str> = queue["x-kubernetes-validations"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| [rule["rule"].as_str().unwrap(), rule["message"].as_str().unwrap()])
        .collect();
    let QueueLimits { held, in_flight, shortest_deadline, longest_deadline, .. } = QueueLimits::OWN;
    let (shortest, longest) = (format!("{shortest_deadline}ms"), format!("{}s", longest_deadline / 1000));
    for number in [held.to_string(), in_flight.to_string(), shortest, longest] {
        assert_eq!(rules.iter().filter(|text| text.contains(&number)).count(), 2, "{number} in {rules:#?}");
    }
    let fields = &queue["properties"];
    assert_eq!(fields["capacity"]["maximum"], f64::from(QueueLimits::OWN.capacity));
    for (field, foreign) in [
        ("capacity", QueueLimits::FOREIGN.capacity),
        ("minShards", QueueLimits::FOREIGN.min_shards),
        ("maxShards", QueueLimits::FOREIGN.max_shards),
        ("maxSamplesPerSend", QueueLimits::FOREIGN.max_samples_per_send),
    ] {
        let description = fields[field]["description"].as_str().unwrap();
        assert!(description.ends_with(&format!("At most {foreign} in another namespace.")), "{description}");
    }
}

/// Descriptions are text, and cannot name the constants.
#[test]
fn the_kind_says_the_bounds_and_defaults_that_the_operator_and_the_receiver_have() {
    let crd = serde_json::to_value(MetricsArchive::crd()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let receiver = &spec["receiver"]["properties"];
    let said = |field: &serde_json::Value| field["description"].as_str().unwrap().replace('`', "").replace('\n', " ");
    let (interval, past) = (bounds::FLUSH_INTERVAL, bounds::MAX_PAST);
    let drain = in_pods::DRAIN_TIMEOUT;
    let (wal, memory) = (in_pods::WAL_MAX_BYTES, in_pods::CONTAINER_MEMORY);
    for (field, wants) in [
        (&receiver["flushInterval"], format!(", {}. Default: {}.", interval.range(), interval.or_default(None))),
        (&receiver["maxPast"], format!("at least {}.", past.least)),
        (&receiver["walMaxBytes"], format!("at least {}.", wal.least)),
        (&receiver["walMaxBytes"], format!("Default: a quarter of size, at most {}.", wal.or_default(None))),
        (&receiver["resources"], format!("requests of 100m CPU and {} memory", memory.least)),
        (&receiver["resources"], format!("a limit of {} memory.", memory.or_default(None))),
        (&receiver["resources"], format!("must be at least {}.", memory.least)),
        (&receiver["labelColumns"], format!("Default: {}.", LabelColumns::default().to_string().replace(',', ", "))),
        (
            &spec["prometheuses"]["items"]["properties"]["drainTimeout"],
            format!(", {}. Default: {}.", drain.range(), drain.or_default(None)),
        ),
    ] {
        assert!(said(field).contains(&wants), "{wants:?} is not in {:?}", said(field));
    }
    // A setting of both has the same name in both.
    let fields = [yaml::field_names::<ArchiveConfig>(), yaml::field_names::<ReceiveConfig>()].concat();
    let of_both: Vec<&String> = fields.iter().filter(|field| !receiver[field.as_str()].is_null()).collect();
    assert_eq!(of_both, ["labelColumns", "walMaxBytes", "flushInterval", "maxPast", "senderLabel"]);
    let limits = [
        (&receiver["labelColumns"]["maxItems"], LabelColumns::MOST),
        (&receiver["labelColumns"]["items"]["maxLength"], LabelColumns::LONGEST_BYTES),
        (&receiver["senderLabel"]["maxLength"], SenderLabel::LONGEST_BYTES),
        (&receiver["networkPolicyPeers"]["maxItems"], in_pods::MOST_NETWORK_POLICY_PEERS),
        (&receiver["imagePullSecrets"]["maxItems"], in_pods::MOST_PULL_SECRETS),
        (&receiver["podMetadata"]["properties"]["labels"]["maxProperties"], in_pods::MOST_KEYS),
        (&receiver["podMetadata"]["properties"]["annotations"]["maxProperties"], in_pods::MOST_KEYS),
        (&receiver["podMonitor"]["properties"]["labels"]["maxProperties"], in_pods::MOST_KEYS),
        (&receiver["scheduling"]["properties"]["nodeSelector"]["maxProperties"], in_pods::MOST_KEYS),
    ];
    for (schema, limit) in limits {
        assert_eq!(schema.as_u64(), Some(limit as u64), "{schema}");
    }
}
