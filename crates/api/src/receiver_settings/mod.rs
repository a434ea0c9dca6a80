//! From what people give to what the receiver needs: every setting concrete, every combination checked.

mod error;
mod paths;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use error::SettingsError;
pub use paths::check_apart;

use crate::{
    ArchiveAccess, ArchiveLocation, ByteSize, LabelColumns, ReceiverConfig, SenderLabel, Timespan, UnknownTokens,
};

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
    /// Where the archive is, as given.
    pub archive: ArchiveLocation,
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

impl Settings {
    /// Settings out of `config` (flags, environment and file laid over each other) and the defaults.
    pub fn resolve(config: ReceiverConfig) -> Result<Self, SettingsError> {
        let archive = config.archive.ok_or(SettingsError::NoArchive)?;
        for (setting, path) in [
            ("wal", &config.wal),
            ("tokens", &config.tokens),
            ("tlsCert", &config.tls_cert),
            ("tlsKey", &config.tls_key),
        ] {
            paths::check_plain(setting, path.as_deref())?;
        }
        let wal = match (config.wal, archive.directory()) {
            (Some(wal), _) => wal,
            (None, Some(directory)) => paths::beside(directory)?,
            (None, None) => return Err(SettingsError::NoPlaceForWal { archive: archive.to_string().into() }),
        };
        if let Some(directory) = archive.directory() {
            check_apart(directory, &wal)?;
        }

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
mod tests;
