//! What to do with the list that was found, so that it gets to what is wanted.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use url::Url;

use super::equality::is_same;
use super::{Capabilities, Entry, refusal};
use crate::names::{ArchiveName, EntryName};

/// One change of the list. Positions are those of the list that was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The value goes to the end.
    Add(Value),
    /// The value replaces what is at this position.
    Replace(usize, Value),
    /// What is at this position goes.
    Remove(usize),
}

/// What to do, and what is so afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In the order of positions, an addition last; empty if the list is as it has to be.
    pub operations: Vec<Operation>,
    /// The list after the operations.
    pub state: State,
    /// Names that several entries of others have: Prometheus does not load such a configuration.
    pub duplicate_names: Vec<String>,
}

/// What a list says about one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no entry of ours, as is wanted.
    Absent,
    /// It has the wanted entry, and no other of ours.
    Configured,
    /// It has the wanted entry, and these, which may not retire yet.
    Replacing(Vec<EntryName>),
    /// No entry is wanted; these may not retire yet.
    Draining(Vec<EntryName>),
    /// Somebody's own entry sends to our Service, so that none is added. Those of ours that are there stay.
    ConfiguredByOthers,
}

/// What to do with the list `found` of a Prometheus in the namespace `from`, for one archive.
///
/// `wanted` is `None` when the archive's entries have to go. `may_retire` is asked about entries of ours other than the wanted one,
/// and only when the wanted one, if any, has been found as it has to be. A list that is `found` may hold anything.
pub fn plan(
    found: &[Value],
    archive: &ArchiveName,
    from: &str,
    wanted: Option<&Entry>,
    may_retire: impl Fn(&EntryName) -> bool,
) -> Plan {
    let duplicate_names = duplicates(found, archive);
    let mut ours = Ours::in_list(found, archive);
    let mut operations: Vec<_> = ours.repeated.iter().map(|at| Operation::Remove(*at)).collect();

    let state = match wanted {
        None => {
            let staying = ours.retire(&mut operations, may_retire);
            if staying.is_empty() { State::Absent } else { State::Draining(staying) }
        }
        Some(entry) => match ours.first.remove(entry.name()) {
            Some((_, value)) if is_same(value, entry.value()) => {
                let staying = ours.retire(&mut operations, may_retire);
                if staying.is_empty() { State::Configured } else { State::Replacing(staying) }
            }
            // Its queue begins anew: until its marks show that, an older one may be the only one with the samples in between.
            Some((at, _)) => {
                operations.push(Operation::Replace(at, entry.value().clone()));
                ours.with_wanted()
            }
            None if found.iter().any(|other| sends_to(other, archive, from)) => State::ConfiguredByOthers,
            None => {
                operations.push(Operation::Add(entry.value().clone()));
                ours.with_wanted()
            }
        },
    };
    operations.sort_by_key(|operation| match operation {
        Operation::Replace(at, _) | Operation::Remove(at) => *at,
        Operation::Add(_) => usize::MAX,
    });
    Plan { operations, state, duplicate_names }
}

/// Entries in the list that promarchive wrote for archives that do not exist any more.
pub fn orphans(found: &[Value], exists: impl Fn(&ArchiveName) -> bool) -> BTreeSet<EntryName> {
    found.iter().filter_map(entry_name).filter(|name| !exists(name.archive())).collect()
}

/// Names of the entries in a list that promarchive wrote, for whichever archive.
pub fn names(found: &[Value]) -> impl Iterator<Item = EntryName> + Clone + '_ {
    found.iter().filter_map(entry_name)
}

/// Entries of one archive in a list that this Prometheus surely does not load, and with them nothing else. An earlier version of ours
/// may have written them, or the Prometheus was another one then.
pub fn broken(found: &[Value], archive: &ArchiveName, prometheus: &Capabilities) -> BTreeSet<EntryName> {
    let ours = found.iter().filter_map(|entry| Some((entry_name(entry)?, entry)));
    let broken = ours.filter(|(name, entry)| archive.owns(name) && refusal::breaks(entry, prometheus));
    broken.map(|(name, _)| name).collect()
}

/// Whether an entry that is not ours sends to the archive's Service, from the namespace `from`.
pub fn is_sent_to(found: &[Value], archive: &ArchiveName, from: &str) -> bool {
    found.iter().any(|entry| sends_to(entry, archive, from))
}

/// The entries of one archive in a list.
struct Ours<'a> {
    /// By name, the first one that has it.
    first: BTreeMap<EntryName, (usize, &'a Value)>,
    /// Positions of the others, with which Prometheus loads nothing.
    repeated: Vec<usize>,
}

impl<'a> Ours<'a> {
    fn in_list(found: &'a [Value], archive: &ArchiveName) -> Self {
        let mut ours = Self { first: BTreeMap::new(), repeated: Vec::new() };
        for (at, value) in found.iter().enumerate() {
            let Some(name) = entry_name(value).filter(|name| archive.owns(name)) else { continue };
            match ours.first.entry(name) {
                MapEntry::Vacant(free) => drop(free.insert((at, value))),
                MapEntry::Occupied(_) => ours.repeated.push(at),
            }
        }
        ours
    }

    /// Takes out what may retire; the rest is returned.
    fn retire(self, operations: &mut Vec<Operation>, may_retire: impl Fn(&EntryName) -> bool) -> Vec<EntryName> {
        let (retiring, staying): (Vec<_>, Vec<_>) = self.first.into_iter().partition(|(name, _)| may_retire(name));
        operations.extend(retiring.into_iter().map(|(_, (at, _))| Operation::Remove(at)));
        staying.into_iter().map(|(name, _)| name).collect()
    }

    /// The state once the wanted entry is in, beside all of these.
    fn with_wanted(self) -> State {
        if self.first.is_empty() { State::Configured } else { State::Replacing(self.first.into_keys().collect()) }
    }
}

fn entry_name(value: &Value) -> Option<EntryName> {
    value.get("name")?.as_str()?.parse().ok()
}

/// Whether the entry is somebody else's and sends to the archive's Service.
fn sends_to(entry: &Value, archive: &ArchiveName, from: &str) -> bool {
    let is_ours = entry_name(entry).is_some_and(|name| archive.owns(&name));
    let url = entry.get("url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    let host = url.as_ref().and_then(Url::host_str);
    !is_ours && host.is_some_and(|host| archive.is_reached_by(host, from))
}

/// Names that several entries of others have. An empty name is none.
fn duplicates(found: &[Value], archive: &ArchiveName) -> Vec<String> {
    let names = found.iter().filter_map(|entry| entry.get("name")?.as_str());
    let foreign = names.filter(|name| !name.parse().is_ok_and(|name| archive.owns(&name)));
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for name in foreign.filter(|name| !name.is_empty()) {
        if !seen.insert(name) {
            twice.insert(name.to_owned());
        }
    }
    twice.into_iter().collect()
}
