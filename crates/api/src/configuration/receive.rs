//! Settings of `promarchive receive`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{ByteSize, SenderLabel, Timespan, UnknownTokens, yaml};

/// Settings of `promarchive receive`: the section `receive` of a configuration file.
///
/// A field is all that there is of a setting: its flag, its variable, its name in the file and its line in `--help` come from it. Bounds and
/// defaults that are plain values come from [`crate::bounds`]; a default that depends on something is told here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "command-line", derive(clap::Args))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ReceiveConfig {
    /// IP address and port to listen on. An address that is not loopback needs --tokens [default: 127.0.0.1:9201]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "IP:PORT", value_parser = parse_listen))]
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
    /// Directory of the write-ahead log, never inside the archive [default: the archive's path with the suffix `.wal`]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DIRECTORY"))]
    pub wal: Option<PathBuf>,
    /// Maximum size of the write-ahead log on disk; above it, senders get 503 and retry
    #[cfg_attr(feature = "command-line", arg(long, value_name = "SIZE"))]
    pub wal_max_bytes: Option<ByteSize>,
    /// Longest time from acknowledged to committed
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DURATION"))]
    pub flush_interval: Option<Timespan>,
    /// Buffered bytes that start a flush before the interval ends, at most a quarter of --memory-limit
    /// [default: an eighth of --memory-limit, at most 256Mi]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "SIZE"))]
    pub flush_bytes: Option<ByteSize>,
    /// Memory budget; above it, senders get 503 and retry [default: 1Gi]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "SIZE"))]
    pub memory_limit: Option<ByteSize>,
    /// How far in the future a timestamp may be; later ones are refused with an error that names them
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DURATION"))]
    pub max_future: Option<Timespan>,
    /// How old a sample may be when it arrives; older ones are refused with an error that names them [default: no limit]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DURATION"))]
    pub max_past: Option<Timespan>,
    /// File of the tokens, one per line: `NAME SHA256 ROLES`, with roles such as write or write,operate; reloaded when it
    /// changes
    /// [default: none]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "FILE"))]
    pub tokens: Option<PathBuf>,
    /// Answer to a write with a token that is not in the tokens file: refuse (401, the sender drops the samples) or retry (503,
    /// the sender retries; the file may be empty) [default: refuse]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "refuse|retry"))]
    pub unknown_tokens: Option<UnknownTokens>,
    /// Label that is set on every series to the name of its sender in the tokens file; it replaces a label of the same name
    /// [default: none, every sender may write any series]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "LABEL"))]
    pub sender_label: Option<SenderLabel>,
    /// Certificate chain in PEM format; reloaded when it changes [default: none, plain HTTP]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "FILE"))]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM format [default: none, plain HTTP]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "FILE"))]
    pub tls_key: Option<PathBuf>,
    /// How long, at least, a repeated request is recognised; at least two flush intervals
    /// [default: 10m, or two flush intervals if that is more]
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DURATION"))]
    pub dedup_horizon: Option<Timespan>,
    /// Allows everyone to write who can reach an address that is not loopback
    #[cfg_attr(
        feature = "command-line",
        arg(
            long = "insecure-allow-unauthenticated",
            value_name = "true|false",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "true",
        )
    )]
    pub insecure: Option<bool>,
    /// Largest request body, compressed; larger ones are answered with 413
    #[cfg_attr(feature = "command-line", arg(long, value_name = "SIZE"))]
    pub max_request_bytes: Option<ByteSize>,
    /// Largest request body, decompressed; larger ones are answered with 400
    #[cfg_attr(feature = "command-line", arg(long, value_name = "SIZE"))]
    pub max_decoded_bytes: Option<ByteSize>,
    /// Maximum number of connections from one IP address at a time; increase it behind a proxy
    #[cfg_attr(feature = "command-line", arg(long, value_name = "NUMBER"))]
    pub max_connections_per_address: Option<u32>,
    /// Longest time from SIGTERM to the end; samples that are not committed by then stay in the write-ahead log
    #[cfg_attr(feature = "command-line", arg(long, value_name = "DURATION"))]
    pub shutdown_grace: Option<Timespan>,
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid address \"{given}\"; expected IP:PORT, for example 127.0.0.1:9201, 0.0.0.0:9201 or [::]:9201")]
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

    #[test]
    fn listens_on_names_of_this_machine_only() {
        assert_eq!(parse_listen("localhost:9201").unwrap().to_string(), "127.0.0.1:9201");
        assert_eq!(parse_listen("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["", ":9201", "9201", "example.org:9201", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(parse_listen(wrong).unwrap_err().to_string().contains("127.0.0.1:9201"), "{wrong}");
        }
    }
}
