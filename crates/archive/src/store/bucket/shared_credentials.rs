//! Keys from the file that Amazon's tools share, `~/.aws/credentials`.
//!
//! ```text
//! [default]
//! aws_access_key_id = …
//! aws_secret_access_key = …
//! aws_session_token = …        if they expire
//! ```
//!
//! The file is read again when it has changed: a Secret that is mounted at its place, or a program that renews keys, replaces it while a receiver
//! runs. While it cannot be used, the keys of before are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::Variables;

/// Longer than any such file.
const LONGEST: u64 = 1 << 20;
/// Variables by which keys come in another way.
const OTHER_WAYS: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// The keys of one profile.
pub(super) struct SharedCredentials {
    file: PathBuf,
    profile: String,
    /// What was read last, and of which file.
    known: Mutex<Option<(Identity, Arc<AwsCredential>)>>,
}

/// When a file was changed, and how long it is.
type Identity = (SystemTime, u64);

impl fmt::Debug for SharedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedCredentials({}, {})", self.file.display(), self.profile)
    }
}

impl SharedCredentials {
    /// Those that the variables name, or the usual ones, if keys come in no other way. An error if there are none where the variables say.
    pub(super) fn find(variables: &Variables) -> Result<Option<Self>, String> {
        let (file, profile) = (variables.get("AWS_SHARED_CREDENTIALS_FILE"), variables.get("AWS_PROFILE"));
        let is_asked_for = file.is_some() || profile.is_some();
        if variables.get("AWS_ACCESS_KEY_ID").is_some()
            || !is_asked_for && OTHER_WAYS.iter().any(|name| variables.get(name).is_some())
        {
            return Ok(None);
        }
        let usual = variables.get("HOME").map(|home| Path::new(home).join(".aws/credentials"));
        let Some(file) = file.map(PathBuf::from).or(usual) else { return Ok(None) };
        let found = Self { file, profile: profile.unwrap_or("default").to_owned(), known: Mutex::default() };
        match found.current() {
            Ok(_) => Ok(Some(found)),
            Err(_) if !is_asked_for => Ok(None),
            Err(error) => Err(format!("{}: {error}", found.file.display())),
        }
    }

    /// The keys that are in the file now; those of before, if it cannot be used.
    fn current(&self) -> Result<Arc<AwsCredential>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = identity(&self.file);
        if let (Some((of, keys)), Ok(identity)) = (known.as_ref(), &identity)
            && of == identity
        {
            return Ok(keys.clone());
        }
        let read = identity.map_err(|e| e.to_string()).and_then(|identity| {
            let text = read(&self.file).map_err(|e| e.to_string())?;
            Ok((identity, Arc::new(keys_of(&text, &self.profile)?)))
        });
        match read {
            Ok((identity, keys)) => {
                *known = Some((identity, keys.clone()));
                Ok(keys)
            }
            Err(error) => known.as_ref().map(|(_, keys)| keys.clone()).ok_or(error),
        }
    }
}

#[async_trait]
impl CredentialProvider for SharedCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.current().map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })
    }
}

fn identity(file: &Path) -> io::Result<Identity> {
    let found = fs::metadata(file)?;
    Ok((found.modified()?, found.len()))
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The keys of a profile. An error tells no part of the text.
fn keys_of(text: &str, profile: &str) -> Result<AwsCredential, String> {
    let mut fields = BTreeMap::new();
    let mut is_here = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let name = name.trim();
            is_here = name.strip_prefix("profile ").map_or(name, str::trim) == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_here) {
            fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut field = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
    match (field("aws_access_key_id"), field("aws_secret_access_key")) {
        (Some(key_id), Some(secret_key)) => Ok(AwsCredential { key_id, secret_key, token: field("aws_session_token") }),
        _ => Err(format!("the profile \"{profile}\" has no aws_access_key_id and aws_secret_access_key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# keys
[default]
aws_access_key_id = one
aws_secret_access_key=secret=1
[profile lab]
  AWS_ACCESS_KEY_ID=two
aws_secret_access_key =  secret-2
aws_session_token = token
[half]
aws_access_key_id = three
";

    fn variables(of: &[(&str, &Path)]) -> Variables {
        of.iter().map(|(name, value)| ((*name).to_owned(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_profile_has_its_own_keys() {
        let of = |profile| keys_of(TEXT, profile).map(|keys| (keys.key_id, keys.secret_key, keys.token));
        assert_eq!(of("default"), Ok(("one".into(), "secret=1".into(), None)));
        assert_eq!(of("lab"), Ok(("two".into(), "secret-2".into(), Some("token".into()))));
        for profile in ["half", "other"] {
            let error = of(profile).unwrap_err();
            assert!(error.contains(profile) && !error.contains("secret-"), "{error}");
        }
    }

    #[tokio::test]
    async fn keys_that_are_replaced_are_taken_up() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        fs::write(&file, TEXT).unwrap();
        let of_file = variables(&[("AWS_SHARED_CREDENTIALS_FILE", &file)]);
        let keys = SharedCredentials::find(&of_file).unwrap().unwrap();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "one");
        fs::write(&file, TEXT.replace("one", "another")).unwrap();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "another");
        // Half written, or gone for a moment.
        fs::write(&file, "[default]\naws_access_key_id = x").unwrap();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "another");
        fs::remove_file(&file).unwrap();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "another");
        assert!(!format!("{keys:?}").contains("another"), "{keys:?}");
    }

    #[test]
    fn the_file_is_used_where_keys_come_in_no_other_way() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".aws/credentials");
        let missing = home.path().join("missing");
        let has = |of: &[(&str, &Path)]| SharedCredentials::find(&variables(of)).map(|found| found.is_some());
        assert_eq!(has(&[("HOME", home.path())]), Ok(false));
        assert!(has(&[("AWS_SHARED_CREDENTIALS_FILE", &missing)]).unwrap_err().contains("missing"));
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(&file, TEXT).unwrap();
        assert_eq!(has(&[("HOME", home.path())]), Ok(true));
        assert_eq!(has(&[]), Ok(false));
        let lab = Path::new("lab");
        for (name, wants) in [("AWS_ACCESS_KEY_ID", false), ("AWS_WEB_IDENTITY_TOKEN_FILE", true)] {
            assert_eq!(has(&[("HOME", home.path()), (name, lab)]), Ok(false), "{name}");
            assert_eq!(has(&[("HOME", home.path()), (name, lab), ("AWS_PROFILE", lab)]), Ok(wants), "{name}");
        }
        assert!(has(&[("HOME", home.path()), ("AWS_PROFILE", Path::new("no"))]).unwrap_err().contains("\"no\""));
    }
}
