//! The client of a bucket, made from the environment.
//!
//! The variables are those that the clouds' own tools and `object_store` know: `AWS_*`, `GOOGLE_*`, `AZURE_*`. So credentials come from
//! variables, from files, or from the identity of the workload, and those that expire are renewed by the client. Nothing here prints a value of
//! a variable that could be a key. Users read about them in `docs/how-to/keep-an-archive-in-a-bucket.md`.

mod shared_credentials;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, HeaderValue, ObjectStore, RetryConfig};
use promarchive_api::{Bucket, Service};
use promarchive_model::chain;
use shared_credentials::SharedCredentials;

/// From connecting to the end of an answer's body. The largest file that a flush puts has some more than 32 MiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request is not sent again when so much time has passed since it was sent first. Who asked for it tries again with pauses of its own, and
/// says meanwhile what is wrong.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_RETRIES: usize = 10;
/// Pauses between tries grow from the first to the second, at random, so that those who were turned away together do not come back together.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const AGENT: &str = concat!("promarchive/", env!("CARGO_PKG_VERSION"));
/// A file of certificates in PEM, instead of those of the system. The system's are those of `SSL_CERT_FILE`, if that is set.
const ROOTS: &str = "AWS_CA_BUNDLE";
/// Every end point of Google's that speaks S3's protocol is below it.
const GOOGLE: &str = "googleapis.com";
/// Names that Azure's own tools know beside those of `object_store`.
const OF_AZURE: [(&str, AzureConfigKey); 3] = [
    ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
    ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// Why there is no client for a bucket.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BucketError {
    /// Google's S3 end point.
    #[error(
        "{bucket}: the S3 end point of Google Cloud Storage ({endpoint}) ignores the condition of a put, so that one writer would replace what \
         another has committed: write the archive as gs://{name}, with Google's own credentials"
    )]
    GoogleAsS3 {
        /// The URL of the bucket.
        bucket: String,
        /// Its name alone.
        name: String,
        /// The end point.
        endpoint: String,
    },
    /// Conditional put was switched off.
    #[error(
        "{bucket}: AWS_CONDITIONAL_PUT is \"{given}\", and without conditional put nothing can be committed: leave it out"
    )]
    NoCondition {
        /// The URL of the bucket.
        bucket: String,
        /// What was given.
        given: String,
    },
    /// Plain HTTP, which nobody has asked for.
    #[error(
        "{bucket}: {endpoint} has no TLS, so that everybody on the way could read and change what is sent: use https://, or accept it with \
         {variable}=true"
    )]
    Unencrypted {
        /// The URL of the bucket.
        bucket: String,
        /// The end point.
        endpoint: String,
        /// The variable to set.
        variable: &'static str,
    },
    /// Certificates that cannot be read.
    #[error("{bucket}: the certificates in {path} ({ROOTS}) cannot be used: {cause}")]
    Roots {
        /// The URL of the bucket.
        bucket: String,
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// A setting that is missing or wrong.
    #[error("{bucket}: no client can be made from the variables {variables}: {cause}")]
    Client {
        /// The URL of the bucket.
        bucket: String,
        /// Which variables it is made from.
        variables: &'static str,
        /// What is missing or wrong.
        cause: String,
    },
}

/// A bucket that can be asked; nothing has been asked yet.
pub(super) struct Client {
    /// Its objects, addressed by their whole names.
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Where it is asked.
    pub(super) endpoint: String,
}

/// Without the objects: their client has credentials.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.endpoint)
    }
}

/// Environment variables; those that are no text are none of ours.
#[derive(Clone, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// What one of them is set to.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Those that begin so and are settings of a client.
    fn settings<K: FromStr>(&self, prefix: &'static str) -> impl Iterator<Item = (K, String)> {
        let ours = self.0.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
        ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone())))
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Makes the client of a bucket.
pub(super) fn client(bucket: &Bucket, variables: &Variables) -> Result<Client, BucketError> {
    match bucket.service() {
        Service::S3 => s3(bucket, variables),
        Service::Google => google(bucket, variables),
        Service::Azure => azure(bucket, variables),
    }
}

fn s3(bucket: &Bucket, variables: &Variables) -> Result<Client, BucketError> {
    // Not every store deletes many objects by one request, and the few that are deleted need no such request.
    let (mut builder, mut options) = (AmazonS3Builder::new().with_disable_bulk_delete(true), options());
    for (key, value) in variables.settings::<AmazonS3ConfigKey>("AWS_") {
        match key {
            AmazonS3ConfigKey::Client(key) => options = options.with_config(key, value),
            AmazonS3ConfigKey::Bucket => {}
            AmazonS3ConfigKey::ConditionalPut if value != "etag" => {
                return Err(BucketError::NoCondition { bucket: bucket.url(), given: value });
            }
            key => builder = builder.with_config(key, value),
        }
    }
    let set = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let given = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let region = set(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = given.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    check_endpoint(bucket, "AWS_*", &endpoint)?;
    if host(&endpoint).is_some_and(|host| host == GOOGLE || host.ends_with(&format!(".{GOOGLE}"))) {
        return Err(BucketError::GoogleAsS3 { bucket: bucket.url(), name: bucket.name().to_owned(), endpoint });
    }
    let options = with_roots(options, bucket, variables)?;
    check_tls(bucket, &endpoint, &options, "AWS_ALLOW_HTTP")?;
    let refuse = |cause: String| BucketError::Client { bucket: bucket.url(), variables: "AWS_*", cause };
    if let Some(keys) = SharedCredentials::find(variables).map_err(refuse)? {
        builder = builder.with_credentials(Arc::new(keys));
    }
    let client = builder.with_bucket_name(bucket.name()).with_retry(retries()).with_client_options(options).build();
    let objects = Arc::new(client.map_err(|error| refused(bucket, "AWS_*", &error))?);
    Ok(Client { objects, endpoint })
}

fn google(bucket: &Bucket, variables: &Variables) -> Result<Client, BucketError> {
    let (mut builder, mut options) = (GoogleCloudStorageBuilder::new(), options());
    for (key, value) in variables.settings::<GoogleConfigKey>("GOOGLE_") {
        match key {
            GoogleConfigKey::Client(key) => options = options.with_config(key, value),
            GoogleConfigKey::Bucket => {}
            key => builder = builder.with_config(key, value),
        }
    }
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let endpoint = endpoint.unwrap_or_else(|| "https://storage.googleapis.com".to_owned());
    check_endpoint(bucket, "GOOGLE_*", &endpoint)?;
    check_tls(bucket, &endpoint, &options, "GOOGLE_ALLOW_HTTP")?;
    let client = builder.with_bucket_name(bucket.name()).with_retry(retries()).with_client_options(options).build();
    let objects = Arc::new(client.map_err(|error| refused(bucket, "GOOGLE_*", &error))?);
    Ok(Client { objects, endpoint })
}

fn azure(bucket: &Bucket, variables: &Variables) -> Result<Client, BucketError> {
    let (mut builder, mut options) = (MicrosoftAzureBuilder::new(), options());
    for (name, key) in OF_AZURE {
        builder = variables.get(name).into_iter().fold(builder, |builder, value| builder.with_config(key, value));
    }
    for (key, value) in variables.settings::<AzureConfigKey>("AZURE_") {
        match key {
            AzureConfigKey::Client(key) => options = options.with_config(key, value),
            AzureConfigKey::ContainerName => {}
            key => builder = builder.with_config(key, value),
        }
    }
    let set = |key: AzureConfigKey| builder.get_config_value(&key);
    let emulated = is_true(set(AzureConfigKey::UseEmulator));
    let endpoint = match (set(AzureConfigKey::Endpoint), set(AzureConfigKey::AccountName)) {
        _ if emulated => "the emulator".to_owned(),
        (Some(endpoint), _) => endpoint,
        (None, Some(account)) => format!("https://{account}.blob.core.windows.net"),
        (None, None) => bucket.url(),
    };
    if !emulated {
        check_endpoint(bucket, "AZURE_*", &endpoint)?;
        check_tls(bucket, &endpoint, &options, "AZURE_ALLOW_HTTP")?;
    }
    let client = builder.with_url(bucket.url()).with_retry(retries()).with_client_options(options).build();
    let objects = Arc::new(client.map_err(|error| refused(bucket, "AZURE_*", &error))?);
    Ok(Client { objects, endpoint })
}

/// The end point is logged, and kept in a control record: no key may be in it.
fn check_endpoint(bucket: &Bucket, variables: &'static str, endpoint: &str) -> Result<(), BucketError> {
    let url = url::Url::parse(endpoint).ok();
    let has_keys = |url: &url::Url| !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if !url.as_ref().is_some_and(has_keys) {
        return Ok(());
    }
    let cause =
        "the end point contains a user, a password or a query: set the keys in variables of their own".to_owned();
    Err(BucketError::Client { bucket: bucket.url(), variables, cause })
}

fn refused(bucket: &Bucket, variables: &'static str, error: &object_store::Error) -> BucketError {
    BucketError::Client { bucket: bucket.url(), variables, cause: chain(error) }
}

/// Of connections, where no variable says otherwise.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(AGENT))
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
}

fn retries() -> RetryConfig {
    let (init_backoff, max_backoff) = PAUSES;
    let backoff = BackoffConfig { init_backoff, max_backoff, base: 2.0 };
    RetryConfig { backoff, max_retries: MOST_RETRIES, retry_timeout: RETRY_TIMEOUT }
}

fn with_roots(options: ClientOptions, bucket: &Bucket, variables: &Variables) -> Result<ClientOptions, BucketError> {
    let Some(path) = variables.get(ROOTS) else { return Ok(options) };
    let failed = |cause: String| BucketError::Roots { bucket: bucket.url(), path: path.to_owned(), cause };
    let pem = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|e| failed(chain(&e)))?;
    if roots.is_empty() {
        return Err(failed("there is none in it".to_owned()));
    }
    Ok(roots.into_iter().fold(options.with_no_system_certificates(true), ClientOptions::with_root_certificate))
}

/// Refuses an end point without TLS that nobody has accepted as such.
fn check_tls(
    bucket: &Bucket,
    endpoint: &str,
    options: &ClientOptions,
    variable: &'static str,
) -> Result<(), BucketError> {
    let plain = endpoint.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
    if plain && !is_true(options.get_config_value(&ClientConfigKey::AllowHttp)) {
        return Err(BucketError::Unencrypted { bucket: bucket.url(), endpoint: endpoint.to_owned(), variable });
    }
    Ok(())
}

/// Whether the client takes the value for a yes.
fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str()))
}

fn host(endpoint: &str) -> Option<String> {
    let url = url::Url::parse(endpoint).ok()?;
    Some(url.host_str()?.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use promarchive_api::ArchiveLocation;

    use super::*;

    fn client_of(url: &str, variables: &[(&str, &str)]) -> Result<Client, BucketError> {
        let location: ArchiveLocation = url.parse().unwrap();
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        client(location.bucket().unwrap(), &variables)
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn the_variables_say_where_a_bucket_is_asked() {
        for (url, variables, endpoint) in [
            ("s3://lab", &[][..], "https://s3.us-east-1.amazonaws.com"),
            ("s3://lab", &[("AWS_REGION", "eu-west-1")], "https://s3.eu-west-1.amazonaws.com"),
            ("s3://lab", &[("AWS_ENDPOINT_URL", "https://s3.example.org")], "https://s3.example.org"),
            (
                "s3://lab",
                &[("AWS_ENDPOINT_URL", "https://a.example.org"), ("AWS_ENDPOINT_URL_S3", "https://b.example.org")],
                "https://b.example.org",
            ),
            ("gs://lab", &[("GOOGLE_SKIP_SIGNATURE", "true")], "https://storage.googleapis.com"),
            (
                "az://lab",
                &[("AZURE_STORAGE_ACCOUNT_NAME", "me"), ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")],
                "https://me.blob.core.windows.net",
            ),
            ("az://lab", &[("AZURE_STORAGE_USE_EMULATOR", "true")], "the emulator"),
        ] {
            assert_eq!(client_of(url, variables).unwrap().endpoint, endpoint, "{url} {variables:?}");
        }
    }

    #[test]
    fn an_end_point_with_keys_in_it_is_refused_and_not_told() {
        for (url, variable, endpoint) in [
            ("s3://lab", "AWS_ENDPOINT_URL", "https://me:hidden@s3.example.org"),
            ("s3://lab", "AWS_ENDPOINT_URL", "http://hidden@s3.example.org"),
            ("az://lab", "AZURE_STORAGE_ENDPOINT", "https://example.org/?sig=hidden"),
        ] {
            let error = client_of(url, &[(variable, endpoint)]).unwrap_err().to_string();
            assert!(error.contains("the end point contains") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn googles_end_point_for_s3_is_refused_by_name() {
        for endpoint in [
            "https://storage.googleapis.com",
            "https://Storage.GoogleAPIs.com./",
            "https://lab.storage.googleapis.com",
            "https://storage.us-east1.rep.googleapis.com",
        ] {
            for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"] {
                let error = client_of("s3://lab/a", &[(variable, endpoint)]).unwrap_err().to_string();
                assert!(error.contains("gs://lab") && error.contains("Google"), "{error}");
            }
        }
        client_of("s3://lab/a", &[("AWS_ENDPOINT_URL", "https://notgoogleapis.com")]).unwrap();
    }

    #[test]
    fn plain_http_must_be_accepted() {
        let plain = ("AWS_ENDPOINT_URL", "http://127.0.0.1:7070");
        let error = client_of("s3://lab", &[plain]).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:7070") && error.contains("AWS_ALLOW_HTTP=true"), "{error}");
        assert!(client_of("s3://lab", &[plain, ("AWS_ALLOW_HTTP", "false")]).is_err());
        client_of("s3://lab", &[plain, ("AWS_ALLOW_HTTP", "true")]).unwrap();
        let plain = ("GOOGLE_BASE_URL", "http://127.0.0.1:4443");
        let error = client_of("gs://lab", &[plain]).unwrap_err().to_string();
        assert!(error.contains("GOOGLE_ALLOW_HTTP=true"), "{error}");
        let account = [("AZURE_STORAGE_ACCOUNT_NAME", "me"), ("AZURE_STORAGE_ENDPOINT", "HTTP://127.0.0.1:1")];
        assert!(client_of("az://lab", &account).unwrap_err().to_string().contains("AZURE_ALLOW_HTTP=true"));
    }

    #[test]
    fn a_wrong_setting_is_named_and_no_key_is_printed() {
        let off = [KEYS[0], KEYS[1], ("AWS_CONDITIONAL_PUT", "disabled")];
        for (url, variables, wants) in [
            ("s3://lab", &off[..], "AWS_CONDITIONAL_PUT is \"disabled\""),
            ("s3://lab", &KEYS[1..], "AWS_*: "),
            ("s3://lab", &[KEYS[0], KEYS[1], ("AWS_TIMEOUT", "long")], "AWS_*: "),
            ("s3://lab", &[("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")], "/no/such/file"),
            ("s3://lab", &[(ROOTS, "/no/such/file")], "/no/such/file"),
            ("az://lab", &[], "AZURE_*: "),
            ("gs://lab", &[("GOOGLE_SERVICE_ACCOUNT", "/no/such/file")], "GOOGLE_*: "),
        ] {
            let error = client_of(url, variables).unwrap_err().to_string();
            assert!(error.contains(wants) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn certificates_are_read_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roots.pem");
        let roots = [(ROOTS, file.to_str().unwrap())];
        fs::write(&file, "nothing").unwrap();
        let error = client_of("s3://lab", &roots).unwrap_err().to_string();
        assert!(error.contains("there is none in it"), "{error}");
        let authority = rcgen::generate_simple_self_signed(["lab".to_owned()]).unwrap();
        fs::write(&file, authority.cert.pem()).unwrap();
        client_of("s3://lab", &roots).unwrap();
    }
}
