//! Where the tables go.

use promarchive_api::metrics_archive::MetricsArchiveSpec;

use super::archive::{Claim, Storage};
use super::invalid::{Invalid, invalid, is_object_name};
use crate::kubernetes::quantity;

pub(super) fn storage(spec: &MetricsArchiveSpec) -> Result<Storage, Invalid> {
    let field = "spec.storage.persistentVolume";
    let volume = spec.storage.persistent_volume.as_ref();
    let volume = volume.ok_or_else(|| invalid("spec.storage", "no storage is set: set persistentVolume"))?;
    match (&volume.size, &volume.existing_claim) {
        // It becomes a part of a path that the API server is asked for.
        (None, Some(name)) if !is_object_name(name) => Err(invalid(
            format!("{field}.existingClaim"),
            "invalid name of a claim; expected the characters a-z, 0-9, - and .",
        )),
        (None, Some(name)) => Ok(Storage::Volume(Claim::Existing(name.clone()))),
        (Some(size), None) => {
            quantity::bytes(size).ok_or_else(|| {
                invalid(format!("{field}.size"), format!("invalid size \"{size}\"; expected for example 100Gi"))
            })?;
            Ok(Storage::Volume(Claim::New {
                size: size.clone(),
                storage_class: volume.storage_class_name.clone(),
                access_mode: volume.access_mode.unwrap_or_default(),
            }))
        }
        _ => Err(invalid(field, "set exactly one of size (for a new claim) and existingClaim")),
    }
}
