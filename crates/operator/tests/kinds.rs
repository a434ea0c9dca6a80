//! Roles and admission policies are made from one list of kinds, and are about the same kinds.
//!
//! `charts/promarchive/templates/_kinds.tpl` is that list for the chart. It is generated: `UPDATE_REFERENCE=1 cargo test … --test kinds`.
//! What the chart makes of it is compared as `config/` has it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use promarchive_operator::kubernetes::access::Access;
use promarchive_operator::kubernetes::guard::Policy;
use promarchive_operator::names::Component;
use serde::Deserialize;
use serde_json::Value;

/// An API group, and the plural name of a kind in it.
type Resource = (String, String);

/// What may be done with each kind: verbs of RBAC, or operations that a policy is asked about.
type Rules = BTreeMap<Resource, BTreeSet<String>>;

/// Anybody may write Events, and they change nothing for anybody.
const UNGUARDED: (&str, &str) = ("events.k8s.io", "events");

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn objects(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(path(name)).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).unwrap()).filter(|object| !object.is_null()).collect()
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned())
}

/// Rules of RBAC or of a policy, by kind.
fn by_kind(rules: &Value, what: &str) -> Rules {
    let mut all = Rules::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                all.entry((group.clone(), resource)).or_default().extend(texts(&rule[what]));
            }
        }
    }
    all
}

/// What the role of this name allows.
fn role(objects: &[Value], name: &str) -> Rules {
    let role = objects.iter().find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == name);
    by_kind(&role.unwrap()["rules"], "verbs")
}

/// What each policy is asked about, by the end of its name.
fn policies() -> BTreeMap<String, Rules> {
    let all = objects("config/policy/policy.yaml");
    let all = all.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicy");
    all.map(|policy| {
        let name = policy["metadata"]["name"].as_str().unwrap().strip_prefix("promarchive-operator-").unwrap();
        (name.to_owned(), by_kind(&policy["spec"]["matchConstraints"]["resourceRules"], "operations"))
    })
    .collect()
}

/// The operation that a policy is asked about when RBAC allows a verb.
fn operation(verb: &str) -> Option<&'static str> {
    match verb {
        "get" | "list" | "watch" => None,
        "create" => Some("CREATE"),
        "patch" | "update" => Some("UPDATE"),
        "delete" | "deletecollection" => Some("DELETE"),
        _ => panic!("{verb}"),
    }
}

/// Kinds that the operator may change and no policy is asked about, and kinds that a policy is asked about for nothing.
fn faults(allowed: &Rules, policies: &BTreeMap<String, Rules>) -> Vec<String> {
    let is_asked = |(group, resource): &Resource, operation: &str| {
        let with_all = resource.split_once('/').map(|(kind, _)| (group.clone(), format!("{kind}/*")));
        let names = [Some((group.clone(), resource.clone())), with_all];
        policies.values().any(|rules| {
            names.iter().flatten().any(|name| rules.get(name).is_some_and(|operations| operations.contains(operation)))
        })
    };
    let mut faults = Vec::new();
    for (resource, verbs) in allowed.iter().filter(|((group, kind), _)| (group.as_str(), kind.as_str()) != UNGUARDED) {
        for operation in verbs.iter().filter_map(|verb| operation(verb)) {
            if !is_asked(resource, operation) {
                faults.push(format!("{resource:?}: the role allows {operation}, and no policy is asked about it"));
            }
        }
    }
    for (policy, rules) in policies {
        for (group, resource) in rules.keys() {
            let kind = resource.strip_suffix("/*").unwrap_or(resource);
            let verbs = allowed.get(&(group.clone(), kind.to_owned()));
            if !verbs.is_some_and(|verbs| verbs.iter().any(|verb| operation(verb).is_some())) {
                faults.push(format!("{group}/{resource}: {policy} is asked about it, and the role allows no change"));
            }
        }
    }
    faults
}

#[test]
fn the_charts_list_is_that_of_the_operator() {
    let mut text = "{{- /* Made by the test `kinds` from crates/operator/src/kubernetes/access.rs: \
        UPDATE_REFERENCE=1 cargo test … --test kinds */}}\n\n\
        {{/* What the operator does with which kind of object, and the admission policies that it is held to there. */}}\n\
        {{- define \"promarchive.kinds\" -}}\n"
        .to_owned();
    for Access { group, resource, name, verbs, policies } in Access::all() {
        let name = name.map(|name| format!("name: {name}, ")).unwrap_or_default();
        let policies: Vec<&str> = policies.iter().map(|policy| policy.as_str()).collect();
        let (verbs, policies) = (verbs.join(", "), policies.join(", "));
        writeln!(
            text,
            "- {{group: \"{group}\", resource: {resource}, {name}verbs: [{verbs}], policies: [{policies}]}}"
        )
        .unwrap();
    }
    let components: Vec<&str> = Component::ALL.into_iter().map(Component::as_str).collect();
    write!(
        text,
        "{{{{- end -}}}}\n\n\
        {{{{/* The components of an archive: what the names of their objects end with. */}}}}\n\
        {{{{- define \"promarchive.components\" -}}}}\n[{}]\n{{{{- end -}}}}\n",
        components.join(", ")
    )
    .unwrap();
    let path = path("charts/promarchive/templates/_kinds.tpl");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "UPDATE_REFERENCE=1 cargo test … --test kinds");
}

#[test]
fn roles_and_policies_are_about_the_kinds_of_the_list() {
    let (allowed, policies) = (role(&objects("config/rbac/rbac.yaml"), "promarchive-operator"), policies());
    let list = Access::all();
    let listed: Rules = list
        .iter()
        .map(|one| ((one.group.clone(), one.resource.clone()), one.verbs.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(allowed, listed);
    for policy in [Policy::OwnObjects, Policy::Receivers, Policy::Archives, Policy::Prometheuses] {
        let of_list = list.iter().filter(|one| one.policies.contains(&policy));
        let of_list: BTreeSet<&str> = of_list.map(|one| one.resource.split('/').next().unwrap()).collect();
        let of_chart = policies[policy.as_str()].keys().map(|(_, resource)| resource.split('/').next().unwrap());
        assert_eq!(of_chart.collect::<BTreeSet<_>>(), of_list, "{policy:?}");
    }
    assert_eq!(policies.len(), 4);
    assert_eq!(faults(&allowed, &policies), [] as [&str; 0]);
    let unguarded = list.iter().filter(|one| one.changes() && one.policies.is_empty());
    assert_eq!(unguarded.map(|one| (one.group.as_str(), one.resource.as_str())).collect::<Vec<_>>(), [UNGUARDED]);
}

#[test]
fn what_the_removal_may_change_is_guarded_too() {
    let all = objects("config/remove/remove.yaml");
    let roles = all.iter().filter(|object| object["kind"] == "ClusterRole");
    let mut count = 0;
    for role in roles {
        let allowed = by_kind(&role["rules"], "verbs");
        let allowed: Rules = allowed.into_iter().filter(|((group, _), _)| !group.is_empty()).collect();
        count += allowed.len();
        let unguarded: Vec<String> =
            faults(&allowed, &policies()).into_iter().filter(|fault| fault.contains("no policy")).collect();
        assert!(unguarded.is_empty(), "{unguarded:?}");
    }
    assert!(count >= 3, "{count}");
}

/// Every kind of the list, taken out of the role or of the policies, is missed.
#[test]
fn a_kind_that_is_in_only_one_of_them_is_noticed() {
    let (allowed, policies) = (role(&objects("config/rbac/rbac.yaml"), "promarchive-operator"), policies());
    for one in Access::all().into_iter().filter(|one| !one.policies.is_empty() && !one.resource.contains('/')) {
        let resource = (one.group, one.resource);
        let mut fewer = allowed.clone();
        fewer.remove(&resource).unwrap();
        assert!(!faults(&fewer, &policies).is_empty(), "{resource:?} is not in the role");
        let mut fewer = policies.clone();
        for rules in fewer.values_mut() {
            rules.remove(&resource);
        }
        assert!(!faults(&allowed, &fewer).is_empty(), "{resource:?} is in no policy");
    }
}
