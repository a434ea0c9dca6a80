//! The entries to paste, for mode Manual.

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::object::{Desired, Part, desired};
use crate::archive::validate::Archive;
use crate::kubernetes::kind::Kind;

/// The ConfigMap with the entries.
pub(super) fn snippets(archive: &Archive, inputs: &Inputs<'_>) -> Desired {
    let data: Map<String, Value> = inputs.snippets.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    desired(archive, Part::Shared, Kind::ConfigMap, archive.id.snippet(), json!({"data": data}))
}
