//! versitygw: a real S3 server over a directory, with one bucket, on a free port of 127.0.0.1, killed when dropped.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Program, free_port, needed};

const BUCKET: &str = "lab";
const KEY: &str = "lab-key";
const SECRET: &str = "lab-secret-of-some-length";

/// The server; its objects are gone when it is.
#[derive(Debug)]
pub struct S3Server {
    _program: Program,
    port: u16,
    /// The certificate that it shows, if it speaks TLS.
    certificate: Option<PathBuf>,
    /// Last: it is removed after the program has ended.
    directory: TempDir,
}

impl S3Server {
    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// The same, with TLS, and a certificate that nobody else knows.
    pub fn start_with_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(tls: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("promarchive-s3-").tempdir().unwrap();
        let objects = directory.path().join("objects");
        fs::create_dir_all(objects.join(BUCKET)).unwrap();
        let port = free_port();
        let mut command = Command::new(needed("PROMARCHIVE_STORES").join("versitygw"));
        command.args([
            "--access",
            KEY,
            "--secret",
            SECRET,
            "--port",
            &format!("127.0.0.1:{port}"),
            "--keep-alive",
            "--quiet",
        ]);
        let certificate = tls.then(|| {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
            fs::write(&certificate, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            command.arg("--cert").arg(&certificate).arg("--key").arg(&key);
            certificate
        });
        command.arg("posix").arg(&objects);
        let mut program = Program::start(&mut command, directory.path().join("versitygw.log"));
        program.wait_until("listening", |_| TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _program: program, port, certificate, directory }
    }

    /// The URL of a place in its bucket.
    pub fn url(&self, place: &str) -> String {
        format!("s3://{BUCKET}/{place}")
    }

    /// The same, for what takes a path.
    pub fn path(&self, place: &str) -> PathBuf {
        self.url(place).into()
    }

    /// Where the objects of a place are, as the server keeps them.
    pub fn directory(&self, place: &str) -> PathBuf {
        self.directory.path().join("objects").join(BUCKET).join(place)
    }

    /// Another place on the disk, for a WAL or a log.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The certificate that it shows.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// The variables that say where it is, and whose keys it wants.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let variables = [
            ("AWS_ENDPOINT_URL", format!("{scheme}://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// A program that knows them, and no others of a store.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let others = std::env::vars_os().map(|(name, _)| name);
        for name in others.filter(|name| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.variables());
        command
    }
}
