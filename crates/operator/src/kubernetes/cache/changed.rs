//! What is told of an object that was seen or has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::api::DynamicObject;

use super::source::Source;
use crate::names::ArchiveName;

/// An object was seen or has changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What kind of thing it is to us.
    pub source: Source,
    /// Its record as it is now; as it was, if it is gone.
    pub object: Arc<DynamicObject>,
    /// Whether it is gone.
    pub gone: bool,
    /// Archives that have an entry or a key in it, or had before the change.
    pub mentions: Mentions,
}

/// Archives that an object mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mentions {
    /// These, and no others.
    Only(BTreeSet<ArchiveName>),
    /// More than are noted of one object.
    TooMany,
}
