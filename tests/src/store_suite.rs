//! What an archive needs of a store, tried on a store: one suite for all of them, in memory, in a directory, and on real servers.
//!
//! It puts its objects into a directory of the archive that nothing else uses. The Delta kernel lists with an offset and expects names in order,
//! so that is tried as the kernel does it.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutResult};
use promarchive_archive::control::{Proved, Records};
use promarchive_archive::log::Put;
use promarchive_archive::store::probe::{Effort, examine, prove};
use promarchive_archive::store::{Root, Store};
use promarchive_model::environment::SystemEntropy;

/// More than a page of a listing has.
const MANY: usize = 1_100;
/// Requests at a time.
const AT_ONCE: usize = 16;

/// Tries everything.
///
/// # Panics
/// If the store does something else than it must.
pub async fn try_all(store: &Store) {
    let root = store.root_of("suite");
    objects_are_what_was_put(store, &root).await;
    parts_are_read(store, &root).await;
    what_is_not_there_is_told_so(store, &root).await;
    a_name_is_put_once(store, &root).await;
    listings_are_whole_and_in_order(store, &root).await;
    directories_are_listed_by_name(&root).await;
    records_are_put_once(store).await;
    prove(store, Effort::FULL, &SystemEntropy).await.unwrap();
    let checks = examine(store, Effort::SHORT, &SystemEntropy).await;
    assert!(checks.len() == 7 && checks.iter().all(|check| check.result.is_ok()), "{checks:?}");
}

async fn read(store: &Store, path: &Path) -> Bytes {
    store.objects().get(path).await.unwrap().bytes().await.unwrap()
}

async fn objects_are_what_was_put(store: &Store, root: &Root) {
    // The largest file of a flush has some more than this.
    let large: Vec<u8> = (0..33_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for content in [Bytes::new(), Bytes::from_static(b"\0\r\n\xff"), Bytes::from(large)] {
        let path = root.place("date=2026-11-30/object.parquet");
        store.objects().put(&path, content.clone().into()).await.unwrap();
        assert!(read(store, &path).await == content, "{} bytes", content.len());
        let found = store.objects().head(&path).await.unwrap();
        assert_eq!((found.size, found.location), (content.len() as u64, path));
    }
}

async fn parts_are_read(store: &Store, root: &Root) {
    let path = root.place("parts");
    store.objects().put(&path, "0123456789".into()).await.unwrap();
    for (range, wants) in [
        (GetRange::Bounded(0..1), "0"),
        (GetRange::Bounded(3..7), "3456"),
        (GetRange::Bounded(8..100), "89"),
        (GetRange::Offset(7), "789"),
        (GetRange::Suffix(2), "89"),
    ] {
        let options = GetOptions::new().with_range(Some(range.clone()));
        let read = store.objects().get_opts(&path, options).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, wants, "{range:?}");
    }
    assert!(store.objects().get_range(&path, 20..30).await.is_err(), "it ends before");
}

async fn what_is_not_there_is_told_so(store: &Store, root: &Root) {
    let path = root.place("missing/object");
    let is_missing = |error: &Error| matches!(error, Error::NotFound { .. });
    assert!(is_missing(&store.objects().get(&path).await.unwrap_err()));
    assert!(is_missing(&store.objects().head(&path).await.unwrap_err()));
    assert_eq!(root.read_at_most("missing/object", 1).await.unwrap(), None);
    assert_eq!(store.objects().list(Some(&root.place("missing"))).count().await, 0);
    store.objects().put(&path, "x".into()).await.unwrap();
    store.objects().delete(&path).await.unwrap();
    assert!(is_missing(&store.objects().get(&path).await.unwrap_err()));
}

async fn put_if_absent(store: &Store, path: &Path, content: &'static str) -> object_store::Result<PutResult> {
    store.objects().put_opts(path, content.into(), PutMode::Create.into()).await
}

async fn a_name_is_put_once(store: &Store, root: &Root) {
    let path = root.place("once");
    put_if_absent(store, &path, "first").await.unwrap();
    for content in ["second", "first"] {
        let refused = put_if_absent(store, &path, content).await.unwrap_err();
        assert!(matches!(refused, Error::AlreadyExists { .. } | Error::Precondition { .. }), "{refused}");
    }
    assert_eq!(read(store, &path).await, "first");
    store.objects().put(&path, "replaced".into()).await.unwrap();
    assert_eq!(read(store, &path).await, "replaced");
    store.objects().delete(&path).await.unwrap();
    put_if_absent(store, &path, "again").await.unwrap();
}

async fn listings_are_whole_and_in_order(store: &Store, root: &Root) {
    let name = |version: usize| root.place(&format!("log/{version:020}.json"));
    let puts = (0..MANY).map(|version| async move { store.objects().put(&name(version), "{}".into()).await });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await.unwrap();
    let all: Vec<Path> = (0..MANY).map(name).collect();
    let listed =
        |found: Vec<object_store::ObjectMeta>| found.into_iter().map(|object| object.location).collect::<Vec<_>>();
    let directory = root.place("log");
    let mut found = listed(store.objects().list(Some(&directory)).try_collect().await.unwrap());
    // The kernel sorts what a directory lists, and nothing else.
    assert!(store.location().directory().is_some() || found.is_sorted(), "names come in order");
    found.sort_unstable();
    assert_eq!(found, all);
    let after = store.objects().list_with_offset(Some(&directory), &name(MANY - 3)).try_collect().await.unwrap();
    let mut after = listed(after);
    after.sort_unstable();
    assert_eq!(after, all[MANY - 2..]);
    let removed = store.objects().delete_stream(stream::iter(all.into_iter().map(Ok)).boxed());
    assert_eq!(removed.try_collect::<Vec<_>>().await.unwrap().len(), MANY);
    assert_eq!(store.objects().list(Some(&directory)).count().await, 0);
}

async fn directories_are_listed_by_name(root: &Root) {
    for name in ["days/date=2026-11-29/a", "days/date=2026-11-30/b", "days/c"] {
        root.put(name, "x".into()).await.unwrap();
    }
    let listed = root.store().objects().list_with_delimiter(Some(&root.place("days"))).await.unwrap();
    let last = |path: &Path| path.filename().unwrap().to_owned();
    let mut directories: Vec<String> = listed.common_prefixes.iter().map(last).collect();
    directories.sort_unstable();
    assert_eq!(directories, ["date=2026-11-29", "date=2026-11-30"]);
    assert_eq!(listed.objects.iter().map(|object| last(&object.location)).collect::<Vec<_>>(), ["c"]);
}

async fn records_are_put_once(store: &Store) {
    let records = Records::<Proved>::about(store, "suite");
    let proved = |version: &str| Proved { store: "x".into(), rounds: 1, contenders: 2, version: version.into() };
    assert_eq!(records.put(1, 5, proved("a")).await.unwrap(), Put::Done);
    // The same again is the same record: its answer may have got lost.
    assert_eq!(records.put(1, 5, proved("a")).await.unwrap(), Put::Done);
    assert_eq!(records.put(1, 5, proved("b")).await.unwrap(), Put::Taken);
    assert_eq!(records.put(2, 6, proved("b")).await.unwrap(), Put::Done);
    records.trim(2).await.unwrap();
    let newest = records.newest().await.unwrap().unwrap();
    assert_eq!((newest.number, newest.record), (2, proved("b")));
}
