//! Plans for lists of `remoteWrite`: a table of cases, and lists that somebody else changes all the time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod cases;

use std::collections::BTreeSet;

use promarchive_api::metrics_archive::{PrometheusKind, RemoteWriteSettings, TlsMode};
use promarchive_operator::names::{ArchiveName, EntryName, PrometheusName};
use promarchive_operator::senders::entry::{Capabilities, Entry, Plan, State, json_patch as patch_of, orphans, plan};
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMESPACE: &str = "team";

/// The object's list after the patch, applied by an implementation of RFC 6902 that is not ours.
fn patched(plan: &Plan, found: Option<&[Value]>) -> Option<Vec<Value>> {
    let mut object = json!({"metadata": {"resourceVersion": "7"}, "spec": {}});
    if let Some(found) = found {
        object["spec"]["remoteWrite"] = json!(found);
    }
    let operations = patch_of(plan, "7", found.is_none());
    assert_eq!(operations.is_empty(), plan.operations.is_empty());
    if let Some(lock) = operations.first() {
        assert_eq!(*lock, json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}));
    }
    let operations: json_patch::Patch = serde_json::from_value(json!(operations)).unwrap();
    json_patch::patch(&mut object, &operations).unwrap();
    object["spec"].get("remoteWrite").map(|list| list.as_array().unwrap().clone())
}

#[test]
fn each_case_comes_out_as_it_says() {
    let (archive, prometheus, cases) = cases::all();
    assert!(cases.len() > 30);
    for case in cases {
        let found = case.found.clone().unwrap_or_default();
        let may_retire = |name: &EntryName| case.may_retire.contains(&name.to_string());
        let plan = plan(&found, &archive, &prometheus.namespace, case.wanted.as_ref(), may_retire);
        assert_eq!(patched(&plan, case.found.as_deref()), case.expected, "{}", case.name);
        assert_eq!(cases::word(&plan.state), case.state, "{}", case.name);
        assert_eq!(plan.duplicate_names, case.duplicate_names, "{}", case.name);
    }
}

#[test]
fn what_is_no_entry_is_left_alone() {
    let [wanted, ..] = entries("lab");
    let hostile = [
        json!(null),
        json!(1),
        json!("promarchive/team/lab/00000000"),
        json!([wanted.value()]),
        json!({"name": 1, "url": {}}),
        json!({"name": null, "url": "::"}),
        json!({"name": "x".repeat(1_000_000), "url": "https://".to_owned() + &"a.".repeat(100_000)}),
        json!({"url": "http://[::1"}),
    ];
    let plan = plan(&hostile, &archive("lab"), NAMESPACE, Some(&wanted), |_| true);
    let mut expected = hostile.to_vec();
    expected.push(wanted.value().clone());
    assert_eq!(patched(&plan, Some(&hostile)), Some(expected));
}

#[test]
fn entries_of_archives_that_are_gone_are_found() {
    let [lab, ..] = entries("lab");
    let [gone, other, _] = entries("gone");
    let list = [json!({"name": "theirs"}), lab.value().clone(), gone.value().clone(), other.value().clone(), json!(7)];
    let expected = BTreeSet::from([gone.name().clone(), other.name().clone()]);
    assert_eq!(orphans(&list, |name| *name == archive("lab")), expected);
}

fn archive(name: &str) -> ArchiveName {
    ArchiveName { namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

/// Three entries of an archive, for different settings.
fn entries(name: &str) -> [Entry; 3] {
    let prometheus =
        PrometheusName { kind: PrometheusKind::Prometheus, namespace: NAMESPACE.to_owned(), name: "main".to_owned() };
    let capabilities = Capabilities::of(prometheus.kind, &json!({}), None);
    [(true, true), (true, false), (false, true)].map(|(exemplars, native_histograms)| {
        let settings = RemoteWriteSettings { exemplars, native_histograms, ..RemoteWriteSettings::default() };
        Entry::new(&archive(name), TlsMode::SelfSigned, &settings, &prometheus, &capabilities).unwrap()
    })
}

/// What happens to a list. Positions are taken modulo its length.
#[derive(Clone, Debug)]
enum Event {
    /// The operator plans and patches for one archive: the setting that is wanted, and which ones may retire.
    Step {
        archive: usize,
        wanted: Option<usize>,
        may_retire: [bool; 3],
    },
    Insert(usize, u16),
    Remove(usize),
    Swap(usize, usize),
    Wipe,
    Edit(usize, bool),
    Duplicate(usize, usize),
    Rename(usize, u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let step = (0..2_usize, proptest::option::weighted(0.8, 0..3_usize), any::<[bool; 3]>())
        .prop_map(|(archive, wanted, may_retire)| Event::Step { archive, wanted, may_retire });
    let event = prop_oneof![
        8 => step,
        3 => (0..9_usize, any::<u16>()).prop_map(|(at, id)| Event::Insert(at, id)),
        2 => (0..9_usize).prop_map(Event::Remove),
        2 => (0..9_usize, 0..9_usize).prop_map(|(one, other)| Event::Swap(one, other)),
        1 => Just(Event::Wipe),
        2 => (0..9_usize, any::<bool>()).prop_map(|(at, field)| Event::Edit(at, field)),
        2 => (0..9_usize, 0..9_usize).prop_map(|(from, to)| Event::Duplicate(from, to)),
        1 => (0..9_usize, any::<u16>()).prop_map(|(at, id)| Event::Rename(at, id)),
    ];
    proptest::collection::vec(event, 0..60)
}

fn disturb(list: &mut Vec<Value>, event: &Event) {
    let length = list.len();
    match event {
        Event::Step { .. } => {}
        Event::Insert(at, id) => {
            list.insert(at % (length + 1), json!({"name": format!("f{id}"), "url": format!("https://x/{id}")}))
        }
        Event::Wipe => list.clear(),
        _ if length == 0 => {}
        Event::Remove(at) => drop(list.remove(at % length)),
        Event::Swap(one, other) => list.swap(one % length, other % length),
        Event::Edit(at, true) => list[at % length]["sendExemplars"] = json!("edited"),
        Event::Edit(at, false) => list[at % length]["remoteTimeout"] = json!("7s"),
        Event::Duplicate(from, to) => list.insert(to % (length + 1), list[from % length].clone()),
        Event::Rename(at, id) => list[at % length]["name"] = json!(format!("renamed{id}")),
    }
}

fn is_of(entry: &Value, archive: &ArchiveName) -> bool {
    entry["name"].as_str().and_then(|name| name.parse().ok()).is_some_and(|name| archive.owns(&name))
}

/// One step of the operator; what holds for each is checked here.
fn step(
    list: &mut Vec<Value>,
    archive: &ArchiveName,
    wanted: Option<&Entry>,
    may_retire: impl Fn(&EntryName) -> bool,
) -> Plan {
    let plan = plan(list, archive, NAMESPACE, wanted, may_retire);
    let after = patched(&plan, Some(list)).unwrap();
    let others = |list: &[Value]| list.iter().filter(|entry| !is_of(entry, archive)).cloned().collect::<Vec<_>>();
    assert_eq!(others(&after), others(list), "entries of others changed");
    *list = after;
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn others_keep_their_entries_and_ours_settle_in_two_steps(events in events()) {
        let archives = [("lab", entries("lab")), ("lab-2", entries("lab-2"))];
        let mut wanted = [None, None];
        let mut list = Vec::new();
        for event in &events {
            disturb(&mut list, event);
            if let Event::Step { archive: at, wanted: setting, may_retire } = event {
                let (name, entries) = &archives[*at];
                wanted[*at] = setting.map(|setting| &entries[setting]);
                let may = |name: &EntryName| entries.iter().zip(may_retire).any(|(entry, may)| *may && entry.name() == name);
                step(&mut list, &archive(name), wanted[*at], may);
            }
        }
        for _ in 0..2 {
            for (at, (name, _)) in archives.iter().enumerate() {
                step(&mut list, &archive(name), wanted[at], |_| true);
            }
        }
        for (at, (name, _)) in archives.iter().enumerate() {
            let plan = step(&mut list, &archive(name), wanted[at], |_| true);
            prop_assert_eq!(&plan.operations, &[], "it has settled");
            let ours: Vec<_> = list.iter().filter(|entry| is_of(entry, &archive(name))).cloned().collect();
            match (plan.state, wanted[at]) {
                (State::Absent, None) => prop_assert_eq!(ours, [] as [Value; 0]),
                (State::Configured, Some(entry)) => prop_assert_eq!(ours, [entry.value().clone()]),
                // Renamed by somebody, so that it is theirs; ours that were there are there once each.
                (State::ConfiguredByOthers, Some(entry)) => {
                    let names: BTreeSet<_> = ours.iter().map(|entry| entry["name"].to_string()).collect();
                    prop_assert_eq!(names.len(), ours.len());
                    prop_assert!(!names.contains(&json!(entry.name().to_string()).to_string()));
                    prop_assert!(list.iter().any(|other| other["url"] == entry.value()["url"] && !is_of(other, &archive(name))));
                }
                (state, _) => prop_assert!(false, "{:?}", state),
            }
        }
    }
}
