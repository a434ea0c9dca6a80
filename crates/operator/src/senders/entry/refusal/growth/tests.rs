use promarchive_api::metrics_archive::RelabelRule;
use serde_json::{Value, json};

use super::*;

fn rules(rules: &Value) -> Vec<RelabelRule> {
    serde_json::from_value(rules.clone()).unwrap()
}

/// The rule that is refused, and why.
fn refused(list: &Value) -> Option<(usize, String)> {
    check(&rules(list)).err().map(|(index, fault)| (index, fault.problem))
}

/// How often one label is in the labels of a series, the rules' own text, and steps; all rules taken.
fn reckoned(list: &Value) -> (u64, u64, u64) {
    let rules = rules(list);
    let mut series = Series::new();
    rules.iter().for_each(|rule| series.apply(rule).unwrap());
    (series.copies(), series.own(), series.steps)
}

fn join(sources: &[&str], target: &str) -> Value {
    json!({"sourceLabels": sources, "separator": "", "targetLabel": target})
}

fn map(regex: &str, replacement: &str) -> Value {
    json!({"action": "labelmap", "regex": regex, "replacement": replacement})
}

/// As they were found: a real Prometheus died of each.
#[test]
fn rules_that_feed_each_other_are_refused_where_it_is_too_much() {
    let mut doubling = vec![join(&["__name__"], "x")];
    doubling.resize(22, join(&["x", "x"], "x"));
    let (index, problem) = refused(&json!(doubling)).unwrap();
    assert_eq!(index, 3, "{problem}");
    assert!(problem.contains("can become 9 times longer. At most 8"), "{problem}");

    let letters = "abcdefghijklmnopqrstuvwxyz".chars();
    let mapping: Vec<Value> = letters.map(|letter| map("(.+)", &format!("{letter}_${{1}}"))).collect();
    let (index, problem) = refused(&json!(mapping)).unwrap();
    assert_eq!(index, 3, "{problem}");
    assert!(problem.contains("can become 16 times"), "{problem}");
}

#[test]
fn there_is_no_way_around_the_bound() {
    let text = "x".repeat(1_000);
    let many = |rule: &Value, times: usize| json!(vec![rule; times]);
    let template = json!({"sourceLabels": ["a"], "targetLabel": "x_$1", "replacement": "$1"});
    for (list, index) in [
        // Each joins what the two before it have written.
        (json!((0..16).flat_map(|_| [join(&["x", "y"], "x"), join(&["x", "y"], "y")]).collect::<Vec<_>>()), 4),
        (many(&json!({"sourceLabels": ["x"], "targetLabel": "x", "replacement": "$1$1"}), 9), 3),
        (many(&json!({"sourceLabels": ["x"], "targetLabel": "x", "regex": "((.*))", "replacement": "$1$2"}), 9), 3),
        (many(&json!({"sourceLabels": ["x"], "targetLabel": "x", "regex": "(?P<n>.*)", "replacement": "$1$n"}), 9), 3),
        (many(&json!({"sourceLabels": ["x"], "targetLabel": "x", "replacement": "$0$0"}), 9), 3),
        (many(&json!({"action": "lowercase", "sourceLabels": ["x", "x", "x"], "targetLabel": "x"}), 9), 1),
        (json!([join(&["x"; 9], "y")]), 0),
        // A name that is written is the text of a label, too.
        (many(&template, 9), 1),
        (json!([map("(.+)", "$1$1$1"), map("(.+)", "$1$1$1")]), 1),
        // What is in a label after a labelmap, or under a name from a label, may be anything.
        (json!([join(&["a", "a", "a"], "x"), map("(.+)", "$1_"), join(&["b"], "c")]), 2),
        (
            json!([
                {"sourceLabels": ["n"], "targetLabel": "$1", "replacement": "v"},
                join(&["x", "x"], "x"), join(&["x", "x"], "x"), join(&["x", "x"], "x")
            ]),
            3,
        ),
        // Text of its own.
        (many(&json!({"targetLabel": "a", "replacement": text}), 32), 32),
        (
            json!((0..3).map(|one| json!({"targetLabel": format!("a{one}"), "replacement": text})).collect::<Vec<_>>()),
            2,
        ),
        (json!([{"targetLabel": "a", "replacement": text}, join(&["a", "a"], "b")]), 1),
        (json!([map("(.+)", &format!("${{1}}{}", "x".repeat(100)))]), 0),
        (many(&json!({"sourceLabels": ["a", "b"], "separator": "-".repeat(16), "targetLabel": "c"}), 32), 32),
    ] {
        let found = refused(&list).map(|(index, _)| index);
        let expected = Some(index).filter(|index| *index < list.as_array().unwrap().len());
        assert_eq!(found, expected, "{list}: {:?}", refused(&list));
    }
}

/// 32 labels with long values, and an expression that is everywhere at once: 43 ms for each rule and series.
#[test]
fn the_work_for_a_series_is_bounded() {
    let labels: Vec<String> = (0..32).map(|number| format!("l{number}")).collect();
    let wide = json!({"action": "keep", "sourceLabels": labels, "regex": "(?:.?.?.?){300}x"});
    let narrow = json!({"action": "keep", "sourceLabels": ["__name__"], "regex": "(?:.?.?.?){300}x"});
    let groups = json!({"sourceLabels": ["__name__"], "regex": "(.?)".repeat(1_000), "targetLabel": "x"});
    for (list, index) in [(json!([wide]), 0), (json!([narrow, narrow]), 1), (json!([groups]), 0)] {
        let (found, problem) = refused(&list).unwrap();
        assert_eq!(found, index, "{problem}");
        assert!(problem.contains("steps for a series with 32 labels"), "{problem}");
    }
    // However long it is, an instruction of it is looked at once.
    let names: Vec<String> = (0..150).map(|number| format!("container_network_x{number:03}")).collect();
    let (_, _, steps) = reckoned(&json!([{"action": "keep", "sourceLabels": ["__name__"], "regex": names.join("|")}]));
    assert!(steps < 5_000, "{steps}");
}

/// Lists as people write them, and then some.
#[test]
fn what_people_write_is_taken() {
    let name = |action: &str, regex: &str| json!({"action": action, "sourceLabels": ["__name__"], "regex": regex});
    let set = |label: &str, text: &str| json!({"targetLabel": label, "replacement": text});
    let names: Vec<String> = (0..130).map(|number| format!("kube_pod_container_status_{number:03}")).collect();
    let prefixes: Vec<String> = (0..180).map(|number| format!("application_{number:03}_.*")).collect();
    let extract = |label: &str, group: u32| {
        json!({
            "sourceLabels": ["job"], "regex": "([^/]+)/([^/]+)/([^/]+)/(.+)", "targetLabel": label,
            "replacement": format!("${{{group}}}"),
        })
    };
    let fall_back = |from: &str, to: &str| json!({"sourceLabels": [to, from], "regex": ";(.+)", "targetLabel": to, "replacement": "$1"});
    let lists = [
        // Grafana Cloud, Amazon, Google: a few names, or a long list of them in several rules.
        json!([name("drop", "go_.*|process_.*"), name("keep", "node_.*|kube_(pod|node)_.+|up")]),
        json!([name("keep", &names.join("|")), name("keep", &prefixes.join("|")), name("drop", ".*_bucket|.*_sum")]),
        json!(vec![name("drop", &names.join("|")); 8]),
        json!([name("keep", &format!(".*({})", names.join("|")))]),
        json!((0..32).map(|number| name("drop", &format!("some_metric_{number}_.*"))).collect::<Vec<_>>()),
        // SAP: static labels. OpenShift: labels that Prometheus gives.
        json!([
            set("region", "eu-de-1"),
            set("cluster_type", "metal"),
            set("cluster", "s-eu-de-1"),
            set("tenant", "x")
        ]),
        json!([
            {"sourceLabels": ["__tmp_openshift_cluster_id__"], "targetLabel": "cluster_id"},
            {"action": "labeldrop", "regex": "__tmp_openshift_cluster_id__|prometheus_replica"},
        ]),
        // Sharding.
        json!([
            {"sourceLabels": ["namespace", "pod", "container", "instance"], "targetLabel": "__tmp_hash", "action": "hashmod", "modulus": 16},
            {"sourceLabels": ["__tmp_hash"], "regex": "3", "action": "keep"}, {"regex": "__tmp_.*", "action": "labeldrop"},
        ]),
        // kube-prometheus: drop by several labels; addresses and ports; names joined.
        json!([
            {"sourceLabels": ["__name__", "le"], "regex": "(etcd|apiserver)_request_duration_seconds_bucket;(0.15|0.2|0.3)", "action": "drop"},
            {"sourceLabels": ["container", "pod", "__name__"], "regex": "(;.*;container_(cpu|memory).*)", "action": "drop"},
            {"sourceLabels": ["__address__", "port"], "regex": "([^:]+)(?::\\d+)?;(\\d+)", "replacement": "$1:$2", "targetLabel": "instance"},
            {"sourceLabels": ["namespace", "service"], "separator": "/", "targetLabel": "job"},
            {"sourceLabels": ["namespace", "pod", "container"], "separator": "/", "targetLabel": "workload"},
            {"sourceLabels": ["instance"], "regex": "(.*):\\d+", "targetLabel": "host"},
            {"sourceLabels": ["host"], "action": "lowercase", "targetLabel": "host"},
        ]),
        // A label that is taken apart.
        json!([extract("team", 1), extract("application", 2), extract("stage", 3), extract("shard", 4)]),
        json!([
            {
                "sourceLabels": ["a", "b", "c", "d", "e"], "regex": "(.*);(.*);(.*);(.*);(.*)", "targetLabel": "path",
                "replacement": "$1/$2/$3/$4/$5",
            },
            {"sourceLabels": ["path", "f"], "separator": "/", "targetLabel": "__tmp_path"},
            {"sourceLabels": ["__tmp_path"], "regex": "/*(.+)/*", "targetLabel": "path"},
            {"regex": "__tmp_.*", "action": "labeldrop"},
        ]),
        // Labels with other names, some by labelmap.
        json!(
            [
                "pod",
                "namespace",
                "container",
                "node",
                "service",
                "endpoint",
                "image",
                "name",
                "id",
                "job",
                "uid",
                "app"
            ]
            .map(|label| fall_back(&format!("exported_{label}"), label))
            .to_vec()
        ),
        json!([
            map("exported_(.+)", "$1"), {"regex": "exported_.+", "action": "labeldrop"},
            map("label_app_kubernetes_io_(.+)", "app_${1}"), map("(?i)annotation_(.+)", "$1"),
        ]),
        json!(
            ["pod", "namespace", "container", "node", "service", "endpoint"]
                .map(|label| map(&format!("{label}_name"), label))
                .to_vec()
        ),
        json!([
            map("__meta_kubernetes_pod_label_(.+)", "$1"),
            join(&["__meta_kubernetes_namespace"], "namespace"), join(&["__meta_kubernetes_pod_name"], "pod"),
            join(&["__meta_kubernetes_pod_node_name"], "node"), join(&["__meta_kubernetes_service_name"], "service"),
            {"sourceLabels": ["namespace", "service"], "separator": "/", "targetLabel": "job"},
        ]),
        // Metrics of the old kind, with what they measure in their names.
        json!([
            {"sourceLabels": ["__name__"], "regex": "stats_([^_]+)_([^_]+)_(.+)", "targetLabel": "${1}", "replacement": "$2"},
            {"sourceLabels": ["__name__"], "regex": "stats_([^_]+)_([^_]+)_(.+)", "targetLabel": "__name__", "replacement": "stats_$3"},
        ]),
    ];
    for list in lists {
        assert_eq!(refused(&list), None, "{list}");
    }
}

#[test]
fn what_is_reckoned() {
    for (list, copies, own) in [
        (json!([]), 1, 0),
        (json!([{"action": "drop", "sourceLabels": ["a", "b"]}]), 1, 0),
        (json!([join(&["a"], "b")]), 2, 1),
        // A label that is written over is there once.
        (json!([join(&["a"], "b"), join(&["c"], "b")]), 2, 1),
        (json!([join(&["a", "a"], "a")]), 2, 1),
        (json!([{"sourceLabels": ["a", "b", "c"], "targetLabel": "d"}]), 2, 3),
        (json!([{"sourceLabels": ["a"], "targetLabel": "b", "replacement": "x${1}y"}]), 2, 3),
        (json!([{"sourceLabels": ["a"], "targetLabel": "b", "regex": "(.)(.)(.*)", "replacement": "$3$2$1"}]), 2, 1),
        (json!([{"sourceLabels": ["a"], "targetLabel": "b", "regex": "((.)(.*))", "replacement": "$1$2$3"}]), 3, 1),
        (json!([{"action": "hashmod", "sourceLabels": ["a", "a"], "modulus": 8, "targetLabel": "b"}]), 1, 11),
        (json!([map("x_(.+)", "y_$1")]), 2, 64),
        (json!([map("x", "y")]), 2, 1),
    ] {
        let (found_copies, found_own, _) = reckoned(&list);
        assert_eq!((found_copies, found_own), (copies, own), "{list}");
    }
}

#[test]
fn templates_are_read_as_go_reads_them() {
    for (text, characters, references) in [
        ("", 0, vec![]),
        ("a", 1, vec![]),
        ("$1", 0, vec!["1"]),
        ("a${1}b$name", 2, vec!["1", "name"]),
        ("$1x", 0, vec!["1x"]),
        ("$$1", 2, vec![]),
        ("$", 1, vec![]),
        ("${}${a.b}${", 11, vec![]),
        ("é$1é", 2, vec!["1"]),
    ] {
        assert_eq!(template(text), (characters, references), "{text}");
    }
}
