//! Which component this is.

use crate::names::Component;

pub(super) const COMPONENT: Component = Component::Receiver;
