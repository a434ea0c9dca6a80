//! From what people give to what the receiver needs: every setting concrete, every combination checked.

// Named, because the fuzzer includes this file by its path.
#[path = "settings/paths.rs"]
mod paths;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use paths::check_apart;
use promarchive_api::{ArchiveAccess, ByteSize, LabelColumns, ReceiverConfig, SenderLabel, Timespan, UnknownTokens};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9201);
const WAL_MAX_BYTES: u64 = 8 * GIB;
const FLUSH_INTERVAL: Duration = Duration::from_secs(300);
const FLUSH_BYTES: u64 = 256 * MIB;
const MEMORY_LIMIT: u64 = GIB;
/// A file being encoded: itself, and a row group in several forms.
const ENCODING_BYTES: u64 = 64 * MIB;
const MAX_FUTURE: Duration = Duration::from_secs(86_400);
/// Longer than any sender is off line. Less would be lost when one comes back.
const LEAST_PAST: Duration = Duration::from_secs(86_400);
const LONGEST_SPAN: Duration = Duration::from_secs(100 * 365 * 86_400);
const DEDUP_HORIZON: Duration = Duration::from_secs(600);
const MAX_REQUEST_BYTES: u64 = 32 * MIB;
const MAX_DECODED_BYTES: u64 = 32 * MIB;
/// A record of the WAL takes no more.
const MOST_REQUEST_BYTES: u64 = 63 * MIB;
const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);
/// Connections served at a time.
const MAX_CONNECTIONS: u32 = 1024;

/// Everything that a receiver is told; concrete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Root directory of the archive, as given.
    pub archive: PathBuf,
    /// Who may read what is made in the archive; none given: the group, or fewer if the process was started so.
    pub archive_access: Option<ArchiveAccess>,
    /// Directory of the write-ahead log; neither inside the archive nor around it.
    pub wal: PathBuf,
    /// Budget of the write-ahead log on disk, in bytes.
    pub wal_max_bytes: u64,
    /// Longest time from acknowledged to committed.
    pub flush_interval: Duration,
    /// Buffered bytes that start a flush before its time; at most a quarter of `memory_limit`.
    pub flush_bytes: u64,
    /// Budget of everything held in memory, in bytes; [`HttpSettings::in_flight_bytes`] is part of it.
    pub memory_limit: u64,
    /// How far in the future a timestamp may be; at least a day.
    pub max_future: Duration,
    /// How old a sample may be when it comes, at least a day; none for as old as the tables take.
    pub max_past: Option<Duration>,
    /// Label that is set on every series to its sender's name.
    pub sender_label: Option<SenderLabel>,
    /// How far back, at least, a repeated request is recognised; at least two flush intervals.
    pub dedup_horizon: Duration,
    /// Labels that are columns of their own, in column order; none given: those that the archive has, or the default.
    pub label_columns: Option<LabelColumns>,
    /// Longest time from the signal to stop to the end.
    pub shutdown_grace: Duration,
    /// What the HTTP side needs.
    pub http: HttpSettings,
}

/// What the HTTP side of a receiver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// File of sender names and token hashes; with none, everybody may write.
    pub tokens: Option<PathBuf>,
    /// How a write is answered whose token is not in that file.
    pub unknown_tokens: UnknownTokens,
    /// Certificate and key; with none, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Longest request body, compressed, in bytes.
    pub max_request_bytes: u64,
    /// Longest request body, decompressed, in bytes.
    pub max_decoded_bytes: u64,
    /// Budget of all requests in flight, compressed and decompressed together, in bytes.
    pub in_flight_bytes: u64,
    /// Connections served at a time. For one more, an idle one is closed.
    pub max_connections: usize,
    /// The same of one address.
    pub max_connections_per_address: usize,
    /// How long a client may hold what.
    pub timeouts: Timeouts,
}

/// A certificate chain and its private key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How long a client may hold what, and how often files are looked at. Not configurable: senders give up after 30 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request's head, or from connecting, to its end.
    pub head: Duration,
    /// Idle time of a connection between requests.
    pub idle: Duration,
    /// The same before the first request that needed access and got it.
    pub idle_stranger: Duration,
    /// From connecting to the end of a connection that is for a probe only.
    pub probe: Duration,
    /// From the head of a request to the end of its body, the wait for memory included.
    pub body: Duration,
    /// From the signal to stop to the end of a body that is still coming: the final commit wants its time, too.
    pub stopping_body: Duration,
    /// From the head of a request to its answer.
    pub answer: Duration,
    /// Longest wait for memory, before and after the body.
    pub admission: Duration,
    /// From connecting to an established TLS session.
    pub tls_handshake: Duration,
    /// A client that takes no byte of an answer for so long is cut off.
    pub stalled_answer: Duration,
    /// How long requests in flight may take after the signal to stop.
    pub drain: Duration,
    /// How often the tokens file is looked at.
    pub tokens_poll: Duration,
    /// How often certificate and key are looked at.
    pub tls_poll: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            idle_stranger: Duration::from_secs(10),
            probe: Duration::from_secs(5),
            body: Duration::from_secs(20),
            stopping_body: Duration::from_secs(5),
            answer: Duration::from_secs(25),
            admission: Duration::from_secs(5),
            tls_handshake: Duration::from_secs(10),
            stalled_answer: Duration::from_secs(30),
            drain: SHUTDOWN_GRACE,
            tokens_poll: Duration::from_secs(2),
            tls_poll: Duration::from_secs(10),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            tokens: None,
            unknown_tokens: UnknownTokens::Refuse,
            tls: None,
            max_request_bytes: MAX_REQUEST_BYTES,
            max_decoded_bytes: MAX_DECODED_BYTES,
            in_flight_bytes: MEMORY_LIMIT / 4,
            max_connections: MAX_CONNECTIONS as usize,
            max_connections_per_address: MAX_CONNECTIONS as usize / 2,
            timeouts: Timeouts::default(),
        }
    }
}

/// A combination of settings that cannot be; each message names the settings and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No archive.
    #[error(
        "no archive is given: use --archive DIRECTORY (environment PROMARCHIVE_ARCHIVE, file `archive`; in YAML a lone ~ is no value)"
    )]
    NoArchive,
    /// The archive's path has no last component to name a WAL after.
    #[error(
        "the archive {archive:?} has no name to put a WAL beside it: name a directory for it with --wal (file `wal`)"
    )]
    NoPlaceForWal {
        /// The archive as given.
        archive: PathBuf,
    },
    /// A path that the operating system cannot make absolute.
    #[error("{path:?} is no usable path: {reason}")]
    Path {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A path that a shell or a browser would understand in another way.
    #[error("{setting} is {path:?}: {fault}")]
    NoPlainPath {
        /// The setting's name in the file.
        setting: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The WAL is in the archive.
    #[error(
        "wal {wal:?} is inside the archive {archive:?}, where other tools take it for a table: put --wal (file `wal`) \
         beside the archive"
    )]
    WalInArchive {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// The archive is in the WAL.
    #[error("the archive {archive:?} is inside the WAL directory {wal:?}: put --wal (file `wal`) beside the archive")]
    ArchiveInWal {
        /// The WAL directory, absolute.
        wal: PathBuf,
        /// The archive, absolute.
        archive: PathBuf,
    },
    /// A certificate without a key, or the other way round.
    #[error(
        "{given} is given without {missing}: TLS needs both --tls-cert and --tls-key (file `tlsCert` and `tlsKey`)"
    )]
    HalfOfTls {
        /// The file setting that is there.
        given: &'static str,
        /// The file setting that is not.
        missing: &'static str,
    },
    /// Anybody could write.
    #[error(
        "listening on {listen}, which is not loopback, without tokens lets anybody write: give --tokens FILE (file \
         `tokens`), or accept it with --insecure-allow-unauthenticated (file `insecure: true`)"
    )]
    Unauthenticated {
        /// The address as given.
        listen: SocketAddr,
    },
    /// Unknown tokens, and no file of known ones.
    #[error(
        "unknownTokens is Retry without tokens: give --tokens FILE (file `tokens`), or leave --unknown-tokens (file \
         `unknownTokens`) out"
    )]
    NoTokensToKnow,
    /// A label for names that nobody has.
    #[error(
        "senderLabel is given without tokens, and without them senders have no names: give --tokens FILE (file `tokens`), or leave \
         --sender-label (file `senderLabel`) out"
    )]
    NoSendersToName,
    /// A value outside of its bounds.
    #[error("{setting} is {given}: {bound}")]
    Bound {
        /// The setting's name in the file.
        setting: &'static str,
        /// Its value, with unit.
        given: String,
        /// Which values there can be, and why.
        bound: String,
    },
}

impl Settings {
    /// Settings out of `config` (flags, environment and file laid over each other) and the defaults.
    pub fn resolve(config: ReceiverConfig) -> Result<Self, SettingsError> {
        let archive = config.archive.ok_or(SettingsError::NoArchive)?.directory().to_path_buf();
        for (setting, path) in [
            ("wal", &config.wal),
            ("tokens", &config.tokens),
            ("tlsCert", &config.tls_cert),
            ("tlsKey", &config.tls_key),
        ] {
            paths::check_plain(setting, path.as_deref())?;
        }
        let wal = match config.wal {
            Some(wal) => wal,
            None => paths::beside(&archive)?,
        };
        check_apart(&archive, &wal)?;

        let memory_limit = config.memory_limit.map_or(MEMORY_LIMIT, |size| size.0);
        let flush_interval = config.flush_interval.map_or(FLUSH_INTERVAL, Timespan::duration);
        let shutdown_grace = config.shutdown_grace.map_or(SHUTDOWN_GRACE, Timespan::duration);
        let max_request_bytes = config.max_request_bytes.map_or(MAX_REQUEST_BYTES, |size| size.0);
        let max_decoded_bytes = config.max_decoded_bytes.map_or(MAX_DECODED_BYTES, |size| size.0);
        let max_connections_per_address = config.max_connections_per_address.unwrap_or(MAX_CONNECTIONS / 2);
        if !(1..=MAX_CONNECTIONS).contains(&max_connections_per_address) {
            return Err(SettingsError::Bound {
                setting: "maxConnectionsPerAddress",
                given: max_connections_per_address.to_string(),
                bound: format!("want 1 to {MAX_CONNECTIONS}, the number of all connections"),
            });
        }
        let one_request = max_request_bytes.saturating_add(max_decoded_bytes);
        let settings = Self {
            archive,
            archive_access: config.archive_access,
            wal,
            wal_max_bytes: config.wal_max_bytes.map_or(WAL_MAX_BYTES, |size| size.0),
            flush_interval,
            flush_bytes: config.flush_bytes.map_or(FLUSH_BYTES.min(memory_limit / 8), |size| size.0),
            memory_limit,
            max_future: config.max_future.map_or(MAX_FUTURE, Timespan::duration),
            max_past: config.max_past.map(Timespan::duration),
            sender_label: config.sender_label,
            dedup_horizon: config
                .dedup_horizon
                .map_or(DEDUP_HORIZON.max(flush_interval.saturating_mul(2)), Timespan::duration),
            label_columns: config.label_columns,
            shutdown_grace,
            http: HttpSettings {
                listen: config.listen.unwrap_or(LISTEN),
                tokens: config.tokens,
                unknown_tokens: config.unknown_tokens.unwrap_or_default(),
                tls: tls_files(config.tls_cert, config.tls_key)?,
                max_request_bytes,
                max_decoded_bytes,
                in_flight_bytes: (memory_limit / 4).max(one_request.saturating_mul(2)),
                max_connections_per_address: max_connections_per_address as usize,
                timeouts: Timeouts { drain: shutdown_grace, ..Timeouts::default() },
                ..HttpSettings::default()
            },
        };
        let open = settings.http.tokens.is_none() && !settings.http.listen.ip().to_canonical().is_loopback();
        if open && config.insecure != Some(true) {
            return Err(SettingsError::Unauthenticated { listen: settings.http.listen });
        }
        if settings.http.tokens.is_none() && settings.http.unknown_tokens == UnknownTokens::Retry {
            return Err(SettingsError::NoTokensToKnow);
        }
        if settings.http.tokens.is_none() && settings.sender_label.is_some() {
            return Err(SettingsError::NoSendersToName);
        }
        settings.check_bounds()?;
        Ok(settings)
    }

    /// What of the memory limit is left for series, rows and the horizon, in bytes: requests in flight and the encoding of files have theirs.
    pub fn held_bytes(&self) -> u64 {
        let encoding = (self.memory_limit / 8).min(ENCODING_BYTES);
        self.memory_limit.saturating_sub(self.http.in_flight_bytes).saturating_sub(encoding)
    }

    fn check_bounds(&self) -> Result<(), SettingsError> {
        let (request, decoded) = (self.http.max_request_bytes, self.http.max_decoded_bytes);
        bytes_between("maxRequestBytes", request, 1024, MOST_REQUEST_BYTES)?;
        bytes_between("maxDecodedBytes", decoded, 1024, GIB)?;
        let least = request.saturating_add(decoded).saturating_mul(4);
        bytes("memoryLimit", self.memory_limit, self.memory_limit >= least, || {
            format!(
                "want at least {}, four times maxRequestBytes and maxDecodedBytes together, or lower these two",
                ByteSize(least)
            )
        })?;
        let most = self.memory_limit / 4;
        bytes("flushBytes", self.flush_bytes, (1..=most).contains(&self.flush_bytes), || {
            format!(
                "want 1 byte to {}, a quarter of memoryLimit, because writing goes on during a flush",
                ByteSize(most)
            )
        })?;
        bytes_between("walMaxBytes", self.wal_max_bytes, MIB, u64::MAX)?;

        span_between("flushInterval", self.flush_interval, Duration::from_millis(100), Duration::from_secs(86_400))?;
        span_between("maxFuture", self.max_future, MAX_FUTURE, LONGEST_SPAN)?;
        if let Some(max_past) = self.max_past {
            span_between("maxPast", max_past, LEAST_PAST, LONGEST_SPAN)?;
        }
        span_between("shutdownGrace", self.shutdown_grace, Duration::from_secs(1), Duration::from_secs(3_600))?;
        span("dedupHorizon", self.dedup_horizon, self.dedup_horizon >= self.flush_interval.saturating_mul(2), || {
            format!("want at least {}, two flush intervals", timespan(self.flush_interval.saturating_mul(2)))
        })
    }
}

fn tls_files(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, SettingsError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::HalfOfTls { given: "tlsCert", missing: "tlsKey" }),
        (None, Some(_)) => Err(SettingsError::HalfOfTls { given: "tlsKey", missing: "tlsCert" }),
    }
}

fn timespan(duration: Duration) -> Timespan {
    Timespan::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn bytes(setting: &'static str, given: u64, good: bool, bound: impl Fn() -> String) -> Result<(), SettingsError> {
    let refused = || SettingsError::Bound { setting, given: ByteSize(given).to_string(), bound: bound() };
    good.then_some(()).ok_or_else(refused)
}

fn bytes_between(setting: &'static str, given: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    bytes(setting, given, (least..=most).contains(&given), || match most {
        u64::MAX => format!("want at least {}", ByteSize(least)),
        most => format!("want {} to {}", ByteSize(least), ByteSize(most)),
    })
}

fn span(setting: &'static str, given: Duration, good: bool, bound: impl Fn() -> String) -> Result<(), SettingsError> {
    let refused = || SettingsError::Bound { setting, given: timespan(given).to_string(), bound: bound() };
    good.then_some(()).ok_or_else(refused)
}

fn span_between(setting: &'static str, given: Duration, least: Duration, most: Duration) -> Result<(), SettingsError> {
    span(setting, given, (least..=most).contains(&given), || format!("want {} to {}", timespan(least), timespan(most)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolve(yaml: &str) -> Result<Settings, SettingsError> {
        Settings::resolve(ReceiverConfig::from_yaml("test", yaml).unwrap())
    }

    #[test]
    fn an_archive_is_enough() {
        let settings = resolve("archive: ./archive").unwrap();
        assert_eq!(settings.wal, Path::new("./archive.wal"));
        assert_eq!(settings.http, HttpSettings::default());
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9201");
        assert_eq!(settings.label_columns, None);
        assert_eq!(settings.flush_bytes, 128 * MIB);
        assert_eq!(settings.dedup_horizon, Duration::from_secs(600));
        assert_eq!(settings.wal_max_bytes, 8 * GIB);
        assert_eq!(settings.http.in_flight_bytes, 256 * MIB);
    }

    #[test]
    fn the_wal_is_beside_the_archive() {
        for (archive, wal) in [("a", "a.wal"), ("a/", "a.wal"), ("/x/y/a", "/x/y/a.wal"), ("file:///x/a", "/x/a.wal")] {
            assert_eq!(resolve(&format!("archive: {archive}")).unwrap().wal, Path::new(wal), "{archive}");
        }
        let here = std::env::current_dir().unwrap();
        let beside = here.with_file_name(format!("{}.wal", here.file_name().unwrap().to_str().unwrap()));
        assert_eq!(resolve("archive: .").unwrap().wal, beside);
        assert!(matches!(resolve("archive: /"), Err(SettingsError::NoPlaceForWal { .. })));
    }

    #[test]
    fn the_wal_is_never_inside_the_archive() {
        for wal in ["a", "a/wal", "./a/samples", "b/../a/x"] {
            assert!(
                matches!(resolve(&format!("archive: a\nwal: {wal}")), Err(SettingsError::WalInArchive { .. })),
                "{wal}"
            );
        }
        assert!(matches!(resolve("archive: w/a\nwal: w"), Err(SettingsError::ArchiveInWal { .. })));
        assert!(resolve("archive: a\nwal: a/../b").is_ok());
        assert!(resolve("archive: a\nwal: ab").is_ok());
    }

    #[test]
    fn links_do_not_hide_that_the_wal_is_inside_the_archive() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("archive/deep/er")).unwrap();
        std::fs::create_dir_all(at("elsewhere")).unwrap();
        std::os::unix::fs::symlink(at("archive"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("archive/deep/er"), at("into")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("archive/out")).unwrap();
        let check = |archive: &str, wal: &str| check_apart(&at(archive), &at(wal));
        for (archive, wal) in [
            ("archive", "link"),
            ("archive", "link/wal"),
            ("archive", "link/not/there/yet"),
            ("link", "archive/wal"),
            ("link/new", "archive/new/wal"),
            // As the kernel walks it, and not by its letters: up from where the link points to.
            ("archive", "into/../wal"),
            ("archive", "not/there/../../link/wal"),
        ] {
            assert!(matches!(check(archive, wal), Err(SettingsError::WalInArchive { .. })), "{archive} {wal}");
        }
        assert!(matches!(check("link/new/archive", "archive/new"), Err(SettingsError::ArchiveInWal { .. })));
        for (archive, wal) in [("archive", "archive/out"), ("link", "wal"), ("archive/deep", "into/../../wal")] {
            assert!(check(archive, wal).is_ok(), "{archive} {wal}");
        }
    }

    #[test]
    fn the_horizon_grows_with_the_flush_interval() {
        assert_eq!(resolve("archive: a\nflushInterval: 10m").unwrap().dedup_horizon, Duration::from_secs(1200));
        assert_eq!(resolve("archive: a\nmemoryLimit: 256Mi").unwrap().flush_bytes, 32 * MIB);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (yaml, wants) in [
            ("wal: w", "--archive"),
            ("tlsCert: c", "tlsCert is given without tlsKey"),
            ("tlsKey: c", "tlsKey is given without tlsCert"),
            ("listen: 0.0.0.0:9201", "--insecure-allow-unauthenticated"),
            ("listen: '[::]:9201'", "--tokens FILE"),
            ("listen: 10.0.0.1:1\ninsecure: false", "10.0.0.1:1"),
            ("unknownTokens: Retry", "unknownTokens is Retry without tokens"),
            ("senderLabel: sender", "senderLabel is given without tokens"),
            ("maxPast: 23h", "maxPast is 23h: want 1d to"),
            ("maxFuture: 23h", "maxFuture is 23h: want 1d to"),
            ("memoryLimit: 100Mi", "memoryLimit is 100Mi: want at least 256Mi"),
            ("flushBytes: 600Mi", "flushBytes is 600Mi: want 1 byte to 256Mi"),
            ("flushBytes: 0", "flushBytes"),
            ("maxRequestBytes: 2Gi", "maxRequestBytes is 2Gi: want 1Ki to 63Mi"),
            ("maxDecodedBytes: 0", "maxDecodedBytes"),
            ("walMaxBytes: 1", "walMaxBytes is 1B: want at least 1Mi"),
            ("flushInterval: 0s", "flushInterval is 0s: want 100ms to 1d"),
            ("dedupHorizon: 9m", "dedupHorizon is 9m: want at least 10m, two flush intervals"),
            ("maxConnectionsPerAddress: 0", "maxConnectionsPerAddress is 0: want 1 to 1024"),
            ("maxConnectionsPerAddress: 1025", "maxConnectionsPerAddress is 1025: want 1 to 1024"),
            ("shutdownGrace: 0", "shutdownGrace"),
        ] {
            let yaml = if yaml.starts_with("wal: ") { yaml.to_owned() } else { format!("archive: a\n{yaml}") };
            let yaml = yaml.replace("shutdownGrace: 0", "shutdownGrace: 0s");
            let error = resolve(&yaml).unwrap_err().to_string();
            assert!(error.contains(wants), "{yaml}\n{error}");
        }
    }

    #[test]
    fn listening_to_the_world_needs_tokens_or_consent() {
        for more in ["tokens: t", "insecure: true"] {
            assert!(resolve(&format!("archive: a\nlisten: 0.0.0.0:1\n{more}")).is_ok(), "{more}");
        }
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "'[::1]:1'", "'[::ffff:127.0.0.1]:1'"] {
            assert!(resolve(&format!("archive: a\nlisten: {listen}")).is_ok(), "{listen}");
        }
    }
}
