//! The entry in `spec.remoteWrite` of a Prometheus: what it says, and how it comes in, changes and goes out.
//!
//! **What a Prometheus does with an entry** (`storage/remote/write.go`, `queue_manager.go`, `tsdb/wlog/watcher.go`). It
//! hashes each entry with all its fields, the name too. A hash that it has not seen is a new queue, which sends samples whose
//! timestamp is later than the moment at which the queue started, and nothing else; what is older in the WAL is never sent by it.
//! A hash that is gone stops its queue: what the queue has read from the WAL is flushed, for one minute at most; what it
//! has not read is abandoned. The contents of Secrets are not in the hash: a queue goes on with the new token or certificate.
//!
//! **So an entry is never changed. It is made before break:**
//!
//! 1. An entry is a function of the archive, its settings and the Prometheus. Its name ends in the hash of its
//!    fields (`promarchive/<namespace>/<archive>/<hash>`), so other settings are another name, beside the first one.
//! 2. The wanted entry is added at the end of the list; those of ours that are there stay. Both deliver: what both have is
//!    the same sample, and the receiver keeps one.
//! 3. An older one goes out when each pod has delivered with both of them past the start of the new one
//!    ([`crate::senders::delivery::may_retire`]). Until then it alone has the samples from before that start.
//! 4. Tokens and certificates change by the contents of the Secret, never by an entry.
//! 5. No release of ours changes the fields of an existing entry: URL, port, keys and order of construction are fixed by
//!    a test. If it did, the rules above would still hold; it would cost every sender a second queue for a while.
//!
//! **Others.** The list has no keys, so it is patched by position under the resource version that was read (`patch`).
//! Entries that are not ours are never changed, moved or removed. If one of them sends to our Service already, none is added: its samples would come
//! twice. An entry is ours if its name is exactly one that we would give for this archive; a copy under another name is its maker's.
//!
//! An entry of ours that somebody changed is set right in place: two of one name would stop Prometheus from loading anything.
//! Their change has already made a queue that started at its now, so setting it right can lose what that one had not read: the
//! one case in which an entry changes, and it is not of our making.

mod capabilities;
mod equality;
mod patch;
mod plan;
mod refusal;
mod snippet;
mod wanted;

pub use capabilities::{Capabilities, Version};
pub use patch::json_patch;
pub use plan::{Operation, Plan, State, broken, is_sent_to, names, orphans, plan};
pub use refusal::RefusedSettings;
pub use snippet::snippet;
pub use wanted::{Entry, Note};
