//! Local copies of what the operator looks at, each kept up to date by a watch of its own.
//!
//! A kind that is not installed, or a watch that fails, stalls no other: every watch has its own back-off. Kinds that
//! come with the Prometheus Operator are watched from the moment on when their definition is established.
//!
//! **What tenants make cannot fill the memory.** Of each object a *record* is kept: the part of its metadata that is used, at most
//! some kilobytes. Its content is kept as text if it is short and all texts together are not too long; otherwise it is read from the API
//! server whenever it is needed. Answers are never in memory as a whole but for single objects, and of these a few at a time.
//!
//! | module | what |
//! |---|---|
//! | `source` | what is watched |
//! | `copied`, `copy` | JSON to JSON, only what a rule names |
//! | `metadata`, `kept` | what is kept of an object of each kind |
//! | `requests` | answers, read as they come |
//! | `caches` | all copies, and reading them |
//! | `follow` | starts the watches; one kind: list, then watch |

mod caches;
mod changed;
mod copied;
mod copy;
mod follow;
mod kept;
mod metadata;
mod page;
mod requests;
mod source;

pub(crate) use caches::{Caches, ReadError};
pub(crate) use changed::{Changed, Mentions};
pub(crate) use kept::TooLong;
pub(crate) use metadata::owners;
pub(crate) use source::Source;
