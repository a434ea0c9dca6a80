//! A Secret as the API server has it now, and what has to be done to it. Of what tenants write, only what is needed is read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use kube::api::Preconditions;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::archive::credentials::SecretData;

/// A Secret, with who wrote which key.
#[derive(Debug, Deserialize)]
pub(super) struct Live {
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, ByteString>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    managed_fields: Vec<Managed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    manager: Option<String>,
    operation: Option<String>,
    fields_v1: Option<Fields>,
}

#[derive(Debug, Deserialize)]
struct Fields {
    #[serde(rename = "f:data")]
    data: Option<BTreeMap<String, IgnoredAny>>,
}

impl Live {
    /// That it is still the one that was read.
    pub(super) fn preconditions(&self) -> Preconditions {
        let Metadata { uid, resource_version, .. } = &self.metadata;
        Preconditions { uid: uid.clone(), resource_version: resource_version.clone() }
    }

    fn value(&self, key: &str) -> Option<&Vec<u8>> {
        self.data.as_ref()?.get(key).map(|value| &value.0)
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        self.data.iter().flatten().map(|(key, _)| key)
    }

    /// Keys of its data that `manager` owns by an apply. Anybody can update under that name, and an apply takes nothing of that out.
    fn owned(&self, manager: &str) -> BTreeSet<&str> {
        let applied = |fields: &&Managed| {
            fields.manager.as_deref() == Some(manager) && fields.operation.as_deref() == Some("Apply")
        };
        let fields = self.metadata.managed_fields.iter().filter(applied);
        let data = fields.filter_map(|fields| fields.fields_v1.as_ref()?.data.as_ref());
        data.flatten().filter_map(|(key, _)| key.strip_prefix("f:")).collect()
    }
}

/// What has to be done to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The keys of one manager become others.
    Apply,
    /// Nobody else has a key in it.
    Delete,
}

/// What makes the keys of `manager` in `live` exactly `wanted`.
pub(super) fn change(live: Option<&Live>, manager: &str, wanted: &SecretData) -> Option<Change> {
    let owned = live.map(|live| live.owned(manager)).unwrap_or_default();
    let found = |key: &str| live.and_then(|live| live.value(key));
    let is_there = |(key, value): (&String, &Vec<u8>)| found(key) == Some(value) && owned.contains(key.as_str());
    let is_too_much = |key: &&str| found(key).is_some() && !wanted.contains_key(*key);
    if wanted.iter().all(is_there) && !owned.iter().any(is_too_much) {
        return None;
    }
    let is_all = wanted.is_empty() && live.is_none_or(|live| live.keys().all(|key| owned.contains(key.as_str())));
    Some(if is_all { Change::Delete } else { Change::Apply })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::names::SECRET_NAME;

    const MANAGER: &str = "promarchive/team/lab";

    /// A Secret in which each key has the value `x`, by its manager.
    fn secret(managers: &[(&str, &[&str])]) -> Live {
        let keys = managers.iter().flat_map(|(_, keys)| *keys);
        let data: Value = keys.map(|key| ((*key).to_owned(), json!("eA=="))).collect::<serde_json::Map<_, _>>().into();
        let fields = managers.iter().map(|(manager, keys)| {
            let keys: serde_json::Map<_, _> = keys.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
            json!({"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": keys}})
        });
        let fields: Vec<Value> = fields.collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET_NAME, "managedFields": fields}, "data": data});
        serde_json::from_value(secret).unwrap()
    }

    fn wanted(keys: &[&str]) -> SecretData {
        keys.iter().map(|key| ((*key).to_owned(), b"x".to_vec())).collect()
    }

    #[test]
    fn only_what_the_archives_manager_owns_is_taken_out() {
        let other = ("kubectl-edit", &["team.lab.b"][..]);
        for (managers, keys, expected) in [
            (vec![(MANAGER, &["team.lab.a"][..])], &["team.lab.a"][..], None),
            (vec![(MANAGER, &["team.lab.a"][..])], &["team.lab.c"][..], Some(Change::Apply)),
            (vec![(MANAGER, &["team.lab.a"][..])], &[][..], Some(Change::Delete)),
            // Somebody's keys that look like the archive's.
            (vec![other], &[][..], None),
            (vec![(MANAGER, &["team.lab.a"][..]), other], &["team.lab.a"][..], None),
            (vec![(MANAGER, &["team.lab.a"][..]), other], &[][..], Some(Change::Apply)),
            (vec![("promarchive/team/lab2", &["team.lab.b"][..])], &[][..], None),
            // Somebody else wrote what is wanted: it is taken over.
            (vec![other], &["team.lab.b"][..], Some(Change::Apply)),
            (vec![], &[][..], None),
        ] {
            assert_eq!(change(Some(&secret(&managers)), MANAGER, &wanted(keys)), expected, "{managers:?} {keys:?}");
        }
        let mut forged = secret(&[(MANAGER, &["team.lab.a"])]);
        forged.metadata.managed_fields[0].operation = Some("Update".to_owned());
        assert_eq!(change(Some(&forged), MANAGER, &wanted(&[])), None, "an update under the manager's name");
        assert_eq!(change(None, MANAGER, &wanted(&[])), None);
        assert_eq!(change(None, MANAGER, &wanted(&["team.lab.a"])), Some(Change::Apply));
        let mut changed = wanted(&["team.lab.a"]);
        changed.insert("team.lab.a".to_owned(), b"y".to_vec());
        assert_eq!(change(Some(&secret(&[(MANAGER, &["team.lab.a"])])), MANAGER, &changed), Some(Change::Apply));
    }
}
