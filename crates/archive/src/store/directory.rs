//! A directory as an object store on which what was put is durable.
//!
//! `LocalFileSystem::with_fsync` syncs a file and the directory it stands in, but not the directories that it makes on the way: a new
//! `date=…` could vanish in a power cut with the files in it. This wrapper makes and syncs them first.
//!
//! What others put into the directory must not hold up who reads it: only plain files are opened (a link may lead to one). Nor must it lead what is written out of the archive: the directories of a table must
//! not be links.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use promarchive_directory::{SHARED_DIRECTORY, Unreadable, create_durably, open_to_read, sync};

/// In errors.
const STORE: &str = "local file system";

/// The local file system, addressed by absolute paths, with everything synced before a put returns.
#[derive(Debug)]
pub struct DurableLocal {
    inner: LocalFileSystem,
    /// The directory that everything is below.
    archive: PathBuf,
    /// Directories known to be durable.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl DurableLocal {
    /// For an archive in this directory.
    pub fn new(archive: PathBuf) -> Self {
        Self { inner: LocalFileSystem::new().with_fsync(true), archive, known: Arc::default() }
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

/// Opens an object.
fn open(location: Path, path: PathBuf, options: &GetOptions) -> Result<GetResult> {
    let absent = |path: &FsPath, source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::NotFound {
        path: path.display().to_string(),
        source,
    };
    let failed = |error: io::Error| refused(format!("{}: {error}", path.display()));
    let (file, metadata) = open_to_read(&path).map_err(|unreadable| match unreadable {
        Unreadable::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            absent(&path, error.into())
        }
        Unreadable::Io(error) => failed(error),
        Unreadable::Directory => absent(&path, unreadable.into()),
        Unreadable::Special => refused(unreadable),
    })?;
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

/// An error if a directory between the archive and the object is a link: it would be written elsewhere. The archive itself may be one.
fn check_no_link(archive: &FsPath, file: &FsPath) -> io::Result<()> {
    for directory in file.ancestors().skip(1).take_while(|directory| *directory != archive) {
        if directory.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            let fault = "is a symbolic link, but promarchive writes only to directories inside the archive: replace the link \
                 with a directory";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} {fault}", directory.display())));
        }
    }
    Ok(())
}

impl DurableLocal {
    async fn prepare(&self, location: &Path) -> Result<()> {
        let file = self.inner.path_to_filesystem(location)?;
        let Some(parent) = file.parent().map(FsPath::to_path_buf) else { return Ok(()) };
        let (known, archive) = (self.known.clone(), self.archive.clone());
        let made = tokio::task::spawn_blocking(move || {
            check_no_link(&archive, &file)?;
            if !known.lock().unwrap_or_else(PoisonError::into_inner).contains(&parent) || !parent.is_dir() {
                create_durably(&parent, SHARED_DIRECTORY)?;
                // Made by an earlier process that was killed before it synced: sync once all the same.
                if let Some(above) = parent.parent() {
                    sync(above)?;
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
        let opened = tokio::task::spawn_blocking(move || open(place, file, &options)).await;
        opened.map_err(|e| refused(Box::new(e)))?
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
    use std::fs;

    use object_store::ObjectStoreExt;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_is_no_plain_file_is_refused_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let store = DurableLocal::new(directory.path().to_path_buf());
        let at = |name: &str| directory.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        for name in ["pipe", "link", "device"] {
            let location = Path::from_absolute_path(at(name)).unwrap();
            let error = store.get(&location).await.unwrap_err().to_string();
            assert!(error.contains("not a regular file") && error.contains("remove it"), "{name}: {error}");
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
            DurableLocal::new(at(name.split('/').next().unwrap()))
                .put(&location, "x".into())
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        };
        link(at("elsewhere"), at("archive/_promarchive")).unwrap();
        for name in [
            "archive/samples/date=2026-11-30/part",
            "archive/exemplars/date=2026-11-30/part",
            "archive/_promarchive/horizon/a/1.json",
        ] {
            assert!(put(name).await.unwrap_err().contains("is a symbolic link"), "{name}");
        }
        put("volume/exemplars/date=2026-12-01/part").await.unwrap();
    }
}
