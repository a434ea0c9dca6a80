//! A place in a bucket, written as a URL.

use std::fmt;

use super::ArchiveLocationError;

/// A service that keeps objects in buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage, by its own protocol.
    Google,
    /// Azure Blob Storage, where a bucket is called a container.
    Azure,
}

/// How the URL of a bucket begins, and whose it is.
const SCHEMES: [(&str, Service); 4] =
    [("s3", Service::S3), ("gs", Service::Google), ("az", Service::Azure), ("abfss", Service::Azure)];

/// A bucket, and the place in it where an archive has its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    service: Service,
    scheme: &'static str,
    name: String,
    /// Of `abfss`: the host, whose name begins with the account.
    host: Option<String>,
    /// Its parts with a slash between them; empty for the whole bucket.
    prefix: String,
}

impl Bucket {
    /// Which service keeps it.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The name of the bucket alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The place in it, with a slash between its parts and none around them; empty for the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL of the bucket alone.
    pub fn url(&self) -> String {
        let host = self.host.as_ref().map_or(String::new(), |host| format!("@{host}"));
        format!("{}://{}{host}", self.scheme, self.name)
    }

    /// Reads what stands after `://`; none if the scheme is of no service.
    pub(super) fn parse(scheme: &str, rest: &str) -> Option<Result<Self, ArchiveLocationError>> {
        let known = SCHEMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme))?;
        Some(Self::of(known, rest))
    }

    fn of((scheme, service): (&'static str, Service), rest: &str) -> Result<Self, ArchiveLocationError> {
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let refuse = |fault| {
            // What stands before an "@" that does not belong there may be a key.
            let given = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            ArchiveLocationError::Bucket { given: format!("{scheme}://{given}"), fault }
        };
        let (name, host) = match (scheme, authority.split_once('@')) {
            ("abfss", Some((name, host))) => (name, Some(host)),
            (_, None) => (authority, None),
            _ => return Err(refuse("no key belongs into the URL: give it in the environment")),
        };
        if !is_name(name) || host.is_some_and(|host| !is_name(host)) {
            return Err(refuse(
                "a bucket has a name of letters, digits, '-', '_' and '.': write the end point, the account and the region into the environment",
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(refuse(
                "the place in the bucket must be parts of letters, digits, '-', '_', '.' and '=', with one slash between them",
            ));
        }
        let (name, host) = (name.to_owned(), host.map(str::to_owned));
        Ok(Self { service, scheme, name, host, prefix: prefix.to_owned() })
    }
}

/// Whether it can be the name of a bucket or a host. Services have stricter rules of their own, which differ.
fn is_name(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether all tools find the same objects under it: none encodes it, and none takes it for the directory above.
fn is_part(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte));
    plain && !["", ".", ".."].contains(&text)
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use crate::ArchiveLocation;

    use super::*;

    fn parse(text: &str) -> Result<ArchiveLocation, ArchiveLocationError> {
        text.parse()
    }

    #[test]
    fn urls_of_each_service() {
        for (text, service, name, prefix, written) in [
            ("s3://lab", Service::S3, "lab", "", "s3://lab"),
            ("s3://lab/", Service::S3, "lab", "", "s3://lab"),
            ("S3://my.lab-1/a/env=prod/", Service::S3, "my.lab-1", "a/env=prod", "s3://my.lab-1/a/env=prod"),
            ("gs://my_lab/a", Service::Google, "my_lab", "a", "gs://my_lab/a"),
            ("az://lab/a", Service::Azure, "lab", "a", "az://lab/a"),
            (
                "abfss://lab@me.dfs.core.windows.net/a",
                Service::Azure,
                "lab",
                "a",
                "abfss://lab@me.dfs.core.windows.net/a",
            ),
            ("abfss://lab/a", Service::Azure, "lab", "a", "abfss://lab/a"),
        ] {
            let location = parse(text).unwrap();
            let bucket = location.bucket().unwrap();
            assert_eq!((bucket.service(), bucket.name(), bucket.prefix()), (service, name, prefix), "{text}");
            assert_eq!((location.to_string().as_str(), location.directory()), (written, None), "{text}");
            assert_eq!(parse(written).unwrap(), location, "{text}");
        }
    }

    #[test]
    fn what_names_no_place_in_a_bucket_is_refused() {
        for (text, wants) in [
            ("s3://", "has a name"),
            ("s3:///a", "has a name"),
            ("s3://-lab/a", "has a name"),
            ("s3://lab:9000/a", "end point"),
            ("s3://lab//a", "one slash"),
            ("s3://lab/a//", "one slash"),
            ("s3://lab/a/../b", "letters, digits"),
            ("s3://lab/a b", "letters, digits"),
            ("s3://lab/a%20b", "letters, digits"),
            ("s3://lab/a?region=eu", "letters, digits"),
            ("s3://lab/ü", "letters, digits"),
            ("abfss://lab@/a", "has a name"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wants), "{text}: {error}");
        }
    }

    #[test]
    fn no_key_in_a_url_is_printed() {
        for text in ["s3://key:secret@lab/a", "gs://secret@lab", "az://lab@secret@x/a", "abfss://a:secret@b@lab/x"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
