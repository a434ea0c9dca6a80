//! From a valid archive to the objects that it needs. Pure: the same input gives the same bytes.

mod claim;
mod inputs;
mod object;
mod receiver;
mod snippets;

pub use claim::store;
pub use inputs::{Inputs, ReceiverDefaults};
pub use object::Desired;
pub use receiver::leads_to_receiver;

use crate::archive::validate::{Archive, Claim, Storage};

/// All objects of `archive` in its own namespace but the Secret, as far as they may be made, in the order in which they are applied.
pub fn build(archive: &Archive, inputs: &Inputs<'_>) -> Vec<Desired> {
    let mut objects = Vec::new();
    match &archive.storage {
        Storage::Volume(Claim::New { .. }) if inputs.may_mount => objects.push(claim::claim(archive, inputs)),
        Storage::Volume(_) => {}
    }
    objects.extend(receiver::objects(archive, inputs));
    if !inputs.snippets.is_empty() {
        objects.push(snippets::snippets(archive, inputs));
    }
    objects.sort_by_key(|object| object.kind);
    objects
}

#[cfg(test)]
mod tests;
