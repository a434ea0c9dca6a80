//! Where an archive is: a directory, or a place in a bucket.

mod bucket;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use bucket::{Bucket, Service};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::yaml;

/// The root of an archive, written as a directory, a `file://` URL, or the URL of a place in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveLocation {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Bucket(Bucket),
}

/// Why a text is no [`ArchiveLocation`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveLocationError {
    /// Nothing was given.
    #[error("the archive location is empty; use a directory or a URL, for example s3://bucket/archive")]
    Empty,
    /// A scheme that nothing can be kept at.
    #[error(
        "invalid archive \"{given}\": unsupported URL scheme; use a directory, or a URL with file://, s3://, gs://, az:// or abfss://"
    )]
    Scheme {
        /// What was given, without credentials.
        given: String,
    },
    /// A URL that names no place in a bucket.
    #[error("\"{given}\": {fault}")]
    Bucket {
        /// What was given, without credentials.
        given: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A home directory that only a shell would fill in.
    #[error(
        "invalid archive \"{given}\": ~ is not expanded here; write the full path of the home directory, or ./~ for a \
         directory of that name"
    )]
    Home {
        /// What was given.
        given: String,
    },
    /// A `file` URL that names no local directory.
    #[error("invalid archive \"{given}\": it is not a local directory; use file:///absolute/path, or a path")]
    NotLocal {
        /// What was given.
        given: String,
    },
}

impl ArchiveLocation {
    /// The directory of the archive, as given: relative to the working directory if it is relative. None for an archive that is in none.
    pub fn directory(&self) -> Option<&Path> {
        match &self.place {
            Place::Directory(directory) => Some(directory),
            Place::Bucket(_) => None,
        }
    }

    /// The bucket of the archive, and its place there. None for an archive that is in none.
    pub fn bucket(&self) -> Option<&Bucket> {
        match &self.place {
            Place::Directory(_) => None,
            Place::Bucket(bucket) => Some(bucket),
        }
    }

    fn in_directory(directory: PathBuf) -> Self {
        Self { place: Place::Directory(directory) }
    }
}

impl FromStr for ArchiveLocation {
    type Err = ArchiveLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ArchiveLocationError::Empty);
        }
        // No scheme has a slash in it: that is a directory with a strange name.
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) else {
            return match text {
                home if home.starts_with('~') => Err(ArchiveLocationError::Home { given: home.to_owned() }),
                url if url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("file:")) => {
                    Err(ArchiveLocationError::NotLocal { given: url.to_owned() })
                }
                path => Ok(Self::in_directory(PathBuf::from(path))),
            };
        };
        if let Some(bucket) = Bucket::parse(scheme, rest) {
            return bucket.map(|bucket| Self { place: Place::Bucket(bucket) });
        }
        if !scheme.eq_ignore_ascii_case("file") {
            // A URL may carry a key before the "@".
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            return Err(ArchiveLocationError::Scheme { given: format!("{scheme}://{rest}") });
        }
        let directory = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none());
        // What is no text cannot be written into a configuration file again.
        match directory.and_then(|url| url.to_file_path().ok()).filter(|directory| directory.to_str().is_some()) {
            Some(directory) => Ok(Self::in_directory(directory)),
            None => Err(ArchiveLocationError::NotLocal { given: text.to_owned() }),
        }
    }
}

impl fmt::Display for ArchiveLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Directory(directory) => directory.display().fmt(f),
            Place::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl Serialize for ArchiveLocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.place {
            Place::Directory(directory) => directory.serialize(serializer),
            Place::Bucket(bucket) => serializer.collect_str(bucket),
        }
    }
}

impl<'de> Deserialize<'de> for ArchiveLocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "a directory or a URL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_file_urls() {
        for (text, directory) in [
            ("./archive", "./archive"),
            ("/data/archive", "/data/archive"),
            ("file:///data/archive", "/data/archive"),
            ("FILE:///data/my%20archive", "/data/my archive"),
            ("file://localhost/data", "/data"),
            ("file:///a%3A//b", "/a://b"),
            ("/a://b", "/a://b"),
            ("./~", "./~"),
            ("/home/~me", "/home/~me"),
            ("./file:x", "./file:x"),
        ] {
            assert_eq!(text.parse::<ArchiveLocation>().unwrap().directory(), Some(Path::new(directory)), "{text}");
        }
    }

    #[test]
    fn urls_of_no_store_are_refused_without_their_keys() {
        for text in ["http://host/archive", "hdfs://host/a", "s4://bucket", "http://key:secret@host/a"] {
            let error = text.parse::<ArchiveLocation>().unwrap_err().to_string();
            assert!(error.contains("unsupported URL scheme") && error.contains("s3://"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_names_no_directory() {
        for text in ["", "  ", "file://host/data", "file:///data?x=1", "file:///a%80b", "file:/x", "FILE:x"] {
            assert!(text.parse::<ArchiveLocation>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_tilde_is_not_a_directory() {
        for text in ["~", "~/archive", "~me/archive"] {
            let error = text.parse::<ArchiveLocation>().unwrap_err().to_string();
            assert!(error.contains("not expanded"), "{error}");
        }
    }
}
