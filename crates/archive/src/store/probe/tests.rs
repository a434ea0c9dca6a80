//! Probes of stores in memory, each with a flaw of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use promarchive_model::environment::SeededEntropy;

use super::*;
use crate::Location;

/// What a store does with a put of a name that must be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The condition is ignored.
    Overwrites,
    /// It is looked at first, and written later.
    Races,
    /// The put lands, and no answer comes.
    LosesAnswers,
    /// The put lands, and the answer is that of a second try: there is one already.
    BlamesItself,
    /// Who has lost is told so, and has overwritten all the same.
    Replaces,
    /// Success is told, and nothing is there.
    Forgets,
    /// There is no such put.
    Lacks(Told),
    /// So many puts fail before anything has happened, and then it works.
    FailsFirst(u32),
    /// One put fails, the next one succeeds, and then the store is away.
    GoesAway,
}

/// How a store says that it knows no condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    InTheClient,
    OnTheServer,
}

#[derive(Debug)]
struct Flawed {
    inner: InMemory,
    flaw: Flaw,
    puts: AtomicU32,
    gets: AtomicU32,
}

fn flawed(flaw: Flaw) -> (Arc<Flawed>, Store) {
    let objects = Arc::new(Flawed { inner: InMemory::new(), flaw, puts: AtomicU32::new(0), gets: AtomicU32::new(0) });
    let store = Store::over(Location::in_memory().unwrap(), objects.clone());
    (objects, store)
}

fn cut() -> Error {
    Error::Generic { store: "flawed", source: "the connection was cut".into() }
}

fn taken(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "412".into() }
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.flaw)
    }
}

#[async_trait]
impl ObjectStore for Flawed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let before = self.puts.fetch_add(1, Ordering::SeqCst);
        let put = || self.inner.put(location, payload.clone());
        if opts.mode != PutMode::Create {
            return put().await;
        }
        let put_if_absent = || self.inner.put_opts(location, payload.clone(), opts.clone());
        let is_taken = self.inner.head(location).await.is_ok();
        match self.flaw {
            Flaw::None => put_if_absent().await,
            Flaw::Overwrites => put().await,
            Flaw::Races if is_taken => Err(taken(location)),
            Flaw::Races => {
                tokio::task::yield_now().await;
                put().await
            }
            Flaw::LosesAnswers => put_if_absent().await.and(Err(cut())),
            Flaw::BlamesItself => put_if_absent().await.and(Err(taken(location))),
            Flaw::Replaces if is_taken => put().await.and(Err(taken(location))),
            Flaw::Replaces => put().await,
            Flaw::Forgets => Ok(PutResult { e_tag: None, version: None, extensions: Default::default() }),
            Flaw::Lacks(Told::InTheClient) => {
                Err(Error::NotImplemented { operation: "put".into(), implementer: "flawed".into() })
            }
            Flaw::Lacks(Told::OnTheServer) => {
                Err(Error::Generic { store: "flawed", source: "501: <Code>NotImplemented</Code>".into() })
            }
            Flaw::FailsFirst(puts) if before < puts => Err(cut()),
            Flaw::GoesAway if before == 0 => Err(cut()),
            Flaw::FailsFirst(_) | Flaw::GoesAway => put_if_absent().await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        if self.flaw == Flaw::GoesAway && !options.head {
            return Err(cut());
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn probe(flaw: Flaw) -> std::result::Result<(), ProbeError> {
    let (objects, store) = flawed(flaw);
    let proved = prove(&store, Effort::FULL, &SeededEntropy::new(1)).await;
    assert_eq!(objects.inner.list(None).count().await, 0, "{flaw:?}: what was put is removed");
    proved
}

#[tokio::test]
async fn a_store_that_holds_is_believed_at_a_known_cost() {
    for effort in [Effort::FULL, Effort::SHORT] {
        let (objects, store) = flawed(Flaw::None);
        prove(&store, effort, &SeededEntropy::new(1)).await.unwrap();
        assert_eq!(objects.puts.load(Ordering::SeqCst), effort.puts());
        assert_eq!(objects.gets.load(Ordering::SeqCst), effort.reads());
    }
    assert_eq!((Effort::FULL.puts(), Effort::FULL.reads()), (322, 11));
}

#[tokio::test]
async fn puts_that_fail_and_answers_that_tell_of_ones_own_put_are_no_weakness() {
    for flaw in [Flaw::BlamesItself, Flaw::FailsFirst(1), Flaw::FailsFirst(3)] {
        probe(flaw).await.unwrap_or_else(|error| panic!("{flaw:?}: {error}"));
    }
}

#[tokio::test]
async fn a_store_whose_condition_does_not_hold_is_refused_by_name() {
    for (flaw, wants) in [
        (Flaw::Overwrites, "ignores the condition"),
        (Flaw::Races, "32 of 32 writers"),
        (Flaw::Replaces, "was put by another one"),
        (Flaw::Forgets, "there is nothing to read"),
        (Flaw::Lacks(Told::InTheClient), "has no put that succeeds only if"),
        (Flaw::Lacks(Told::OnTheServer), "has no put that succeeds only if"),
    ] {
        let error = probe(flaw).await.unwrap_err();
        assert!(matches!(error, ProbeError::Weak { .. }) && !error.is_retryable(), "{flaw:?}: {error}");
        let error = error.to_string();
        assert!(error.contains(wants) && error.contains("memory:///"), "{flaw:?}: {error}");
    }
}

#[tokio::test]
async fn a_race_is_found_though_the_store_holds_in_turn() {
    let (_, store) = flawed(Flaw::Races);
    let checks = examine(&store, Effort::SHORT, &SeededEntropy::new(1)).await;
    let failed: Vec<&str> = checks.iter().filter(|check| check.result.is_err()).map(|check| check.name).collect();
    assert_eq!(failed, ["conditional-put-race"], "{checks:?}");
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_again_later() {
    for flaw in [Flaw::FailsFirst(u32::MAX), Flaw::LosesAnswers, Flaw::GoesAway] {
        let error = probe(flaw).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("the connection was cut"), "{flaw:?}: {error}");
    }
}

#[tokio::test]
async fn all_that_an_archive_needs_is_tried() {
    let (objects, store) = flawed(Flaw::None);
    let checks = examine(&store, Effort::FULL, &SeededEntropy::new(1)).await;
    let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
    assert_eq!(names, ["put", "range", "list", "replace", "conditional-put", "conditional-put-race", "delete"]);
    assert!(checks.iter().all(|check| check.result.is_ok()), "{checks:?}");
    assert_eq!(objects.inner.list(None).count().await, 0, "what was put is removed");
}
