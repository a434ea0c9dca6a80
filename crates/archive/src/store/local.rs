//! A directory as an object store on which what was put is durable.
//!
//! `LocalFileSystem::with_fsync` syncs a file and the directory it stands in, but not the directories that it makes on the way: a new
//! `date=…` could vanish in a power cut with the files in it. This wrapper makes and syncs them first.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

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
            _ => File::open(parent)?.sync_all()?,
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
        match File::open(parent) {
            // One that only others may list, they have made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
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
            if !known.lock().unwrap_or_else(PoisonError::into_inner).contains(&parent) || !parent.is_dir() {
                create_dir_durably(&parent, DIRECTORY)?;
                // Made by an earlier process that was killed before it synced: sync once all the same.
                if let Some(above) = parent.parent() {
                    File::open(above)?.sync_all()?;
                }
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(parent);
            }
            io::Result::Ok(())
        })
        .await;
        made.map_err(io::Error::other)
            .and_then(|made| made)
            .map_err(|e| object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(e) })
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
        self.inner.get_opts(location, options).await
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
