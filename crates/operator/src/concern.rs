//! Which archives a change concerns, and how soon they are reconciled. Pure.
//!
//! An archive has to do with objects of many namespaces, and whoever may edit one of them can change it as often as they like. So a
//! change asks only for the archives that it can concern, and with a longer pause where others can cause it. What the operator
//! writes needs no change to be noticed: the reconcile that wrote it asks for the next one.

use kube::ResourceExt;

use crate::kubernetes::cache::{Changed, Mentions, Source};
use crate::names::{ArchiveName, INSTANCE};
use crate::process::queue::Haste;

/// The archives that `changed` asks for. `all` gives every archive that is known.
pub fn concerned(changed: &Changed, all: impl FnOnce() -> Vec<ArchiveName>) -> Vec<(ArchiveName, Haste)> {
    let object = &changed.object;
    let namespace = object.namespace().unwrap_or_default();
    let those = |haste: &dyn Fn(&ArchiveName) -> Option<Haste>| {
        all().into_iter().filter_map(|archive| haste(&archive).map(|haste| (archive, haste))).collect()
    };
    match changed.source {
        Source::Archive => vec![(ArchiveName::new(namespace, object.name_any()), Haste::Soon)],
        Source::Child(_) => {
            let archive = object.labels().get(INSTANCE).map(|archive| ArchiveName::new(namespace, archive.clone()));
            archive.map(|archive| (archive, Haste::Soon)).into_iter().collect()
        }
        // Archives of its namespace want keys in it, also those that have none there yet.
        Source::Secret => those(&|archive| {
            let is_concerned = archive.namespace == namespace || may_mention(&changed.mentions, archive);
            is_concerned.then_some(Haste::Later)
        }),
        // Which archives choose it is known only to their reconciles.
        Source::Prometheus(_) => {
            those(&|archive| Some(if archive.namespace == namespace { Haste::Soon } else { Haste::Later }))
        }
        Source::Namespace | Source::Definition => those(&|_| Some(Haste::Soon)),
    }
}

fn may_mention(mentions: &Mentions, archive: &ArchiveName) -> bool {
    match mentions {
        Mentions::Only(names) => names.contains(archive),
        Mentions::TooMany => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use kube::api::DynamicObject;
    use promarchive_api::metrics_archive::PrometheusKind;
    use serde_json::json;

    use super::*;

    fn changed(source: Source, namespace: &str, mentions: Mentions) -> Changed {
        let object = json!({"metadata": {"name": "x", "namespace": namespace, "labels": {INSTANCE: "lab"}}});
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        Changed { source, object: Arc::new(object), gone: false, mentions }
    }

    fn asked(source: Source, namespace: &str, mentions: Mentions) -> Vec<String> {
        let all = || {
            ["a/lab", "a/other", "b/lab", "c/lab"].map(|name| {
                let (namespace, name) = name.split_once('/').unwrap();
                ArchiveName::new(namespace, name)
            })
        };
        let asked = concerned(&changed(source, namespace, mentions), || all().to_vec());
        asked.into_iter().map(|(archive, haste)| format!("{archive} {haste:?}")).collect()
    }

    fn only(names: &[(&str, &str)]) -> Mentions {
        Mentions::Only(
            names.iter().map(|(namespace, name)| ArchiveName::new(*namespace, *name)).collect::<BTreeSet<_>>(),
        )
    }

    #[test]
    fn a_secret_asks_for_the_archives_that_it_names_and_those_beside_it_and_never_at_once() {
        assert_eq!(asked(Source::Secret, "tenant", only(&[])), [] as [&str; 0], "its tenant asks for nobody");
        // A name that is no archive's asks for nobody.
        let named = only(&[("b", "lab"), ("z", "lab")]);
        assert_eq!(asked(Source::Secret, "tenant", named.clone()), ["b/lab Later"]);
        assert_eq!(asked(Source::Secret, "a", named), ["a/lab Later", "a/other Later", "b/lab Later"]);
        assert_eq!(asked(Source::Secret, "tenant", Mentions::TooMany).len(), 4, "it cannot be known");
    }

    #[test]
    fn what_belongs_to_an_archive_asks_for_it_at_once_and_a_prometheus_elsewhere_later() {
        assert_eq!(asked(Source::Archive, "b", only(&[])), ["b/x Soon"]);
        assert_eq!(asked(Source::Child(crate::kubernetes::kind::Kind::Deployment), "b", only(&[])), ["b/lab Soon"]);
        let prometheus = Source::Prometheus(PrometheusKind::Prometheus);
        let all = ["a/lab Later", "a/other Later", "b/lab Soon", "c/lab Later"];
        assert_eq!(asked(prometheus, "b", only(&[("a", "lab")])), all);
        assert!(asked(Source::Definition, "", only(&[])).iter().all(|one| one.ends_with("Soon")));
    }
}
