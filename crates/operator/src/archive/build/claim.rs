//! The claim of the volume.

use serde_json::json;

use super::{Desired, Inputs, desired};
use crate::archive::validate::{Archive, Claim};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::quantity;
use crate::names::ARCHIVE_UID;

pub(super) fn claim(archive: &Archive, inputs: &Inputs<'_>) -> Desired {
    let Claim::New { size, storage_class, access_mode } = &archive.claim else {
        return desired(archive, Kind::PersistentVolumeClaim, archive.id.claim(), json!({}));
    };
    let mut spec = json!({
        "accessModes": [access_mode.as_str()],
        "resources": {"requests": {"storage": larger(size, inputs.claim_size)}},
    });
    if let Some(class) = storage_class {
        spec["storageClassName"] = json!(class);
    }
    let mut claim = desired(archive, Kind::PersistentVolumeClaim, archive.id.claim(), json!({"spec": spec}));
    // Not in the hash: it is found on the claim again, and differs with nothing that the archive asks for.
    if let Some(uid) = inputs.claim_made_for {
        claim.object["metadata"]["annotations"][ARCHIVE_UID] = json!(uid);
    }
    claim
}

/// A claim that is kept from before may be larger than what a new archive asks for, and cannot shrink.
fn larger<'a>(asked: &'a str, found: Option<&'a str>) -> &'a str {
    match found {
        Some(found) if quantity::thousandths(found) >= quantity::thousandths(asked) => found,
        _ => asked,
    }
}

/// Where the tables of `archive` are, for a person.
pub fn store(archive: &Archive) -> String {
    format!("pvc/{}", claim_name(archive))
}

/// The claim that the receiver mounts.
pub(super) fn claim_name(archive: &Archive) -> String {
    match &archive.claim {
        Claim::Existing(name) => name.clone(),
        Claim::New { .. } => archive.id.claim(),
    }
}
