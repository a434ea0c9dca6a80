//! Objects that a probe puts, and removes when it ends.
//!
//! They stand among the control records, in a directory of their own with a random name, so that probes do not meet. A probe that is killed leaves
//! them there; nobody reads them.

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error, PutMode, PutOptions, PutPayload};
use promarchive_model::environment::Entropy;

use super::verdict::{Contest, Found, Order, Outcome, Verdict, judge};
use super::{Effort, ProbeError, Store};
use crate::control::CONTROL_DIRECTORY;
use crate::log::LogError;
use crate::store::{Root, diagnosis};

/// The directory of such objects, beside those of the kinds of control records.
pub const SCRATCH_DIRECTORY: &str = "scratch";
/// Longer than any of them.
const LONGEST: u64 = 4096;
/// A contest without a winner is held again so often.
const TRIES: u32 = 3;

/// A place for objects of one probe.
#[derive(Debug)]
pub(super) struct Scratch {
    root: Root,
    /// Its name below the root.
    directory: String,
    /// What may be there.
    put: Vec<Path>,
}

impl Scratch {
    pub(super) fn new(store: &Store, entropy: &dyn Entropy) -> Self {
        let directory = format!("{SCRATCH_DIRECTORY}/{:032x}", entropy.next_u128());
        Self { root: store.root_of(CONTROL_DIRECTORY), directory, put: Vec::new() }
    }

    pub(super) fn store(&self) -> &Store {
        self.root.store()
    }

    /// The directory below its root.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// A new name for an object, below the root. It is removed in the end.
    pub(super) fn name(&mut self, name: &str) -> String {
        let name = format!("{}/{name}", self.directory);
        self.put.push(self.root.place(&name));
        name
    }

    /// One writer after the other puts one name.
    pub(super) async fn in_turn(&mut self) -> Result<(), ProbeError> {
        self.contest("in-turn", 2, Order::InTurn).await
    }

    /// Many writers put one name at the same time, round after round.
    pub(super) async fn at_once(&mut self, effort: Effort) -> Result<(), ProbeError> {
        for round in 1..=effort.rounds {
            self.contest(&format!("at-once-{round}"), effort.contenders, Order::AtOnce).await?;
        }
        Ok(())
    }

    async fn contest(&mut self, what: &str, contenders: u32, order: Order) -> Result<(), ProbeError> {
        let mut cause = None;
        for attempt in 1..=TRIES {
            let name = self.name(&format!("{what}-{attempt}"));
            match judge(&self.hold(&name, contenders, order).await?) {
                Verdict::Holds => return Ok(()),
                Verdict::Fails(weakness) => {
                    return Err(ProbeError::Weak { store: self.store().whereabouts(), weakness });
                }
                Verdict::Open(failed) => cause = failed,
            }
        }
        let cause = cause.unwrap_or_else(|| format!("nobody could put an object, in {TRIES} tries"));
        Err(LogError::Store { place: self.root.name_of(&self.directory), cause }.into())
    }

    async fn hold(&self, name: &str, contenders: u32, order: Order) -> Result<Contest, LogError> {
        let object = |contender| Bytes::from(format!("promarchive probe {name} contender {contender}\n"));
        let objects: Vec<Bytes> = (0..contenders).map(object).collect();
        let mut outcomes = Vec::with_capacity(objects.len());
        match order {
            Order::InTurn => {
                for object in &objects {
                    outcomes.push(self.put_if_absent(name, object).await);
                }
            }
            Order::AtOnce => outcomes = join_all(objects.iter().map(|object| self.put_if_absent(name, object))).await,
        }
        let nobody_won = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Unsupported(_)));
        let found = match self.root.read_at_most(name, LONGEST).await {
            Ok(None) => Found::Nothing,
            Ok(Some(read)) => objects.iter().position(|object| *object == read).map_or(Found::Foreign, Found::Of),
            Err(LogError::Refused { .. }) => Found::Foreign,
            // Why a put has failed says more than that nothing can be read.
            Err(LogError::Store { .. }) if nobody_won => Found::Nothing,
            Err(error) => return Err(error),
        };
        Ok(Contest { order, outcomes, found })
    }

    async fn put_if_absent(&self, name: &str, object: &Bytes) -> Outcome {
        let (path, payload) = (self.root.place(name), PutPayload::from(object.clone()));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store().objects().put_opts(&path, payload, options).await {
            Ok(_) => Outcome::Won,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Outcome::Lost,
            Err(error) => {
                let told = diagnosis::told(&error);
                let unknown = matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. });
                // Servers that know no condition answer so (501).
                if unknown || told.contains("NotImplemented") {
                    Outcome::Unsupported(told)
                } else {
                    Outcome::Failed(told)
                }
            }
        }
    }

    /// Removes all that was put. What cannot be removed does no harm.
    pub(super) async fn clear(self) {
        if let Err(error) = self.remove().await {
            tracing::warn!(error, "objects of a probe are left in {}", self.root.name_of(&self.directory));
        }
    }

    /// The same; why not all of them could be removed.
    pub(super) async fn remove(&self) -> Result<(), String> {
        let names = stream::iter(self.put.clone().into_iter().map(Ok)).boxed();
        let removed: Vec<_> = self.store().objects().delete_stream(names).collect().await;
        let failed = removed.into_iter().filter_map(Result::err).find(|error| !matches!(error, Error::NotFound { .. }));
        failed.map_or(Ok(()), |error| Err(diagnosis::told(&error)))
    }
}
