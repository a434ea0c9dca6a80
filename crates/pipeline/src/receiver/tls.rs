//! TLS: certificate and key from files, taken up again when the files change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use promarchive_api::receiver_settings::TlsFiles;
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;
use tracing::{error, info};

use super::metrics::Metrics;
use super::watched_file;

/// Why certificate and key cannot be used; names the file. Never holds any of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: cannot read the {what}: {reason}")]
    Read {
        /// Path of the file.
        file: String,
        /// Certificate or key.
        what: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// A file is not PEM, or holds something else.
    #[error("{file}: no valid {what} in PEM format: {reason}")]
    Pem {
        /// Path of the file.
        file: String,
        /// Certificate or key.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The two do not fit together, or are of a kind that is not known.
    #[error("certificate {cert} and key {key} cannot be used together: {reason}")]
    Pair {
        /// Path of the certificate.
        cert: String,
        /// Path of the key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The bytes of certificate and key, to see whether they have changed.
#[derive(PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// What looks after the two files.
pub(super) struct TlsWatch {
    files: TlsFiles,
    /// What was last looked at, good or bad.
    seen: Result<Pem, TlsError>,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// Reads `files`, which must be good. The receiver has the newest good configuration at any time.
pub(super) async fn load(files: TlsFiles) -> Result<(watch::Receiver<Arc<ServerConfig>>, TlsWatch), TlsError> {
    let seen = read(&files).await;
    let config = interpret(&files, &seen)?;
    let (sender, current) = watch::channel(Arc::new(config));
    Ok((current, TlsWatch { files, seen, current: sender }))
}

impl TlsWatch {
    /// Takes up changes of the files, every `poll`, for ever. What is broken (or changed by half) changes nothing but
    /// the log.
    pub(super) async fn run(mut self, poll: Duration, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(poll).await;
            self.look(&metrics).await;
        }
    }

    async fn look(&mut self, metrics: &Metrics) {
        let now = read(&self.files).await;
        if now == self.seen {
            return;
        }
        self.seen = now;
        match interpret(&self.files, &self.seen) {
            Ok(config) => {
                info!(file = %self.files.cert.display(), "reloaded the changed certificate");
                self.current.send_replace(Arc::new(config));
            }
            Err(reason) => {
                metrics.reload_failed("tls");
                error!("{reason}; the previous certificate stays in use");
            }
        }
    }
}

async fn read(files: &TlsFiles) -> Result<Pem, TlsError> {
    let files = files.clone();
    let reading = move || {
        let bytes = |path: &Path, what| {
            let refused = |error: std::io::Error| TlsError::Read { file: name(path), what, reason: error.to_string() };
            watched_file::read(path).map_err(refused)
        };
        // Editors of Windows begin a file with a byte order mark, behind which no PEM would be found.
        let pem = |path, what| {
            bytes(path, what).map(|mut bytes| {
                if bytes.starts_with(&BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
                bytes
            })
        };
        Ok(Pem { cert: pem(&files.cert, "certificate")?, key: pem(&files.key, "private key")? })
    };
    // Only a panic of the closure or the end of the runtime makes the join fail.
    tokio::task::spawn_blocking(reading).await.unwrap_or_else(|error| {
        Err(TlsError::Read { file: String::new(), what: "certificate", reason: error.to_string() })
    })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn interpret(files: &TlsFiles, seen: &Result<Pem, TlsError>) -> Result<ServerConfig, TlsError> {
    let pem = seen.as_ref().map_err(Clone::clone)?;
    let refused = |path: &Path, what| {
        let file = name(path);
        move |error: PemError| TlsError::Pem { file, what, reason: explain(&error) }
    };
    let chain = CertificateDer::pem_slice_iter(&pem.cert)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) })
        .map_err(refused(&files.cert, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(refused(&files.key, "private key"));
    if let Some(reason) = unusable_key(&pem.key, key.as_ref().ok()) {
        return Err(TlsError::Pem { file: name(&files.key), what: "private key", reason: reason.to_owned() });
    }
    let key = key?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&TLS13, &TLS12])
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair {
            cert: name(&files.cert),
            key: name(&files.key),
            reason: error.to_string(),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Why a key cannot be used that is one.
fn unusable_key(pem: &[u8], key: Option<&PrivateKeyDer<'_>>) -> Option<&'static str> {
    /// The object identifier of the curve P-521, 1.3.132.0.35, in DER.
    const P521: [u8; 7] = [0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x23];
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    if holds(pem, b"BEGIN ENCRYPTED PRIVATE KEY") || holds(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Some(
            "the key is encrypted: decrypt it with `openssl pkey -in KEY -out DECRYPTED`, and make that file readable \
             only for its owner",
        );
    }
    let p521 = key.is_some_and(|key| holds(key.secret_der(), &P521));
    p521.then_some("the key uses the curve P-521, which is not supported: use P-256, P-384, Ed25519 or RSA")
}

fn explain(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => "the file has no section between a BEGIN and an END line".to_owned(),
        // Other variants quote lines of the file, which may be those of a key.
        PemError::MissingSectionEnd { .. } => "the END line is missing".to_owned(),
        PemError::IllegalSectionStart { .. } => "the BEGIN line is malformed".to_owned(),
        PemError::Base64Decode(_) => "the text between BEGIN and END is not base64".to_owned(),
        _ => "it cannot be parsed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::metrics::View;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[tokio::test]
    async fn a_broken_pair_is_named_and_keeps_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
        let (cert, key) = pair();
        assert!(load(files.clone()).await.err().unwrap().to_string().contains("tls.crt: cannot read the certificate"));
        fs::write(&files.cert, &cert).unwrap();
        fs::write(&files.key, "no key").unwrap();
        assert!(load(files.clone()).await.err().unwrap().to_string().contains("tls.key: no valid private key"));
        for (text, wants) in [
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "the key is encrypted",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                "encrypted",
            ),
            // A sequence with nothing in it but the curve.
            ("-----BEGIN EC PRIVATE KEY-----\nMAcGBSuBBAAj\n-----END EC PRIVATE KEY-----\n", "P-521"),
        ] {
            fs::write(&files.key, text).unwrap();
            let error = load(files.clone()).await.err().unwrap().to_string();
            assert!(error.contains("tls.key: no valid private key") && error.contains(wants), "{error}");
        }
        fs::write(&files.cert, format!("\u{feff}{cert}")).unwrap();
        fs::write(&files.key, format!("\u{feff}{key}")).unwrap();
        let (current, mut watch) = load(files.clone()).await.unwrap();
        let first = current.borrow().clone();

        let (other_cert, other_key) = pair();
        fs::write(&files.cert, &other_cert).unwrap();
        let metrics = Metrics::new();
        watch.look(&metrics).await;
        let error = interpret(&files, &watch.seen).unwrap_err().to_string();
        assert!(error.contains("tls.crt") && error.contains("tls.key") && error.contains("together"), "{error}");
        assert!(Arc::ptr_eq(&first, &current.borrow()));

        fs::write(&files.key, &other_key).unwrap();
        watch.look(&metrics).await;
        assert!(!Arc::ptr_eq(&first, &current.borrow()));
        fs::write(&files.cert, "").unwrap();
        watch.look(&metrics).await;
        assert!(metrics.text(View::Full).contains("promarchive_reload_failures_total{file=\"tls\"} 2"));
    }
}
