//! The configuration file of `promarchive receive`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::yaml::{self, ConfigError};
use crate::{ArchiveAccess, ArchiveLocation, ByteSize, LabelColumns, SenderLabel, Timespan, UnknownTokens};

/// Settings of a receiver, each of them optional, so that flags, environment and file can be laid over each other.
///
/// What is not given here has the default that `docs/reference/receive.md` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ReceiverConfig {
    /// Where the tables go: a directory or a `file://` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveLocation>,
    /// Who may read the files of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_access: Option<ArchiveAccess>,
    /// Address and port to listen on.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
    /// Directory of the write-ahead log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<PathBuf>,
    /// Budget of the write-ahead log on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_max_bytes: Option<ByteSize>,
    /// Longest time from acknowledged to committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_interval: Option<Timespan>,
    /// Buffered bytes that start a flush before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_bytes: Option<ByteSize>,
    /// Budget of everything that the receiver holds in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// How far in the future a timestamp may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_future: Option<Timespan>,
    /// How far in the past a timestamp may be; without it, as far as the tables take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_past: Option<Timespan>,
    /// File with the names of senders and the SHA-256 hashes of their tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
    /// How a write is answered whose token is not in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_tokens: Option<UnknownTokens>,
    /// Label that is set on every series to the name of its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_label: Option<SenderLabel>,
    /// Certificate chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Labels that become columns of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_columns: Option<LabelColumns>,
    /// How far back, at least, a repeated request is recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_horizon: Option<Timespan>,
    /// Lets anybody write who reaches an address that is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Longest request body, compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<ByteSize>,
    /// Longest request body, decompressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_decoded_bytes: Option<ByteSize>,
    /// Most connections that one address may have at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_address: Option<u32>,
    /// Longest time from the signal to stop to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_grace: Option<Timespan>,
}

impl ReceiverConfig {
    /// Reads `path`. Errors name the file and, inside it, line, column and the nearest valid field.
    pub fn from_file(path: &Path) -> Result<Self, ConfigFileError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ConfigFileError::Read { file: name.clone(), source })?;
        Ok(Self::from_yaml(&name, &text)?)
    }

    /// Reads the YAML `text`; `file` is its name in errors.
    pub fn from_yaml(file: &str, text: &str) -> Result<Self, ConfigError> {
        yaml::from_str(file, text)
    }

    /// The configuration as YAML, without what is not set.
    pub fn to_yaml(&self) -> String {
        // Plain strings, numbers and lists cannot fail to be written.
        yaml::to_string(self).unwrap_or_default()
    }

    /// These settings, and where one is not set, that of `lower`.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        Self {
            archive: self.archive.or(lower.archive),
            archive_access: self.archive_access.or(lower.archive_access),
            listen: self.listen.or(lower.listen),
            wal: self.wal.or(lower.wal),
            wal_max_bytes: self.wal_max_bytes.or(lower.wal_max_bytes),
            flush_interval: self.flush_interval.or(lower.flush_interval),
            flush_bytes: self.flush_bytes.or(lower.flush_bytes),
            memory_limit: self.memory_limit.or(lower.memory_limit),
            max_future: self.max_future.or(lower.max_future),
            max_past: self.max_past.or(lower.max_past),
            tokens: self.tokens.or(lower.tokens),
            unknown_tokens: self.unknown_tokens.or(lower.unknown_tokens),
            sender_label: self.sender_label.or(lower.sender_label),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            label_columns: self.label_columns.or(lower.label_columns),
            dedup_horizon: self.dedup_horizon.or(lower.dedup_horizon),
            insecure: self.insecure.or(lower.insecure),
            max_request_bytes: self.max_request_bytes.or(lower.max_request_bytes),
            max_decoded_bytes: self.max_decoded_bytes.or(lower.max_decoded_bytes),
            max_connections_per_address: self.max_connections_per_address.or(lower.max_connections_per_address),
            shutdown_grace: self.shutdown_grace.or(lower.shutdown_grace),
        }
    }
}

/// Why a configuration file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file could not be read.
    #[error("{file}: cannot read the configuration file: {source}")]
    Read {
        /// Its path as given.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Content(#[from] ConfigError),
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not an address to listen on: want IP:PORT, such as 127.0.0.1:9201, 0.0.0.0:9201 or [::]:9201")]
pub struct ListenError {
    given: String,
}

/// Reads `IP:PORT`, or `localhost:PORT`.
pub fn parse_listen(text: &str) -> Result<SocketAddr, ListenError> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| ListenError { given: text.to_owned() })
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    struct Listen(SocketAddr);
    impl FromStr for Listen {
        type Err = ListenError;
        fn from_str(text: &str) -> Result<Self, ListenError> {
            parse_listen(text).map(Self)
        }
    }
    impl<'de> Deserialize<'de> for Listen {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            yaml::from_text(deserializer, "an address to listen on, such as 127.0.0.1:9201")
        }
    }
    Ok(Option::<Listen>::deserialize(deserializer)?.map(|listen| listen.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ReceiverConfig::from_yaml("receiver.yaml", text).unwrap_err().to_string()
    }

    const EVERYTHING: &str = "\
archive: file:///data/archive
archiveAccess: Everyone
listen: 0.0.0.0:9201
wal: /data/wal
walMaxBytes: 2Gi
flushInterval: 1m30s
flushBytes: 100MB
memoryLimit: 1073741824
maxFuture: 2d
maxPast: 30d
tokens: /etc/promarchive/tokens
unknownTokens: Retry
senderLabel: sender
tlsCert: /tls/tls.crt
tlsKey: /tls/tls.key
labelColumns: [namespace, pod]
dedupHorizon: 10m
insecure: false
maxRequestBytes: 16Mi
maxDecodedBytes: 16Mi
maxConnectionsPerAddress: 100
shutdownGrace: 20s
";

    #[test]
    fn every_field_is_read_and_read_back() {
        let config = ReceiverConfig::from_yaml("receiver.yaml", EVERYTHING).unwrap();
        assert_eq!(config.wal_max_bytes, Some(ByteSize(2 << 30)));
        assert_eq!(config.memory_limit, Some(ByteSize(1 << 30)));
        assert_eq!(config.flush_interval, Some(Timespan::from_secs(90)));
        assert_eq!(config.label_columns.as_ref().unwrap().names(), ["namespace", "pod"]);
        let written = config.to_yaml();
        assert_eq!(ReceiverConfig::from_yaml("again", &written).unwrap(), config, "{written}");
        assert_eq!(
            written.lines().filter(|line| !line.starts_with("- ")).count(),
            22,
            "every field is written: {written}"
        );
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        for text in ["", "---\n", "# nothing\n", "{}", "listen:\nwal:\n"] {
            assert_eq!(ReceiverConfig::from_yaml("f", text).unwrap(), ReceiverConfig::default(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_field_has_its_place_and_the_nearest_valid_one() {
        assert_eq!(
            error("archive: a\n\nflushIntervall: 5m\n"),
            "receiver.yaml:3:1: unknown field \"flushIntervall\"; did you mean \"flushInterval\"?"
        );
        assert_eq!(
            error("flush_interval: 5m\n"),
            "receiver.yaml:1:1: unknown field \"flush_interval\"; did you mean \"flushInterval\"?"
        );
        assert!(error("zzz: 1\n").contains("the fields are archive, archiveAccess, listen, wal,"));
    }

    #[test]
    fn a_wrong_value_has_its_field_and_place() {
        for (text, wants) in [
            ("archive: a\nflushInterval: 5\n", "receiver.yaml:2:1: flushInterval: "),
            (
                "archive: a\nflushInterval: 5 minutes\n",
                "receiver.yaml:2:1: flushInterval: \"5 minutes\" is not a duration",
            ),
            ("memoryLimit: lots\n", "receiver.yaml:1:1: memoryLimit: \"lots\" is not a size"),
            ("memoryLimit: -5\n", "receiver.yaml:1:1: memoryLimit: "),
            ("listen: here\n", "receiver.yaml:1:1: listen: \"here\" is not an address"),
            ("archive: s3://bucket\n", "receiver.yaml:1:1: archive: \"s3://bucket\": buckets come later"),
            ("unknownTokens: Drop\n", "receiver.yaml:1:1: unknownTokens: \"Drop\" is not what can become"),
            ("archiveAccess: 0644\n", "receiver.yaml:1:1: archiveAccess: "),
            ("archiveAccess: all\n", "receiver.yaml:1:1: archiveAccess: \"all\" does not say who may read"),
            ("maxConnectionsPerAddress: many\n", "receiver.yaml:1:1: maxConnectionsPerAddress: "),
            ("senderLabel: __name__\n", "receiver.yaml:1:1: senderLabel: \"__name__\" is not a label name"),
            ("wal: w\nlabelColumns: [pod, value]\n", "receiver.yaml:2:1: labelColumns: label column \"value\""),
            ("archive: a\narchive: b\n", "receiver.yaml:2:1: field \"archive\" is given twice"),
            ("archive: [\n", "receiver.yaml:"),
            ("- archive\n", "receiver.yaml:1:1: "),
        ] {
            let error = error(text);
            assert!(error.starts_with(wants), "{text:?}\n   {error}\nwants {wants}");
            assert!(!error.contains('\n') && !error.contains(" at line"), "{error}");
        }
    }

    #[test]
    fn upper_goes_over_lower() {
        let upper = ReceiverConfig::from_yaml("upper", "flushInterval: 1m\n").unwrap();
        let lower = ReceiverConfig::from_yaml("lower", EVERYTHING).unwrap();
        let both = upper.or(lower.clone());
        assert_eq!(both.flush_interval, Some(Timespan::from_secs(60)));
        assert_eq!(ReceiverConfig { flush_interval: lower.flush_interval, ..both }, lower);
    }

    #[test]
    fn listens_on_names_of_this_machine_only() {
        assert_eq!(parse_listen("localhost:9201").unwrap().to_string(), "127.0.0.1:9201");
        assert_eq!(parse_listen("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["", ":9201", "9201", "example.org:9201", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(parse_listen(wrong).unwrap_err().to_string().contains("127.0.0.1:9201"), "{wrong}");
        }
    }
}
