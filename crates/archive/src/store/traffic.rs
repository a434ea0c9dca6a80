//! What is asked of a store: what for, how it ended, how many bytes went over, and how long it took.
//!
//! One request here may be several of the network: the client of a bucket sends a request again that has failed, and asks for a long listing in
//! pages.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An object is put, whatever has its name.
    Put,
    /// An object is put if none has its name.
    PutIfAbsent,
    /// A part of a large object is put.
    PutPart,
    /// An object, or a part of it, is read.
    Get,
    /// An object is looked for.
    Head,
    /// Names are listed.
    List,
    /// An object is deleted.
    Delete,
    /// An object is copied.
    Copy,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Put, Self::PutIfAbsent, Self::PutPart, Self::Get, Self::Head, Self::List, Self::Delete, Self::Copy];

    /// A stable word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutIfAbsent => "put_if_absent",
            Self::PutPart => "put_part",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should.
    Ok,
    /// There is no such object.
    NotFound,
    /// There is an object of this name.
    Exists,
    /// The credentials do not suffice.
    Denied,
    /// In any other error, with all tries of the client.
    Failed,
    /// Who asked did not wait for the answer.
    Abandoned,
}

impl Status {
    /// A stable word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::NotFound { .. }) => Self::NotFound,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => Self::Exists,
            Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => Self::Denied,
            Err(_) => Self::Failed,
        }
    }
}

/// Who is told of each request.
pub trait Observer: Send + Sync {
    /// A request has ended. `bytes` are those of objects, there or back.
    fn request(&self, operation: Operation, status: Status, bytes: u64, took: Duration);
}

/// Another store, whose requests are told to an observer.
pub(super) struct Watched<S> {
    inner: S,
    observer: Arc<dyn Observer>,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, observer: Arc<dyn Observer>) -> Self {
        Self { inner, observer }
    }

    fn begin(&self, operation: Operation, bytes: u64) -> Running {
        Running::begin(&self.observer, operation, bytes)
    }
}

impl<S: fmt::Debug> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<S: fmt::Display> fmt::Display for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A request. It is told when this is dropped: a body or a listing may be left half read.
struct Running {
    observer: Arc<dyn Observer>,
    operation: Operation,
    status: Status,
    bytes: u64,
    since: Instant,
}

impl Running {
    fn begin(observer: &Arc<dyn Observer>, operation: Operation, bytes: u64) -> Self {
        Self { observer: observer.clone(), operation, status: Status::Abandoned, bytes, since: Instant::now() }
    }

    fn ended<T>(mut self, result: Result<T>) -> Result<T> {
        self.status = Status::of(&result);
        result
    }

    /// Takes note of a part of what the answer is read in. What was read so far is the answer, until a part fails.
    fn part<T>(&mut self, part: &Result<T>) {
        self.status = Status::of(part);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.observer.request(self.operation, self.status, self.bytes, self.since.elapsed());
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn watch_listing(
    mut running: Running,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    // An empty listing has no part.
    running.status = Status::Ok;
    listed.inspect(move |object| running.part(object)).boxed()
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Watched<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let operation = if opts.mode == PutMode::Overwrite { Operation::Put } else { Operation::PutIfAbsent };
        let running = self.begin(operation, payload.content_length() as u64);
        running.ended(self.inner.put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.begin(Operation::PutPart, 0).ended(self.inner.put_multipart_opts(location, opts).await);
        Ok(Box::new(WatchedUpload { inner: begun?, observer: self.observer.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let mut running = self.begin(if is_head { Operation::Head } else { Operation::Get }, 0);
        let found = self.inner.get_opts(location, options).await;
        running.part(&found);
        let GetResult { payload, meta, range, attributes, extensions } = found?;
        let payload = match payload {
            GetResultPayload::Stream(body) if !is_head => {
                let body = body.inspect(move |part: &Result<Bytes>| {
                    running.part(part);
                    running.bytes += part.as_ref().map_or(0, Bytes::len) as u64;
                });
                GetResultPayload::Stream(body.boxed())
            }
            // A file is read when its reader wants it, by itself.
            payload => {
                running.bytes = if is_head { 0 } else { length(&range) };
                payload
            }
        };
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (observer, since) = (self.observer.clone(), Instant::now());
        let told = move |deleted: &Result<Path>| {
            observer.request(Operation::Delete, Status::of(deleted), 0, since.elapsed());
        };
        self.inner.delete_stream(locations).inspect(told).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        watch_listing(self.begin(Operation::List, 0), self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        watch_listing(self.begin(Operation::List, 0), self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.begin(Operation::List, 0).ended(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.begin(Operation::Copy, 0).ended(self.inner.copy_opts(from, to, options).await)
    }
}

/// A large object that is put in parts.
struct WatchedUpload {
    inner: Box<dyn MultipartUpload>,
    observer: Arc<dyn Observer>,
}

impl WatchedUpload {
    fn begin(&self, bytes: u64) -> Running {
        Running::begin(&self.observer, Operation::PutPart, bytes)
    }
}

impl fmt::Debug for WatchedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let running = self.begin(data.content_length() as u64);
        self.inner.put_part(data).map(move |put| running.ended(put)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let running = self.begin(0);
        running.ended(self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        let running = self.begin(0);
        running.ended(self.inner.abort().await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<(Operation, Status, u64)>>);

    impl Observer for Notes {
        fn request(&self, operation: Operation, status: Status, bytes: u64, _took: Duration) {
            self.0.lock().unwrap().push((operation, status, bytes));
        }
    }

    impl Notes {
        fn take(&self) -> Vec<(Operation, Status, u64)> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn each_request_is_told_once_with_its_bytes() {
        use Operation::{Copy, Delete, Get, Head, List, Put, PutIfAbsent, PutPart};
        use Status::{Abandoned, Exists, NotFound, Ok};
        let notes = Arc::new(Notes::default());
        let store = Watched::new(InMemory::new(), notes.clone());
        let (a, b) = (Path::from("x/a"), Path::from("x/b"));
        store.put(&a, "12345".into()).await.unwrap();
        assert_eq!(notes.take(), [(Put, Ok, 5)]);
        for _ in 0..2 {
            drop(store.put_opts(&b, "12".into(), PutMode::Create.into()).await);
        }
        assert_eq!(notes.take(), [(PutIfAbsent, Ok, 2), (PutIfAbsent, Exists, 2)]);
        store.get_range(&a, 1..4).await.unwrap();
        store.get(&a).await.unwrap().bytes().await.unwrap();
        store.head(&a).await.unwrap();
        store.get(&Path::from("x/c")).await.unwrap_err();
        assert_eq!(notes.take(), [(Get, Ok, 3), (Get, Ok, 5), (Head, Ok, 0), (Get, NotFound, 0)]);
        store.list(None).try_collect::<Vec<_>>().await.unwrap();
        store.list(None).try_next().await.unwrap();
        store.list_with_offset(None, &a).try_collect::<Vec<_>>().await.unwrap();
        store.list_with_delimiter(None).await.unwrap();
        assert_eq!(notes.take(), [(List, Ok, 0); 4]);
        let mut upload = store.put_multipart(&a).await.unwrap();
        upload.put_part("123".into()).await.unwrap();
        drop(upload.put_part("1234".into()));
        upload.complete().await.unwrap();
        let of_parts = [(PutPart, Ok, 0), (PutPart, Ok, 3), (PutPart, Abandoned, 4), (PutPart, Ok, 0)];
        assert_eq!(notes.take(), of_parts);
        store.copy(&a, &b).await.unwrap();
        store.delete(&a).await.unwrap();
        assert_eq!(notes.take(), [(Copy, Ok, 0), (Delete, Ok, 0)]);
    }

    #[tokio::test]
    async fn the_parts_of_a_directory_are_told_when_they_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Arc::new(Notes::default());
        let store = Watched::new(crate::store::DurableLocal::new(directory.path().to_path_buf()), notes.clone());
        let place = Path::from_absolute_path(directory.path().join("a")).unwrap();
        store.put(&place, "12345".into()).await.unwrap();
        store.get_range(&place, 1..4).await.unwrap();
        assert_eq!(notes.take(), [(Operation::Put, Status::Ok, 5), (Operation::Get, Status::Ok, 3)]);
    }
}
