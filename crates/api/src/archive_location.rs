//! Where an archive is: today a directory, later also a bucket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::yaml;

/// The root of an archive, written as a directory or a `file://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveLocation {
    directory: PathBuf,
}

/// Why a text is no [`ArchiveLocation`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveLocationError {
    /// Nothing was given.
    #[error("the archive path is empty; use a directory or a file:// URL")]
    Empty,
    /// A scheme other than `file`.
    #[error("invalid archive \"{given}\": buckets are not supported yet; use a directory or a file:// URL")]
    Scheme {
        /// What was given, without credentials.
        given: String,
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
    /// The directory of the archive, as given: relative to the working directory if it is relative. None for an archive that is in none; there
    /// are only directories today.
    pub fn directory(&self) -> Option<&Path> {
        Some(&self.directory)
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
                path => Ok(Self { directory: PathBuf::from(path) }),
            };
        };
        if !scheme.eq_ignore_ascii_case("file") {
            // A bucket's URL may carry a key before the "@".
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            return Err(ArchiveLocationError::Scheme { given: format!("{scheme}://{rest}") });
        }
        let directory = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none());
        // What is no text cannot be written into a configuration file again.
        match directory.and_then(|url| url.to_file_path().ok()).filter(|directory| directory.to_str().is_some()) {
            Some(directory) => Ok(Self { directory }),
            None => Err(ArchiveLocationError::NotLocal { given: text.to_owned() }),
        }
    }
}

impl fmt::Display for ArchiveLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory.display().fmt(f)
    }
}

impl Serialize for ArchiveLocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.directory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ArchiveLocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "a directory or a file:// URL")
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
    fn buckets_come_later() {
        for text in ["s3://bucket/prefix", "gs://bucket", "abfss://x@y/z", "http://host/archive"] {
            let error = text.parse::<ArchiveLocation>().unwrap_err().to_string();
            assert!(error.contains("buckets are not supported yet") && error.contains("file://"), "{error}");
        }
        let error = "s3://key:secret@bucket/a".parse::<ArchiveLocation>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
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
