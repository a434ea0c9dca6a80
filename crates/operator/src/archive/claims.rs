//! Which claim the receiver of an archive may mount, and which one goes with the archive. Pure.
//!
//! The operator makes a claim for an archive that names a `size`, and notes the archive's uid on it. Every other claim may hold
//! somebody else's data: a receiver would write into it. So the owner of such a claim allows it, with the annotation
//! `promarchive.dev/allow-archives` on the claim (the same text as on a Prometheus, see [`crate::senders::consent`]), and one claim
//! belongs to one archive at a time.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::names::{ALLOW_ARCHIVES, ARCHIVE_UID, ArchiveName, INSTANCE, MANAGED_BY};
use crate::senders::consent::allows;

/// Why a receiver may not mount the claim that its archive names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not there, so nobody has allowed anything.
    Absent,
    /// Its annotation does not name the archive.
    NotAllowed,
    /// It is the claim of another archive, of this name.
    OfArchive(String),
}

/// An archive of the same namespace, and the claim that it has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub archive: ArchiveName,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The claim that its spec names, or that was made for it.
    pub claim: String,
    /// The claim that its Deployment mounts now.
    pub mounted: Option<String>,
}

impl Contender {
    /// Of several archives that may mount one claim, the first one has it: who mounts it already, then who was there first.
    fn rank(&self, claim: &str) -> (bool, Option<Timestamp>, &ArchiveName) {
        (!self.mounts(claim), self.created, &self.archive)
    }

    /// Whether its receiver mounts `claim` already.
    pub(crate) fn mounts(&self, claim: &str) -> bool {
        self.mounted.as_deref() == Some(claim)
    }
}

/// Why the receiver of `own` may not mount the claim `name` that its archive names as an existing one; none if it may.
pub(crate) fn refusal(
    own: &Contender,
    name: &str,
    claim: Option<&DynamicObject>,
    others: &[Contender],
) -> Option<Refusal> {
    let Some(claim) = claim else { return Some(Refusal::Absent) };
    let annotation = claim.annotations().get(ALLOW_ARCHIVES).map(String::as_str).unwrap_or_default();
    let is_made_for = |other: &Contender| {
        let is_its = other.claim == name && made_for_name(claim) == Some(other.archive.name.as_str());
        is_its && (other.mounts(name) || !own.mounts(name))
    };
    let may_have =
        |other: &Contender| other.mounts(name) || (other.claim == name && allows(annotation, &other.archive));
    let is_first = |other: &Contender| may_have(other) && other.rank(name) < own.rank(name);
    if let Some(other) = others.iter().find(|other| is_made_for(other) || is_first(other)) {
        return Some(Refusal::OfArchive(other.archive.name.clone()));
    }
    (!allows(annotation, &own.archive)).then_some(Refusal::NotAllowed)
}

/// The same for the claim `name` that the operator makes for `own`: an archive before it may have left it, and another one uses it since.
pub(crate) fn refusal_of_own(own: &Contender, name: &str, others: &[Contender]) -> Option<Refusal> {
    let other = others.iter().find(|other| other.mounts(name) && !own.mounts(name))?;
    Some(Refusal::OfArchive(other.archive.name.clone()))
}

/// The claim that `archive` names as an `existing` one, or that is made for it.
pub(crate) fn name_of(archive: &ArchiveName, existing: Option<String>) -> String {
    existing.unwrap_or_else(|| archive.claim())
}

/// Name of the archive that the operator made `claim` for.
fn made_for_name(claim: &DynamicObject) -> Option<&str> {
    let labels = claim.labels();
    labels.get(MANAGED_BY).filter(|by| *by == "promarchive-operator")?;
    labels.get(INSTANCE).map(String::as_str)
}

/// The claim that a Deployment's pods mount.
pub(crate) fn mounted(deployment: &DynamicObject) -> Option<String> {
    let volumes = deployment.data.pointer("/spec/template/spec/volumes")?.as_array()?;
    let name = volumes.iter().find_map(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
    name.and_then(Value::as_str).map(ToOwned::to_owned)
}

/// Uid of the archive that a claim under the operator's own name belongs to; `uid` itself if there is no claim yet. None: it was kept
/// from an archive before, of which nothing is known.
///
/// Earlier versions noted no uid. What they made is younger than its archive, and what was kept from an archive before is older.
pub(crate) fn made_for(claim: Option<&DynamicObject>, uid: &str, created: Option<Timestamp>) -> Option<String> {
    let Some(claim) = claim else { return Some(uid.to_owned()) };
    if let Some(noted) = claim.annotations().get(ARCHIVE_UID) {
        return Some(noted.clone());
    }
    let is_younger = claim.creation_timestamp().zip(created).is_some_and(|(claim, archive)| claim.0 >= archive);
    is_younger.then(|| uid.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(metadata: Value) -> DynamicObject {
        let mut object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata});
        object["metadata"]["name"] = json!("c");
        serde_json::from_value(object).unwrap()
    }

    fn allowing(archives: &str) -> DynamicObject {
        claim(json!({"annotations": {ALLOW_ARCHIVES: archives}}))
    }

    fn archive(name: &str, second: i64, mounted: Option<&str>) -> Contender {
        Contender {
            archive: ArchiveName::new("team", name),
            created: Timestamp::from_second(second).ok(),
            claim: "c".to_owned(),
            mounted: mounted.map(ToOwned::to_owned),
        }
    }

    fn refused(claim: &DynamicObject, others: &[Contender]) -> Option<Refusal> {
        refusal(&archive("lab", 10, None), "c", Some(claim), others)
    }

    #[test]
    fn only_a_claim_that_names_the_archive_is_mounted() {
        assert_eq!(refusal(&archive("lab", 10, None), "c", None, &[]), Some(Refusal::Absent));
        assert_eq!(refused(&claim(json!({})), &[]), Some(Refusal::NotAllowed));
        assert_eq!(refused(&allowing("team/other"), &[]), Some(Refusal::NotAllowed));
        assert_eq!(refused(&allowing("other/lab"), &[]), Some(Refusal::NotAllowed));
        assert_eq!(refused(&allowing("team/lab"), &[]), None);
        assert_eq!(refused(&allowing("team/*"), &[]), None);
    }

    #[test]
    fn a_claim_that_was_made_for_another_archive_is_its_own_until_it_is_gone() {
        let labels = json!({MANAGED_BY: "promarchive-operator", INSTANCE: "old"});
        let made = claim(json!({"labels": labels, "annotations": {ALLOW_ARCHIVES: "team/*"}}));
        assert_eq!(refused(&made, &[archive("old", 20, None)]), Some(Refusal::OfArchive("old".to_owned())));
        assert_eq!(refused(&made, &[archive("third", 20, None)]), None);
        assert_eq!(refused(&claim(json!({"labels": labels})), &[]), Some(Refusal::NotAllowed));
        // Who uses what was left keeps it when an archive of the old name comes again.
        let (user, again) = (archive("lab", 10, Some("c")), archive("old", 20, None));
        assert_eq!(refusal(&user, "c", Some(&made), std::slice::from_ref(&again)), None);
        assert_eq!(refusal_of_own(&again, "c", &[user]), Some(Refusal::OfArchive("lab".to_owned())));
        assert_eq!(refusal_of_own(&again, "c", &[archive("lab", 10, None)]), None);
    }

    #[test]
    fn of_two_archives_that_name_a_claim_one_has_it() {
        let both = allowing("team/lab, team/other");
        let other = Some(Refusal::OfArchive("other".to_owned()));
        assert_eq!(refused(&both, &[archive("other", 9, None)]), other);
        assert_eq!(refused(&both, &[archive("other", 11, None)]), None);
        assert_eq!(refused(&both, &[archive("other", 11, Some("c"))]), other, "it mounts it already");
        // Nobody keeps a claim from those whom it names by only asking for it.
        assert_eq!(refused(&allowing("team/lab"), &[archive("other", 9, None)]), None);
        assert_eq!(refused(&allowing("team/lab"), &[archive("other", 9, Some("c"))]), other);
        let mounting = archive("lab", 10, Some("c"));
        assert_eq!(refusal(&mounting, "c", Some(&both), &[archive("other", 9, None)]), None);
    }

    #[test]
    fn the_claim_of_an_earlier_archive_is_not_this_ones() {
        let now = Timestamp::from_second(1_800_000_000).ok();
        assert_eq!(made_for(None, "u", now).as_deref(), Some("u"));
        let noted = claim(json!({"annotations": {ARCHIVE_UID: "before"}, "creationTimestamp": "2030-01-01T00:00:00Z"}));
        assert_eq!(made_for(Some(&noted), "u", now).as_deref(), Some("before"));
        // Of versions that noted nothing.
        let younger = claim(json!({"creationTimestamp": "2030-01-01T00:00:00Z"}));
        assert_eq!(made_for(Some(&younger), "u", now).as_deref(), Some("u"));
        let older = claim(json!({"creationTimestamp": "2020-01-01T00:00:00Z"}));
        assert_eq!(made_for(Some(&older), "u", now), None);
        assert_eq!(made_for(Some(&claim(json!({}))), "u", now), None);
    }
}
