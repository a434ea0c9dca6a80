//! One file a subcommand.

pub(crate) mod inspect;
pub(crate) mod output;
pub(crate) mod verify;
