//! Whether a Prometheus may be archived from another namespace.
//!
//! The annotation `promarchive.dev/allow-archives` of the Prometheus object or of its namespace lists archives, with
//! commas between them: `team-a/lab`, or `team-a/*` for all of a namespace. An archive in the Prometheus' own namespace
//! needs none: who may make it there is trusted with what is there.

use std::collections::HashMap;

use crate::names::ArchiveName;
use crate::senders::prometheus::Prometheus;

/// What a Prometheus and its namespace say to one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// The archive may have its samples.
    Given,
    /// Neither the object nor its namespace allows it.
    Withheld,
    /// The object does not allow it, and its namespace has not been listed. Nothing is given for that, and nothing is taken away.
    Unknown,
}

/// All Prometheus objects, by what they say to one archive.
#[derive(Debug, Default)]
pub(crate) struct Consents {
    /// Those that consent.
    pub given: Vec<Prometheus>,
    /// Those that do not.
    pub withheld: Vec<Prometheus>,
    /// Those of which it is not known.
    pub unknown: Vec<Prometheus>,
}

impl Consents {
    /// Sorts `all`. `annotation` gives the annotation of a namespace, empty if it has none; `None` if the namespace is not known.
    pub(crate) fn of(
        archive: &ArchiveName,
        all: impl IntoIterator<Item = Prometheus>,
        annotation: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut namespaces: HashMap<String, Option<bool>> = HashMap::new();
        let mut sorted = Self::default();
        for prometheus in all {
            let mut of_namespace = || match namespaces.get(&prometheus.namespace) {
                Some(known) => *known,
                None => {
                    let found = annotation(&prometheus.namespace).map(|text| allows(&text, archive));
                    *namespaces.entry(prometheus.namespace.clone()).or_insert(found)
                }
            };
            match consent(archive, &prometheus.namespace, prometheus.consent(), &mut of_namespace) {
                Consent::Given => sorted.given.push(prometheus),
                Consent::Withheld => sorted.withheld.push(prometheus),
                Consent::Unknown => sorted.unknown.push(prometheus),
            }
        }
        sorted
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Prometheus> {
        self.given.iter().chain(&self.withheld).chain(&self.unknown)
    }
}

/// `own` is the annotation of an object in `namespace`; `of_namespace` says whether the namespace allows it, if that is known.
fn consent(
    archive: &ArchiveName,
    namespace: &str,
    own: Option<&str>,
    of_namespace: impl FnOnce() -> Option<bool>,
) -> Consent {
    if namespace == archive.namespace || own.is_some_and(|annotation| allows(annotation, archive)) {
        return Consent::Given;
    }
    match of_namespace() {
        Some(true) => Consent::Given,
        Some(false) => Consent::Withheld,
        None => Consent::Unknown,
    }
}

/// Whether `annotation` names `archive`.
pub(crate) fn allows(annotation: &str, archive: &ArchiveName) -> bool {
    annotation
        .split(',')
        .filter_map(|item| item.trim().split_once('/'))
        .any(|(namespace, name)| namespace == archive.namespace && (name == "*" || name == archive.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_known_gives_nothing_and_takes_nothing_away() {
        let archive = ArchiveName::new("team-a", "lab");
        let say = |namespace, own, of_namespace| consent(&archive, namespace, own, || of_namespace);
        assert_eq!(say("team-a", None, None), Consent::Given, "the archive's own namespace");
        assert_eq!(say("team-b", None, None), Consent::Unknown);
        assert_eq!(say("team-b", Some("team-a/other"), None), Consent::Unknown);
        assert_eq!(say("team-b", Some("team-a/lab"), None), Consent::Given);
        assert_eq!(say("team-b", Some("team-a/lab"), Some(false)), Consent::Given);
        assert_eq!(say("team-b", None, Some(false)), Consent::Withheld);
        assert_eq!(say("team-b", Some("x/y"), Some(true)), Consent::Given);
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let archive = ArchiveName::new("team-a", "lab");
        for yes in ["team-a/lab", "team-a/*", " x/y , team-a/lab ", "team-a/other,team-a/*"] {
            assert!(allows(yes, &archive), "{yes}");
        }
        for no in [
            "",
            "*",
            "*/*",
            "*/lab",
            "team-a",
            "team-a/",
            "team-a/la",
            "team-a/lab2",
            "team-b/lab",
            "lab",
            "team-a/lab/x",
            "Team-A/lab",
            "team-a//lab",
        ] {
            assert!(!allows(no, &archive), "{no}");
        }
    }
}
