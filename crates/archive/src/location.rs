//! Where an archive is: a URL, of a directory or of a place in a bucket. The tables of a simulation stand in memory.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::path::Path;
use promarchive_api::{ArchiveLocation, Bucket};
use url::Url;

use crate::archive::ArchiveError;
use crate::store::place;

/// The root of an archive, absolute and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    root: Arc<Root>,
}

#[derive(Debug, PartialEq, Eq)]
struct Root {
    /// Ends with a slash.
    url: Url,
    /// The same as a path of objects.
    path: Path,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Bucket(Bucket),
    Memory,
}

impl Location {
    /// A directory's path or a URL.
    pub fn parse(text: &str) -> Result<Self, ArchiveError> {
        Self::resolve(&text.parse::<ArchiveLocation>()?)
    }

    /// What a person or a configuration file has named.
    pub fn resolve(named: &ArchiveLocation) -> Result<Self, ArchiveError> {
        match (named.directory(), named.bucket()) {
            (Some(directory), _) => Self::at(directory),
            (None, Some(bucket)) => Self::in_bucket(bucket),
            (None, None) => Err(ArchiveError::Place(
                named.to_string(),
                "this kind of storage is not supported; use a directory or the URL of a bucket".into(),
            )),
        }
    }

    fn in_bucket(bucket: &Bucket) -> Result<Self, ArchiveError> {
        let refuse = |why: String| ArchiveError::Place(bucket.to_string(), why);
        let url = Url::parse(&format!("{bucket}/")).map_err(|e| refuse(e.to_string()))?;
        let path = Path::parse(bucket.prefix()).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { root: Arc::new(Root { url, path, place: Place::Bucket(bucket.clone()) }) })
    }

    /// A directory.
    pub fn at(directory: &FsPath) -> Result<Self, ArchiveError> {
        let refuse = |why: String| ArchiveError::Place(directory.display().to_string(), why);
        let directory = place::without_parents(directory).map_err(|e| refuse(e.to_string()))?;
        if let Some(why) = place::fault(&directory) {
            return Err(refuse(why.to_owned()));
        }
        let path = Path::from_absolute_path(&directory).map_err(|e| refuse(e.to_string()))?;
        let url = Url::from_directory_path(&directory).map_err(|()| refuse("the path is not absolute".into()))?;
        Ok(Self { root: Arc::new(Root { url, path, place: Place::Directory(directory) }) })
    }

    /// Nowhere: the archive of a simulation, which ends with its process.
    pub fn in_memory() -> Result<Self, ArchiveError> {
        let url = Url::parse("memory:///").map_err(|e| ArchiveError::Place("memory".into(), e.to_string()))?;
        Ok(Self { root: Arc::new(Root { url, path: Path::ROOT, place: Place::Memory }) })
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&FsPath> {
        match &self.root.place {
            Place::Directory(directory) => Some(directory),
            Place::Bucket(_) | Place::Memory => None,
        }
    }

    /// The bucket, if it is in one.
    pub fn bucket(&self) -> Option<&Bucket> {
        match &self.root.place {
            Place::Bucket(bucket) => Some(bucket),
            Place::Directory(_) | Place::Memory => None,
        }
    }

    /// Characters of its path that keep some readers out; none if there are none.
    pub fn hurdle_for_readers(&self) -> Option<String> {
        match &self.root.place {
            Place::Directory(directory) => place::hurdle_for_readers(directory),
            Place::Bucket(bucket) => place::hurdle_for_readers(FsPath::new(bucket.prefix())),
            Place::Memory => None,
        }
    }

    /// As a path of objects.
    pub(crate) fn path(&self) -> &Path {
        &self.root.path
    }

    /// The URL of a directory in it, for the Delta kernel; it ends with a slash.
    pub(crate) fn url_of(&self, name: &str) -> Url {
        let mut url = self.root.url.clone();
        // A URL without segments is none of ours.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name).push("");
        }
        url
    }

    /// The whole name of an object, for messages.
    pub(crate) fn name_of(&self, path: &Path) -> String {
        match self.directory() {
            Some(_) => format!("/{path}"),
            None => format!("{}/{path}", &self.root.url[..url::Position::BeforePath]),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root.place {
            Place::Directory(directory) => directory.display().fmt(f),
            Place::Bucket(bucket) => bucket.fmt(f),
            Place::Memory => self.root.url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_a_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::at(directory.path()).unwrap();
        let object = location.path().clone().join("samples");
        assert_eq!(FsPath::new(&location.name_of(&object)), directory.path().join("samples"));
        let memory = Location::in_memory().unwrap();
        assert_eq!(memory.name_of(&Path::from("samples/x")), "memory:///samples/x");
    }

    #[test]
    fn the_kernel_finds_a_table_where_its_files_are_put() {
        for directory in ["/data/archive", "/a b/ü#?", "/x=y/a%b"] {
            let location = Location::at(FsPath::new(directory)).unwrap();
            let url = Url::from_directory_path(FsPath::new(directory).join("samples")).unwrap();
            assert_eq!(location.url_of("samples"), url);
        }
        assert_eq!(Location::in_memory().unwrap().url_of("samples").as_str(), "memory:///samples/");
    }

    #[test]
    fn a_place_in_a_bucket_has_one_name_as_url_and_as_path() {
        for (text, object, url) in [
            ("s3://lab", "samples/x", "s3://lab/samples/"),
            ("s3://My_Lab/a/env=prod/", "a/env=prod/samples/x", "s3://My_Lab/a/env=prod/samples/"),
            ("abfss://lab@me.dfs.core.windows.net/a", "a/samples/x", "abfss://lab@me.dfs.core.windows.net/a/samples/"),
        ] {
            let location = Location::parse(text).unwrap();
            let place = location.path().clone().join("samples").join("x");
            assert_eq!(place.as_ref(), object);
            assert_eq!(location.url_of("samples").as_str(), url);
            assert_eq!(location.name_of(&place), format!("{url}x"));
            assert_eq!(location.directory(), None);
        }
        assert_eq!(Location::parse("s3://lab/env=prod").unwrap().hurdle_for_readers().as_deref(), Some("'='"));
        assert_eq!(Location::parse("s3://lab/a").unwrap().hurdle_for_readers(), None);
    }
}
