//! From what somebody wrote to what can be built. Pure; whatever passes here cannot fail later for its form.
//!
//! The schema refuses most of this earlier, but an object may have been stored under an older one.

mod archive;
mod invalid;
mod receiver;
mod receiver_pod;
mod selection;
mod storage;

pub use archive::{Archive, Claim, Receiver, Selection, Storage, Target};
pub use invalid::Invalid;
use invalid::invalid;
use promarchive_api::metrics_archive::MetricsArchive;
pub use receiver_pod::ReceiverPod;

use crate::names::{ArchiveName, ROTATE_CERTIFICATES, ROTATE_TOKENS, short_hash};

const LONGEST_NAME: usize = 52;

/// Checks all of `archive`.
pub fn validate(archive: &MetricsArchive) -> Result<Archive, Invalid> {
    let meta = &archive.metadata;
    let id = ArchiveName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    if !id.is_valid() {
        return Err(invalid(
            "metadata.name",
            format!(
                "must have at most {LONGEST_NAME} characters (a-z, 0-9 and -) and start with a letter: create an \
                 archive with another name"
            ),
        ));
    }
    let spec = &archive.spec;
    let storage = storage::storage(spec)?;
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
    // Of whatever length: it is kept in Secrets of other namespaces.
    let request = |name: &str| annotation(name).map(|text| short_hash(text.as_bytes())).unwrap_or_default();
    Ok(Archive {
        receiver: receiver::receiver(spec, &storage)?,
        storage,
        selections: selection::selections(spec, &id.namespace)?,
        deletion_policy: spec.deletion_policy,
        rotation: request(ROTATE_TOKENS),
        new_authority: request(ROTATE_CERTIFICATES),
        uid: meta.uid.clone().unwrap_or_default(),
        id,
    })
}

#[cfg(test)]
mod tests;
