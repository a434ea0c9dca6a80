use promarchive_api::metrics_archive::PrometheusKind;
use serde_json::{Value, json};

use super::*;

fn verdict(rule: &Value, spec: &Value) -> Result<(), String> {
    let prometheus = Capabilities::of(PrometheusKind::Prometheus, spec, None);
    let rule: RelabelRule = serde_json::from_value(rule.clone()).unwrap();
    check(&rule, &prometheus).map_err(|(field, fault)| format!("{field}: {}", fault.problem))
}

#[track_caller]
fn expect(rule: &Value, spec: &Value, problem: &str) {
    match verdict(rule, spec) {
        Ok(()) => assert_eq!(problem, "", "{rule} for {spec}"),
        Err(found) => assert!(!problem.is_empty() && found.contains(problem), "{rule} for {spec}: {found}"),
    }
}

#[test]
fn rules_that_prometheus_would_not_load_are_refused() {
    for (rule, version, problem) in [
        (json!({"action": "keep", "sourceLabels": ["__name__"], "regex": "up"}), "3.4", ""),
        (json!({"action": "keep"}), "3.4", ""),
        (json!({"action": "replace", "targetLabel": "a", "replacement": ""}), "3.4", ""),
        (json!({"action": "labeldrop", "regex": "tmp_.*"}), "3.4", ""),
        (json!({"action": "labelmap", "regex": "x_(.*)"}), "3.4", ""),
        (json!({"action": "labelmap", "regex": "x_(.*)", "replacement": "${1}_y"}), "3.4", ""),
        (json!({"action": "hashmod", "targetLabel": "a", "modulus": 8}), "3.4", ""),
        (json!({"action": "keepequal", "sourceLabels": ["a"], "targetLabel": "b"}), "2.41", ""),
        (json!({"action": "keep", "sourceLabels": ["a"], "regex": "(?i)node_.*|x{2,5}[^:]+"}), "3.4", ""),
        (json!({"action": "keep", "sourceLabels": ["a"], "regex": "("}), "3.4", "regex: at character 1: "),
        (json!({}), "3.4", "targetLabel is missing"),
        (json!({"targetLabel": ""}), "3.4", "targetLabel is missing"),
        (json!({"action": "hashmod", "targetLabel": "a"}), "3.4", "modulus is missing"),
        (json!({"action": "hashmod", "targetLabel": "a", "modulus": 0}), "3.4", "modulus must be at least 1"),
        (json!({"action": "keep", "modulus": 0}), "3.4", "modulus must be from 1"),
        (json!({"action": "keep", "modulus": -1}), "3.4", "modulus must be from 1"),
        (json!({"action": "lowercase", "targetLabel": "a", "replacement": "b"}), "3.4", "replacement"),
        (json!({"action": "labeldrop", "regex": "a", "sourceLabels": ["b"]}), "3.4", "sourceLabels"),
        (json!({"action": "dropequal", "sourceLabels": ["a"], "targetLabel": "b", "regex": "c"}), "3.4", "regex"),
        (json!({"action": "dropequal", "sourceLabels": ["a"], "targetLabel": "b"}), "2.40", "2.41 or newer"),
        (json!({"action": "uppercase", "sourceLabels": ["a"], "targetLabel": "b"}), "2.35.0", "2.36 or newer"),
        (json!({"action": "labelmap", "regex": "x_(.*)", "replacement": ""}), "3.4", "replacement: \"\""),
        (json!({"action": "keep", "sourceLabels": ["a", ""]}), "3.4", "sourceLabels: \"\""),
    ] {
        expect(&rule, &json!({"version": version}), problem);
    }
}

#[test]
fn names_are_those_of_the_validation_scheme() {
    let dotted = "is not a valid label name";
    let made = "does not result in valid label names";
    let none = "does not support references";
    let utf8 = json!({"version": "3.16"});
    let legacy = json!({"version": "3.16", "nameValidationScheme": "Legacy"});
    let source = json!({"action": "keep", "sourceLabels": ["service.name"]});
    let target = json!({"action": "lowercase", "targetLabel": "service.name"});
    let plain = json!({"targetLabel": "service.name"});
    let template = json!({"targetLabel": "service.${1}"});
    let map = json!({"action": "labelmap", "replacement": "x.$1"});
    for (spec, names, templates) in [
        (&utf8, "", ""),
        (&json!({"version": "3.0.1", "nameValidationScheme": "UTF8"}), "", made),
        (&json!({"version": "3.3"}), "", ""),
        (&legacy, dotted, made),
        (&json!({"version": "3.4", "nameValidationScheme": "Other"}), dotted, made),
        (&json!({"version": "2.55"}), dotted, made),
        (&json!({"version": "3.4", "image": "prometheus:v2.44.0"}), dotted, made),
        // Nothing is known of it.
        (&json!({}), dotted, made),
        (&json!({"version": "3.7", "nameValidationScheme": "Legacy"}), dotted, none),
    ] {
        for rule in [&source, &target, &plain] {
            expect(rule, spec, names);
        }
        for rule in [&template, &map] {
            expect(rule, spec, templates);
        }
    }
    // What every release takes.
    let ordinary = json!({"action": "labelmap", "replacement": "x_${name}$1_total"});
    for (version, problem) in [("2.30", ""), ("3.6.0", ""), ("3.7", none), ("3.7.3", none), ("3.8", ""), ("", none)] {
        expect(&ordinary, &json!({"version": version, "nameValidationScheme": "Legacy"}), problem);
        expect(&ordinary, &json!({"version": version}), "");
    }
}

#[test]
fn a_template_is_a_name_with_references() {
    for (template, expected) in [
        ("a", true),
        ("$1", true),
        ("${1}", true),
        ("${1}2", true),
        ("a$b${c}_9", true),
        ("$1$2", true),
        ("", false),
        ("9a", false),
        ("9$1", false),
        ("$", false),
        ("a$", false),
        ("$$1", false),
        ("${}", false),
        ("${1", false),
        ("${a.b}", false),
        ("$1.a", false),
        ("a-$1", false),
        ("é$1", false),
        ("$é", false),
    ] {
        assert_eq!(is_legacy_template(template), expected, "{template}");
    }
}

#[test]
fn nothing_is_taken_for_an_environment_variable_or_changed_on_the_way() {
    let spec = json!({"version": "3.16"});
    let variable = "environment variable";
    let unusual = "contains the character";
    for (rule, problem) in [
        (json!({"targetLabel": "a", "replacement": "$(POD_NAME)"}), variable),
        (json!({"targetLabel": "a$(b)"}), variable),
        (json!({"action": "keep", "sourceLabels": ["$(A)"]}), variable),
        (json!({"action": "keep", "separator": "$(A)"}), variable),
        (json!({"action": "keep", "regex": "a$(b)"}), variable),
        (json!({"action": "keep", "regex": "a\n"}), unusual),
        (json!({"targetLabel": "a", "replacement": "\u{0}"}), unusual),
        (json!({"action": "keep", "separator": "\u{feff}"}), unusual),
        (json!({"action": "keep", "separator": "\u{2028}"}), unusual),
        (json!({"targetLabel": "a", "replacement": "$1 (b) é ☺"}), ""),
        (json!({"action": "keep", "regex": "a\\$\\(b\\)"}), ""),
    ] {
        expect(&rule, &spec, problem);
    }
}

/// Out of kube-prometheus, the Prometheus Operator's charts, and guides of those who sell storage for metrics.
#[test]
fn rules_of_real_life_are_taken() {
    for rule in [
        json!({"sourceLabels": ["__name__"], "regex": "kubelet_(pod_worker_latency_microseconds|pod_start_latency_microseconds|cgroup_manager_latency_microseconds|pod_worker_start_latency_microseconds|pleg_relist_latency_microseconds|pleg_relist_interval_microseconds|runtime_operations|runtime_operations_latency_microseconds|runtime_operations_errors|eviction_stats_age_microseconds|device_plugin_registration_count|device_plugin_alloc_latency_microseconds|network_plugin_operations_latency_microseconds)", "action": "drop"}),
        json!({"sourceLabels": ["__name__"], "regex": "container_(network_tcp_usage_total|network_udp_usage_total|tasks_state|cpu_load_average_10s)", "action": "drop"}),
        json!({"sourceLabels": ["__name__", "pod", "namespace"], "regex": "(container_spec_.*|container_file_descriptors|container_sockets|container_threads_max|container_threads|container_start_time_seconds|container_last_seen);;", "action": "drop"}),
        json!({"sourceLabels": ["__name__", "container"], "regex": "(container_blkio_device_usage_total);.+", "action": "drop"}),
        json!({"sourceLabels": ["__name__", "le"], "regex": "(apiserver_request_duration_seconds_bucket|etcd_request_duration_seconds_bucket);(0\\.15|0\\.25|0.3|0.35|0.4|0.45|0.6|0.7|0.8|0.9|1.25|1.5|1.75|2.5|3|3.5|4.5|6|7|8|9|15|25|30|50)", "action": "drop"}),
        json!({"sourceLabels": ["__name__"], "regex": "etcd_(debugging|disk|server).*", "action": "drop"}),
        json!({"sourceLabels": ["__address__"], "regex": "([^:]+)(?::\\d+)?;(\\d+)", "replacement": "$1:$2", "targetLabel": "__address__"}),
        json!({"sourceLabels": ["__address__"], "regex": "([^:]+)(:[0-9]+)?", "replacement": "${1}", "targetLabel": "instance"}),
        json!({"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"}),
        json!({"action": "labelmap", "regex": "__meta_kubernetes_service_label_(.+)", "replacement": "k8s_$1"}),
        json!({"action": "labeldrop", "regex": "(prometheus_replica|prometheus|pod_template_hash|controller_revision_hash)"}),
        json!({"action": "labeldrop", "regex": "^(id|name|uid)$"}),
        json!({"action": "labelkeep", "regex": "__name__|job|instance|le|quantile"}),
        json!({"sourceLabels": ["__name__", "job"], "separator": ";", "regex": "(up|scrape_.*);.+|ALERTS.*;.*", "action": "keep"}),
        json!({"sourceLabels": ["__name__"], "regex": "[a-z]+:[a-z_0-9]+:(sum|rate)[0-9]*[mh]?", "action": "keep"}),
        json!({"sourceLabels": ["__address__"], "modulus": 4, "targetLabel": "__tmp_hash", "action": "hashmod"}),
        json!({"sourceLabels": ["__tmp_hash"], "regex": "^1$", "action": "keep"}),
        json!({"sourceLabels": ["namespace"], "regex": "(?i)(dev|test|staging)-.*", "action": "drop"}),
        json!({"sourceLabels": ["image"], "regex": "(?:[^/]+/)*([^:@]+)(?:[:@].*)?", "targetLabel": "image_name"}),
        json!({"sourceLabels": ["path"], "regex": "/api/v[12]/users/[0-9a-fA-F-]{36}(/.*)?", "replacement": "/api/users/:id$1", "targetLabel": "path"}),
        json!({"targetLabel": "cluster", "replacement": "prod-eu-1"}),
        json!({"sourceLabels": ["__meta_kubernetes_node_address_InternalIP"], "regex": "(\\d+)\\.(\\d+)\\.(\\d+)\\.(\\d+)", "replacement": "$1-$2-$3-$4", "targetLabel": "node_ip"}),
        json!({"sourceLabels": ["job"], "targetLabel": "job", "action": "lowercase"}),
        json!({"sourceLabels": ["__meta_kubernetes_pod_ip"], "targetLabel": "__meta_kubernetes_pod_host_ip", "action": "dropequal"}),
    ] {
        for spec in [json!({"version": "3.16"}), json!({"version": "2.45"}), json!({})] {
            expect(&rule, &spec, "");
        }
    }
}
