//! A store whose texts of logs are no larger and no deeper than readers can bear.
//!
//! The Delta kernel and we take a commit into memory whole and read it as JSON. Whoever may write to an archive must not end who reads it.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::log::bounds;

/// Another store, read within bounds.
#[derive(Debug)]
pub(crate) struct Bounded<S>(pub(crate) S);

impl<S: fmt::Display> fmt::Display for Bounded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether it is an object of a table's log that readers take into memory whole.
fn is_text_of_log(location: &Path) -> bool {
    let of_log = location.parts().rev().nth(1).is_some_and(|directory| directory.as_ref() == "_delta_log");
    of_log && location.extension() != Some("parquet")
}

fn refused(fault: String) -> object_store::Error {
    object_store::Error::Generic { store: "bounded", source: fault.into() }
}

async fn within_bounds(found: GetResult) -> Result<GetResult> {
    if found.meta.size > bounds::MOST_BYTES {
        return Err(refused(format!(
            "the file has {} bytes, but at most {} bytes are allowed",
            found.meta.size,
            bounds::MOST_BYTES
        )));
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

#[async_trait]
impl<S: ObjectStore> ObjectStore for Bounded<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_read_whole = !options.head && options.range.is_none();
        let found = self.0.get_opts(location, options).await?;
        if is_read_whole && is_text_of_log(location) { within_bounds(found).await } else { Ok(found) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use object_store::ObjectStoreExt;

    use super::*;
    use crate::store::DurableLocal;

    #[tokio::test]
    async fn a_commit_that_would_take_too_much_memory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("_delta_log");
        fs::create_dir(&log).unwrap();
        let read = async |name: &str| {
            let location = Path::from_absolute_path(log.join(name)).unwrap();
            Bounded(DurableLocal::new(directory.path().to_path_buf()))
                .get(&location)
                .await
                .map(|found| found.meta.size)
                .map_err(|e| e.to_string())
        };
        fs::write(log.join("0.json"), "{}\n").unwrap();
        assert_eq!(read("0.json").await, Ok(3));
        fs::write(log.join("1.json"), "[".repeat(1000)).unwrap();
        assert!(read("1.json").await.unwrap_err().contains("nested levels"));
        // Nothing but a length.
        File::create(log.join("2.json")).unwrap().set_len(1 << 40).unwrap();
        assert!(read("2.json").await.unwrap_err().contains("the file has 1099511627776 bytes"));
        fs::copy(log.join("1.json"), log.join("1.txt")).unwrap();
        assert!(read("1.txt").await.is_err(), "readers may take any text of a log into memory");
        fs::copy(log.join("1.json"), log.join("1.checkpoint.parquet")).unwrap();
        assert_eq!(read("1.checkpoint.parquet").await, Ok(1000), "no text");
    }
}
