//! A directory as an object store on which what was put is durable.
//!
//! `LocalFileSystem::with_fsync` syncs a file and the directory it stands in, but not the directories that it makes on the way: a new
//! `date=…` could vanish in a power cut with the files in it. This wrapper makes and syncs them first.
//!
//! What others put into the directory must not hold up who reads it: only plain files are opened (a link may lead to one), since opening
//! a named pipe waits for somebody to write into it. Nor must it lead what is written out of the archive: the directories of a table must
//! not be links.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rustix::fs::OFlags;

use crate::log::bounds;

/// In errors.
const STORE: &str = "local file system";

/// The local file system, addressed by absolute paths, with everything synced before a put returns.
#[derive(Debug)]
pub struct DurableLocal {
    inner: LocalFileSystem,
    /// Directories known to be durable.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Default for DurableLocal {
    fn default() -> Self {
        Self { inner: LocalFileSystem::new().with_fsync(true), known: Arc::default() }
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local file system, synced")
    }
}

fn refused(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: STORE, source: fault.into() }
}

/// Opens an object. Without NONBLOCK a named pipe would hold up the caller until somebody writes into it.
fn open(location: Path, path: PathBuf, options: &GetOptions) -> Result<GetResult> {
    let failed = |error: io::Error| {
        let path = path.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                object_store::Error::NotFound { path, source: error.into() }
            }
            _ => refused(format!("{path}: {error}")),
        }
    };
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(|e| refused(Box::new(e)))?;
    let opened = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path);
    // A socket cannot be opened at all.
    let file = opened.map_err(|error| if is_special(&path) { special() } else { failed(error) })?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "it is a directory")));
    }
    if !metadata.is_file() {
        return Err(special());
    }
    let meta = ObjectMeta {
        location,
        last_modified: metadata.modified().map_err(failed)?.into(),
        size: metadata.len(),
        // What an object is replaced by has another inode.
        e_tag: Some(format!("{:x}-{:x}-{:x}", metadata.ino(), metadata.mtime_nsec(), metadata.len())),
        version: None,
    };
    options.check_preconditions(&meta)?;
    let range = options.range.as_ref().map_or(Ok(0..meta.size), |range| range.as_range(meta.size));
    let range = range.map_err(|e| refused(Box::new(e)))?;
    let payload = GetResultPayload::File(file, path);
    Ok(GetResult { payload, meta, range, attributes: Attributes::default(), extensions: Default::default() })
}

fn is_special(path: &FsPath) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn special() -> object_store::Error {
    refused("it is a pipe, a socket or a device, and no plain file: find out who made it, then remove it")
}

/// Whether it is an object of a table's log that readers take into memory whole.
fn is_text_of_log(location: &Path) -> bool {
    let of_log = location.parts().rev().nth(1).is_some_and(|directory| directory.as_ref() == "_delta_log");
    of_log && location.extension() != Some("parquet")
}

/// A commit that is no larger and no deeper than readers can bear.
async fn within_bounds(found: GetResult) -> Result<GetResult> {
    if found.meta.size > bounds::MOST_BYTES {
        return Err(refused(format!("it has {} bytes, more than {}", found.meta.size, bounds::MOST_BYTES)));
    }
    let GetResult { meta, range, attributes, extensions, .. } = &found;
    let (meta, range, attributes, extensions) = (meta.clone(), range.clone(), attributes.clone(), extensions.clone());
    let bytes = found.bytes().await?;
    match bounds::fault(&bytes) {
        Some(fault) => Err(refused(fault)),
        None => {
            let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
            Ok(GetResult { payload, meta, range, attributes, extensions })
        }
    }
}

/// An error if a directory of the table that the object stands in is a link: it would be written elsewhere.
fn check_no_link(file: &FsPath) -> io::Result<()> {
    for directory in file.ancestors().skip(1).take(2) {
        if directory.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            let fault = "is a symbolic link, and promarchive writes only into directories of the archive";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} {fault}", directory.display())));
        }
    }
    Ok(())
}

/// Makes durable which names a directory holds. Anything else in its place is an error: a named pipe would hold up who opens it as a file.
pub(crate) fn sync_directory(directory: &FsPath) -> io::Result<()> {
    let flags = i32::try_from(OFlags::DIRECTORY.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(directory)?.sync_all()
}

/// Permissions of new directories, of which the process's umask takes some away.
pub const DIRECTORY: u32 = 0o777;

/// Makes a directory with these permissions and its missing ancestors; each new one is synced into its parent.
fn create_dir_durably(directory: &FsPath, mode: u32) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir_durably(parent, DIRECTORY)?;
        match DirBuilder::new().mode(mode).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Err(_) if !directory.is_dir() => {
                let fault = "it is no directory, or a link that leads to none";
                return Err(io::Error::new(io::ErrorKind::NotADirectory, fault));
            }
            _ => sync_directory(parent)?,
        }
    } else {
        DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    }
    Ok(())
}

/// Makes a directory that everything else rests on, and syncs its entry and those of all directories above it, up to the mount point: an
/// earlier process may have made them and been killed, or seen the sync fail. A directory that is there keeps its permissions; a new one
/// gets `mode`, less what the process's umask takes away.
pub fn create_root_durably(directory: &FsPath, mode: u32) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    create_dir_durably(&directory, mode)?;
    let device = fs::metadata(&directory)?.dev();
    for parent in directory.ancestors().skip(1) {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match sync_directory(parent) {
            // One that only others may list, they have made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

impl DurableLocal {
    async fn prepare(&self, location: &Path) -> Result<()> {
        let file = self.inner.path_to_filesystem(location)?;
        let Some(parent) = file.parent().map(FsPath::to_path_buf) else { return Ok(()) };
        let known = self.known.clone();
        let made = tokio::task::spawn_blocking(move || {
            check_no_link(&file)?;
            if !known.lock().unwrap_or_else(PoisonError::into_inner).contains(&parent) || !parent.is_dir() {
                create_dir_durably(&parent, DIRECTORY)?;
                // Made by an earlier process that was killed before it synced: sync once all the same.
                if let Some(above) = parent.parent() {
                    sync_directory(above)?;
                }
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(parent);
            }
            io::Result::Ok(())
        })
        .await;
        made.map_err(io::Error::other).and_then(|made| made).map_err(refused)
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.prepare(location).await?;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.prepare(location).await?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (place, file) = (location.clone(), self.inner.path_to_filesystem(location)?);
        let is_read_whole = !options.head && options.range.is_none();
        let opened = tokio::task::spawn_blocking(move || open(place, file, &options)).await;
        let found = opened.map_err(|e| refused(Box::new(e)))??;
        if is_read_whole && is_text_of_log(location) { within_bounds(found).await } else { Ok(found) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.prepare(to).await?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use object_store::ObjectStoreExt;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_is_no_plain_file_is_refused_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        let at = |name: &str| directory.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        for name in ["pipe", "link", "device"] {
            let location = Path::from_absolute_path(at(name)).unwrap();
            let error = store.get(&location).await.unwrap_err().to_string();
            assert!(error.contains("no plain file") && error.contains("remove it"), "{name}: {error}");
            assert!(store.get_range(&location, 0..1).await.is_err() && store.head(&location).await.is_err(), "{name}");
        }
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("second")).unwrap();
        for name in ["file", "second"] {
            let location = Path::from_absolute_path(at(name)).unwrap();
            assert_eq!(store.get(&location).await.unwrap().bytes().await.unwrap().as_ref(), b"x");
        }
        let missing = Path::from_absolute_path(at("missing")).unwrap();
        assert!(matches!(store.get(&missing).await, Err(object_store::Error::NotFound { .. })));
    }

    #[test]
    fn a_pipe_in_the_place_of_a_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(sync_directory(&pipe).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        sync_directory(directory.path()).unwrap();
    }

    #[tokio::test]
    async fn a_commit_that_would_take_too_much_memory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("_delta_log");
        fs::create_dir(&log).unwrap();
        let read = async |name: &str| {
            let location = Path::from_absolute_path(log.join(name)).unwrap();
            DurableLocal::default().get(&location).await.map(|found| found.meta.size).map_err(|e| e.to_string())
        };
        fs::write(log.join("0.json"), "{}\n").unwrap();
        assert_eq!(read("0.json").await, Ok(3));
        fs::write(log.join("1.json"), "[".repeat(1000)).unwrap();
        assert!(read("1.json").await.unwrap_err().contains("nested more than"));
        // Nothing but a length.
        File::create(log.join("2.json")).unwrap().set_len(1 << 40).unwrap();
        assert!(read("2.json").await.unwrap_err().contains("it has 1099511627776 bytes"));
        fs::copy(log.join("1.json"), log.join("1.txt")).unwrap();
        assert!(read("1.txt").await.is_err(), "readers may take any text of a log into memory");
        fs::copy(log.join("1.json"), log.join("1.checkpoint.parquet")).unwrap();
        assert_eq!(read("1.checkpoint.parquet").await, Ok(1000), "no text");
    }

    #[tokio::test]
    async fn nothing_is_written_through_a_link_to_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("elsewhere/date=2026-11-30")).unwrap();
        fs::create_dir_all(at("archive/exemplars")).unwrap();
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        link(at("elsewhere"), at("archive/samples")).unwrap();
        link(at("elsewhere"), at("archive/exemplars/date=2026-11-30")).unwrap();
        // The archive itself may be one.
        link(at("archive"), at("volume")).unwrap();
        let put = async |name: &str| {
            let location = Path::from_absolute_path(at(name)).unwrap();
            DurableLocal::default().put(&location, "x".into()).await.map(drop).map_err(|e| e.to_string())
        };
        for name in ["archive/samples/date=2026-11-30/part", "archive/exemplars/date=2026-11-30/part"] {
            assert!(put(name).await.unwrap_err().contains("is a symbolic link"), "{name}");
        }
        put("volume/exemplars/date=2026-12-01/part").await.unwrap();
    }
}
