use kube::CustomResourceExt;

use super::*;

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
