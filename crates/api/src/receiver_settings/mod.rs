//! From what people give to what the receiver needs: every setting concrete, every combination checked.

mod error;
mod paths;

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use error::SettingsError;
pub use paths::check_apart;

use crate::bounds::{self, Bounds, OutOfBounds};
use crate::{
    ArchiveAccess, ArchiveLocation, ByteSize, Configuration, LabelColumns, SenderLabel, Timespan, UnknownTokens,
};

const MIB: u64 = 1 << 20;

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9201);
/// A file being encoded: itself, and a row group in several forms.
const ENCODING_BYTES: u64 = 64 * MIB;

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
            drain: bounds::SHUTDOWN_GRACE.or_default(None).duration(),
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
            max_request_bytes: bounds::MAX_REQUEST_BYTES.or_default(None).0,
            max_decoded_bytes: bounds::MAX_DECODED_BYTES.or_default(None).0,
            in_flight_bytes: bounds::MEMORY_LIMIT.0 / 4,
            max_connections: bounds::MAX_CONNECTIONS as usize,
            max_connections_per_address: bounds::MAX_CONNECTIONS_PER_ADDRESS.or_default(None) as usize,
            timeouts: Timeouts::default(),
        }
    }
}

impl Settings {
    /// Settings out of `configuration` (flags, environment and file laid over each other) and the defaults.
    pub fn resolve(configuration: Configuration) -> Result<Self, SettingsError> {
        let Configuration { archive: shared, receive: config } = configuration;
        let archive = shared.archive.ok_or(SettingsError::NoArchive)?;
        for (setting, path) in [
            ("wal", &config.wal),
            ("tokens", &config.tokens),
            ("tlsCert", &config.tls_cert),
            ("tlsKey", &config.tls_key),
        ] {
            paths::check_plain(setting, path.as_deref())?;
        }
        let wal = wal_apart(config.wal, &archive)?;
        let memory_limit = config.memory_limit.unwrap_or(bounds::MEMORY_LIMIT).0;
        let flush_interval = bounds::FLUSH_INTERVAL.or_default(config.flush_interval).duration();
        let shutdown_grace = bounds::SHUTDOWN_GRACE.or_default(config.shutdown_grace).duration();
        let max_request_bytes = bounds::MAX_REQUEST_BYTES.or_default(config.max_request_bytes).0;
        let max_decoded_bytes = bounds::MAX_DECODED_BYTES.or_default(config.max_decoded_bytes).0;
        let connections = bounds::MAX_CONNECTIONS_PER_ADDRESS;
        let max_connections_per_address = connections.or_default(config.max_connections_per_address);
        within(
            connections.setting,
            max_connections_per_address,
            connections.contain(max_connections_per_address),
            || format!("must be {} (the maximum of all connections)", connections.range()),
        )?;
        let one_request = max_request_bytes.saturating_add(max_decoded_bytes);
        let settings = Self {
            archive,
            archive_access: shared.archive_access,
            wal,
            wal_max_bytes: bounds::WAL_MAX_BYTES.or_default(config.wal_max_bytes).0,
            flush_interval,
            flush_bytes: config.flush_bytes.map_or(bounds::FLUSH_BYTES.0.min(memory_limit / 8), |size| size.0),
            memory_limit,
            max_future: bounds::MAX_FUTURE.or_default(config.max_future).duration(),
            max_past: config.max_past.map(Timespan::duration),
            sender_label: config.sender_label,
            dedup_horizon: config
                .dedup_horizon
                .map_or(bounds::DEDUP_HORIZON.duration().max(flush_interval.saturating_mul(2)), Timespan::duration),
            label_columns: shared.label_columns,
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
        settings.check_access(config.insecure == Some(true))?;
        settings.check_bounds()?;
        Ok(settings)
    }

    fn check_access(&self, insecure: bool) -> Result<(), SettingsError> {
        if self.http.tokens.is_some() {
            return Ok(());
        }
        let open = !self.http.listen.ip().to_canonical().is_loopback();
        if open && !insecure {
            return Err(SettingsError::Unauthenticated { listen: self.http.listen });
        }
        if self.http.unknown_tokens == UnknownTokens::Retry {
            return Err(SettingsError::NoTokensToKnow);
        }
        match self.sender_label {
            Some(_) => Err(SettingsError::NoSendersToName),
            None => Ok(()),
        }
    }

    /// What of the memory limit is left for series, rows and the horizon, in bytes: requests in flight and the encoding of files have theirs.
    pub fn held_bytes(&self) -> u64 {
        let encoding = (self.memory_limit / 8).min(ENCODING_BYTES);
        self.memory_limit.saturating_sub(self.http.in_flight_bytes).saturating_sub(encoding)
    }

    fn check_bounds(&self) -> Result<(), OutOfBounds> {
        let (request, decoded) = (ByteSize(self.http.max_request_bytes), ByteSize(self.http.max_decoded_bytes));
        bounds::MAX_REQUEST_BYTES.check(request)?;
        bounds::MAX_DECODED_BYTES.check(decoded)?;
        let least = bounds::least_memory_limit(request, decoded);
        let memory_limit = ByteSize(self.memory_limit);
        within("memoryLimit", memory_limit, memory_limit >= least, || {
            format!(
                "must be at least {least} (four times maxRequestBytes and maxDecodedBytes together): increase it, or \
                 decrease these two"
            )
        })?;
        let most = self.memory_limit / 4;
        within("flushBytes", ByteSize(self.flush_bytes), (1..=most).contains(&self.flush_bytes), || {
            format!(
                "must be 1 byte to {} (a quarter of memoryLimit), because writes continue during a flush",
                ByteSize(most)
            )
        })?;
        bounds::WAL_MAX_BYTES.check(ByteSize(self.wal_max_bytes))?;

        span_within(&bounds::FLUSH_INTERVAL, self.flush_interval)?;
        span_within(&bounds::MAX_FUTURE, self.max_future)?;
        if let Some(max_past) = self.max_past {
            span_within(&bounds::MAX_PAST, max_past)?;
        }
        span_within(&bounds::SHUTDOWN_GRACE, self.shutdown_grace)?;
        let least = self.flush_interval.saturating_mul(2);
        within("dedupHorizon", timespan(self.dedup_horizon), self.dedup_horizon >= least, || {
            format!("must be at least {} (two flush intervals)", timespan(least))
        })
    }
}

/// The WAL directory that was `given`, or else one beside the archive; never inside the archive, nor around it.
fn wal_apart(given: Option<PathBuf>, archive: &ArchiveLocation) -> Result<PathBuf, SettingsError> {
    let Some(directory) = archive.directory() else {
        return given.ok_or_else(|| SettingsError::NoWalForBucket { archive: archive.to_string() });
    };
    let wal = given.map_or_else(|| paths::beside(directory), Ok)?;
    check_apart(directory, &wal)?;
    Ok(wal)
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

fn span_within(bounds: &Bounds<Timespan>, given: Duration) -> Result<(), OutOfBounds> {
    bounds.check(timespan(given))
}

/// For bounds that depend on other settings.
fn within(
    setting: &'static str,
    given: impl Display,
    good: bool,
    bound: impl Fn() -> String,
) -> Result<(), OutOfBounds> {
    good.then_some(()).ok_or_else(|| OutOfBounds { setting, given: given.to_string(), bound: bound() })
}

#[cfg(test)]
mod tests;
