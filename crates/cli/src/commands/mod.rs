//! One file a command: arguments in, work by the pipeline, answer out.

pub(crate) mod check_store;
pub(crate) mod flush;
pub(crate) mod inspect;
pub(crate) mod output;
pub(crate) mod receive;
pub(crate) mod upgrade;
pub(crate) mod verify;
