//! Requests to the API server whose answers are read as they come, and only as far as they are used. kube's own requests make a
//! tree of values out of the whole answer first.

use std::io::{self, BufReader, Read as _};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use futures::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use hyper::header::{ACCEPT_ENCODING, HeaderValue};
use kube::api::{Api, DynamicObject, GetParams, ListParams, Patch, PatchParams, WatchParams};
use kube::core::Request;
use kube::{Client, Error};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::kept::{Read, Reading};
use super::page::{Page, ReadingEvent, ReadingPage, Said};
use super::source::Source;

/// Answers that are read at a time. Each takes a few megabytes at most.
const AT_A_TIME: usize = 2;
/// Longest answer with one object, and longest line of a watch. An object of 3 MiB is more than etcd takes.
const LONGEST_ANSWER: u64 = 8 << 20;
/// Longest list that is read at all; it is never in memory as a whole.
const LONGEST_LIST: u64 = 4 << 30;
/// What a buffer may keep between two lines.
const KEPT_BUFFER: usize = 64 << 10;

/// Asks the API server.
#[derive(Clone)]
pub struct Requests {
    client: Client,
    turns: Arc<Semaphore>,
}

type Stream = Pin<Box<dyn AsyncBufRead + Send>>;

impl Requests {
    pub(super) fn new(client: Client) -> Self {
        Self { client, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    fn path(&self, source: Source, namespace: &str) -> Request {
        let resource = source.resource();
        let api: Api<DynamicObject> = match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        Request::new(api.resource_url())
    }

    /// One object as it is now; none if it is not there.
    pub(super) async fn get(&self, source: Source, namespace: &str, name: &str) -> kube::Result<Option<Read>> {
        let request = self.path(source, namespace).get(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        found(self.read(request, Reading(source)).await)
    }

    /// Some fields of one object as it is now; none if it is not there.
    pub async fn get_as<T: DeserializeOwned + Send + 'static>(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
    ) -> kube::Result<Option<T>> {
        let request = self.path(source, namespace).get(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        found(self.read(request, PhantomData::<T>).await)
    }

    /// Patches an object, and gives it as it is then.
    pub(super) async fn patch<P: Serialize>(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> kube::Result<Read> {
        let request = self.path(source, namespace).patch(name, params, patch).map_err(Error::BuildRequest)?;
        self.read(request, Reading(source)).await
    }

    /// Patches the status of an object.
    pub async fn patch_status<P: Serialize>(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> kube::Result<()> {
        let path = self.path(source, namespace);
        let request = path.patch_subresource("status", name, params, patch).map_err(Error::BuildRequest)?;
        self.read(request, Reading(source)).await.map(drop)
    }

    pub(super) async fn page(&self, source: Source, namespace: &str, params: &ListParams) -> kube::Result<Page> {
        let request = self.path(source, namespace).list(params).map_err(Error::BuildRequest)?;
        self.stream(request, ReadingPage(source), LONGEST_LIST).await
    }

    /// Some fields of a list of objects at `path`, longer ones of which are refused.
    pub async fn list_as<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        params: &ListParams,
        longest: u64,
    ) -> kube::Result<T> {
        let request = Request::new(path).list(params).map_err(Error::BuildRequest)?;
        self.stream(request, PhantomData::<T>, longest).await
    }

    /// What changes from a version on.
    pub(super) async fn watch(
        &self,
        source: Source,
        namespace: &str,
        params: &WatchParams,
        version: &str,
    ) -> kube::Result<Lines> {
        let mut request = self.path(source, namespace).watch(params, version).map_err(Error::BuildRequest)?;
        // A compressed stream comes in parts that are decompressed one by one, which not every client does.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let stream = Box::pin(self.client.request_stream(request).await?);
        Ok(Lines { source, stream, line: Vec::new() })
    }

    /// Reads an answer with one object.
    async fn read<S, V>(&self, request: hyper::Request<Vec<u8>>, seed: S) -> kube::Result<V>
    where
        S: for<'de> DeserializeSeed<'de, Value = V>,
    {
        let stream = self.client.request_stream(request).await?;
        // Who waits for an answer to begin keeps nobody else from reading one.
        let _turn = self.turns.acquire().await;
        let mut stream = Box::pin(stream.take(LONGEST_ANSWER));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(Error::ReadEvents)?;
        let mut json = serde_json::Deserializer::from_slice(&answer);
        seed.deserialize(&mut json).map_err(Error::SerdeError)
    }

    /// Reads a long answer while it comes, in a thread that may wait for it.
    async fn stream<S, V>(&self, request: hyper::Request<Vec<u8>>, seed: S, longest: u64) -> kube::Result<V>
    where
        S: for<'de> DeserializeSeed<'de, Value = V> + Send + 'static,
        V: Send + 'static,
    {
        let stream: Stream = Box::pin(self.client.request_stream(request).await?);
        let _turn = self.turns.acquire().await;
        let runtime = Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            let mut json =
                serde_json::Deserializer::from_reader(BufReader::new(Waiting { stream, runtime }.take(longest)));
            seed.deserialize(&mut json)
        });
        let read = reading.await.map_err(|error| Error::ReadEvents(io::Error::other(error)))?;
        read.map_err(Error::SerdeError)
    }
}

fn found<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// A stream that is waited for.
struct Waiting {
    stream: Stream,
    runtime: Handle,
}

impl io::Read for Waiting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.stream.read(into))
    }
}

/// The lines of a watch.
pub(super) struct Lines {
    source: Source,
    stream: Stream,
    line: Vec<u8>,
}

impl Lines {
    /// The next one; none when the watch has ended.
    pub(super) async fn next(&mut self) -> kube::Result<Option<Said>> {
        if self.line.capacity() > KEPT_BUFFER {
            self.line = Vec::new();
        }
        self.line.clear();
        let length = (&mut self.stream).take(LONGEST_ANSWER).read_until(b'\n', &mut self.line).await;
        if length.map_err(Error::ReadEvents)? == 0 {
            return Ok(None);
        }
        let mut json = serde_json::Deserializer::from_slice(&self.line);
        match ReadingEvent(self.source).deserialize(&mut json) {
            Ok(said) => Ok(Some(said)),
            // Cut off with the connection.
            Err(error) if error.is_eof() => Ok(None),
            Err(error) => Err(Error::SerdeError(error)),
        }
    }
}
