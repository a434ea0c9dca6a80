//! What a commit asks of its store, counted: it must not grow with the number of files.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use promarchive_model::{Date, WriterId};

use crate::Location;
use crate::commit::{Committed, commit};
use crate::file::{DataFilePath, Origin};
use crate::log::DeltaLog;
use crate::log::{Commit, CommitKind, DataFile, Definition, TableLog};
use crate::schema::{LabelColumns, Table};
use crate::store::{DurableLocal, Store};

const WRITER: WriterId = WriterId::from_u128(7);

/// Requests and names listed.
#[derive(Debug)]
struct Counting {
    inner: DurableLocal,
    work: Arc<AtomicU64>,
}

impl Counting {
    fn count(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
    }

    fn listed(&self, names: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count();
        let work = self.work.clone();
        let each = move |_: &Result<ObjectMeta>| {
            work.fetch_add(1, Ordering::Relaxed);
        };
        names.inspect(each).boxed()
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting store")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.count();
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.count();
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.count();
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.count();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.count();
        self.inner.copy_opts(from, to, options).await
    }
}

fn change(position: u64) -> Commit {
    let path = DataFilePath { date: Date(20_400), position, writer: WRITER, nonce: position };
    let origin = Origin::Flush { writer: WRITER, position };
    let (path, date) = (path.to_string(), path.date);
    let file = DataFile { path, size: 1, modification_time: 1, date, stats: None, origin, checksum: None };
    let kind = CommitKind::Append { writer: WRITER, position };
    Commit { kind, add: vec![file], remove: Vec::new(), time: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_asks_as_much_of_a_large_table_as_of_a_small_one() {
    let directory = tempfile::tempdir().unwrap();
    let inner = DurableLocal::new(directory.path().to_path_buf());
    let store = Arc::new(Counting { inner, work: Arc::default() });
    let archive = Store::over(Location::at(directory.path()).unwrap(), store.clone());
    let log = DeltaLog::new(archive.table(Table::SAMPLES));
    let label_columns = LabelColumns::new(vec!["job".into()]).unwrap();
    let definition = Definition { table: Table::SAMPLES, label_columns, id: 1, created: 1 };
    log.create(&definition).await.unwrap();
    let mut work = Vec::new();
    for position in 1..=100 {
        let before = store.work.load(Ordering::Relaxed);
        let landed = commit(&log, &change(position), Some(position - 1)).await.unwrap();
        assert_eq!(landed, Committed::Now { version: position, races: 0 });
        work.push(store.work.load(Ordering::Relaxed) - before);
        if position % 32 == 0 {
            log.checkpoint().await.unwrap();
        }
    }
    let snapshot = log.load().await.unwrap().unwrap();
    assert_eq!((snapshot.files().await.unwrap().len(), snapshot.transaction(WRITER).await.unwrap()), (100, Some(100)));
    // The first one has the kernel read the log. Later ones: is the last version there, what is in it, is there a next one, put.
    assert!(work[1..].iter().all(|&requests| requests <= 5), "{work:?}");
}
