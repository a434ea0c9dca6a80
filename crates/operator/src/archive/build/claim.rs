//! The claim of the volume.

#![allow(clippy::indexing_slicing, reason = "by name, into JSON objects that are made right here")]

use serde_json::json;

use super::inputs::Inputs;
use super::object::{Desired, Part, desired};
use crate::archive::validate::{Archive, Claim, Storage};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::quantity;
use crate::names::ARCHIVE_UID;

pub(super) fn claim(archive: &Archive, inputs: &Inputs<'_>) -> Desired {
    let Storage::Volume(Claim::New { size, storage_class, access_mode }) = &archive.storage else {
        return desired(archive, Part::Shared, Kind::PersistentVolumeClaim, archive.id.claim(), json!({}));
    };
    let mut spec = json!({
        "accessModes": [access_mode.as_str()],
        "resources": {"requests": {"storage": larger(size, inputs.claim_size)}},
    });
    if let Some(class) = storage_class {
        spec["storageClassName"] = json!(class);
    }
    let mut claim =
        desired(archive, Part::Shared, Kind::PersistentVolumeClaim, archive.id.claim(), json!({"spec": spec}));
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
    match &archive.storage {
        Storage::Volume(claim) => format!("pvc/{}", claim.name(&archive.id)),
    }
}
