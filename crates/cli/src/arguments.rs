//! Flags and environment variables, as people give them.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use promarchive_api::{
    ArchiveAccess, ArchiveLocation, ByteSize, LabelColumns, ReceiverConfig, SenderLabel, Timespan, UnknownTokens,
    parse_listen,
};
use promarchive_archive::Location;
use promarchive_archive::store::Store;

use crate::failure::Failure;

/// Keeps every Prometheus sample, exactly as sent, as tables that any data tool opens.
#[derive(Debug, Parser)]
#[command(name = "promarchive", version, max_term_width = 120, subcommand_required = true)]
pub(crate) struct Arguments {
    /// What is logged to stderr: error, warn, info, debug, trace, or rules such as `promarchive_pipeline=debug,warn`
    /// [default: what RUST_LOG says, else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes remote write from Prometheus and keeps it as tables
    Receive(Box<ReceiveArguments>),
    /// Says what is in an archive: tables, time range, series, samples, files, bytes per sample
    Inspect(ReadArguments),
    /// Checks that everything in an archive is there, readable, in order, and exactly once
    Verify(VerifyArguments),
    /// Guards an archive of an earlier version: other programs then read its tables, and refuse to write to them
    Upgrade(UpgradeArguments),
    /// Asks the receiver on this machine, or in this pod, to commit everything that it has acknowledged
    Flush(FlushArguments),
}

/// What `receive` is told by flags and environment.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
A flag goes over its environment variable, that over the configuration file, that over the default.
Durations: 5m, 1h30m, 90s, 250ms. Sizes: 512Mi, 2Gi, 100MB, or plain bytes.

Example:
  promarchive receive --archive ./archive

and in prometheus.yml:
  remote_write:
    - url: http://127.0.0.1:9201/api/v1/write
      protobuf_message: io.prometheus.write.v2.Request")]
pub(crate) struct ReceiveArguments {
    /// Configuration file: the same settings in YAML, named as in `flushInterval`
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where the tables go: a directory or a file:// URL; made if it does not exist. Needed here or in the file
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_ARCHIVE")]
    archive: Option<ArchiveLocation>,
    /// Who may read the files of the archive: owner, group or everyone
    /// [default: group, or less if the umask of the process says so]
    #[arg(long, value_name = "WHO", env = "PROMARCHIVE_ARCHIVE_ACCESS")]
    archive_access: Option<ArchiveAccess>,
    /// Address and port to listen on. Anything but loopback needs --tokens [default: 127.0.0.1:9201]
    #[arg(long, value_name = "IP:PORT", env = "PROMARCHIVE_LISTEN", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Directory of the write-ahead log, never inside the archive [default: the archive's name and `.wal`, beside it]
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_WAL")]
    wal: Option<PathBuf>,
    /// Most bytes that the write-ahead log may take on disk; past them senders are told to wait [default: 8Gi]
    #[arg(long, value_name = "SIZE", env = "PROMARCHIVE_WAL_MAX_BYTES")]
    wal_max_bytes: Option<ByteSize>,
    /// Longest time from acknowledged to committed, 100ms to 1d [default: 5m]
    #[arg(long, value_name = "DURATION", env = "PROMARCHIVE_FLUSH_INTERVAL")]
    flush_interval: Option<Timespan>,
    /// Buffered bytes that start a flush before its time, at most a quarter of --memory-limit
    /// [default: an eighth of it, at most 256Mi]
    #[arg(long, value_name = "SIZE", env = "PROMARCHIVE_FLUSH_BYTES")]
    flush_bytes: Option<ByteSize>,
    /// Most bytes held in memory; past them senders are told to wait [default: 1Gi]
    #[arg(long, value_name = "SIZE", env = "PROMARCHIVE_MEMORY_LIMIT")]
    memory_limit: Option<ByteSize>,
    /// How far in the future a timestamp may be, at least 1d; later ones are refused by name [default: 1d]
    #[arg(long, value_name = "DURATION", env = "PROMARCHIVE_MAX_FUTURE")]
    max_future: Option<Timespan>,
    /// How old a sample may be when it comes, at least 1d; older ones are refused by name [default: no limit]
    #[arg(long, value_name = "DURATION", env = "PROMARCHIVE_MAX_PAST")]
    max_past: Option<Timespan>,
    /// File of the tokens, one a line: `NAME SHA256 ROLES`, with roles such as write or write,operate; taken up when it
    /// changes [default: none]
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_TOKENS")]
    tokens: Option<PathBuf>,
    /// How a write is answered whose token is not in the tokens file: refuse (401, the sender drops it) or retry (503, the
    /// sender tries again, and the file may be empty) [default: refuse]
    #[arg(long, value_name = "refuse|retry", env = "PROMARCHIVE_UNKNOWN_TOKENS")]
    unknown_tokens: Option<UnknownTokens>,
    /// Label that is set on every series to the name of its sender in the tokens file, in place of what the sender says under
    /// that name [default: none, every sender may write any series]
    #[arg(long, value_name = "LABEL", env = "PROMARCHIVE_SENDER_LABEL")]
    sender_label: Option<SenderLabel>,
    /// Certificate chain in PEM; taken up when it changes [default: none, plain HTTP]
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM [default: none, plain HTTP]
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Labels that become columns of their own, with commas between; fixed when the archive is made, at most 32, "" for none
    /// [default: those of the archive; of a new one namespace,pod,container,node,job,instance]
    #[arg(long, value_name = "NAMES", env = "PROMARCHIVE_LABEL_COLUMNS")]
    label_columns: Option<LabelColumns>,
    /// How far back, at least, a repeated request is recognised; at least two flush intervals
    /// [default: 10m, or two flush intervals if that is more]
    #[arg(long, value_name = "DURATION", env = "PROMARCHIVE_DEDUP_HORIZON")]
    dedup_horizon: Option<Timespan>,
    /// Lets anybody write who reaches an address that is not loopback
    #[arg(
        long,
        env = "PROMARCHIVE_INSECURE_ALLOW_UNAUTHENTICATED",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "true|false"
    )]
    insecure_allow_unauthenticated: Option<bool>,
    /// Longest request body, compressed; longer ones are answered with 413 [default: 32Mi]
    #[arg(long, value_name = "SIZE", env = "PROMARCHIVE_MAX_REQUEST_BYTES")]
    max_request_bytes: Option<ByteSize>,
    /// Longest request body, decompressed; longer ones are answered with 400 [default: 32Mi]
    #[arg(long, value_name = "SIZE", env = "PROMARCHIVE_MAX_DECODED_BYTES")]
    max_decoded_bytes: Option<ByteSize>,
    /// Most connections that one IP address may have at a time, 1 to 1024; raise it behind a proxy [default: 512]
    #[arg(long, value_name = "NUMBER", env = "PROMARCHIVE_MAX_CONNECTIONS_PER_ADDRESS")]
    max_connections_per_address: Option<u32>,
    /// Longest time from SIGTERM to the end; what is not committed by then stays in the write-ahead log [default: 25s]
    #[arg(long, value_name = "DURATION", env = "PROMARCHIVE_SHUTDOWN_GRACE")]
    shutdown_grace: Option<Timespan>,
}

impl From<ReceiveArguments> for ReceiverConfig {
    fn from(arguments: ReceiveArguments) -> Self {
        Self {
            archive: arguments.archive,
            archive_access: arguments.archive_access,
            listen: arguments.listen,
            wal: arguments.wal,
            wal_max_bytes: arguments.wal_max_bytes,
            flush_interval: arguments.flush_interval,
            flush_bytes: arguments.flush_bytes,
            memory_limit: arguments.memory_limit,
            max_future: arguments.max_future,
            max_past: arguments.max_past,
            tokens: arguments.tokens,
            unknown_tokens: arguments.unknown_tokens,
            sender_label: arguments.sender_label,
            tls_cert: arguments.tls_cert,
            tls_key: arguments.tls_key,
            label_columns: arguments.label_columns,
            dedup_horizon: arguments.dedup_horizon,
            insecure: arguments.insecure_allow_unauthenticated,
            max_request_bytes: arguments.max_request_bytes,
            max_decoded_bytes: arguments.max_decoded_bytes,
            max_connections_per_address: arguments.max_connections_per_address,
            shutdown_grace: arguments.shutdown_grace,
        }
    }
}

/// Which archive, and how to answer: what `inspect`, `verify` and `upgrade` have in common.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct ReadArguments {
    /// The archive: a directory or a file:// URL
    #[arg(value_name = "ARCHIVE", group = "which")]
    positional: Option<ArchiveLocation>,
    /// The same, as a flag
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_ARCHIVE", group = "which")]
    archive: Option<ArchiveLocation>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Output,
    /// Most memory that may be taken; when it is reached, the command says what it was reading and ends with exit code 3
    /// [default: half of what is free, at most 1Gi]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<ByteSize>,
}

impl ReadArguments {
    /// The store of the archive; the position goes over flag and environment.
    pub(crate) fn archive(&self) -> Result<Store, Failure> {
        // One of them is given: clap sees to it.
        let named = self.positional.as_ref().or(self.archive.as_ref()).ok_or_else(|| Failure::usage("no archive"))?;
        Location::resolve(named).and_then(Store::open).map_err(Failure::usage)
    }
}

/// What `verify` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 sound, 1 errors found, 2 wrong usage, 3 the memory limit was reached.

Example:
  promarchive verify ./archive --wal ./archive.wal --output json")]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) read: ReadArguments,
    /// The write-ahead log's directory: positions in the tables are held against it. Nothing in it is changed
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) wal: Option<PathBuf>,
}

/// What `upgrade` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
It asks nothing, and there is no way back: earlier versions of promarchive refuse an upgraded archive. Make a backup first.
A receiver of this version may run meanwhile. Exit codes: 0 all tables are guarded, 1 some are not, 2 wrong usage.

Example:
  promarchive upgrade ./archive --output json")]
pub(crate) struct UpgradeArguments {
    #[command(flatten)]
    pub(crate) read: ReadArguments,
}

/// What `flush` is told: the settings that the receiver was started with.
#[derive(Clone, Debug, Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).multiple(true),
    after_help = "\
The receiver's user may flush, and no token is needed. Other users send POST /-/flush with a token that has the role operate.
It waits until the flush is done. Exit codes: 0 done, 1 it could not be done, 2 wrong usage.

Examples:
  promarchive flush --archive ./archive
  kubectl exec deploy/lab-receiver -- /promarchive flush --config /etc/promarchive/receiver.yaml --output json"
)]
pub(crate) struct FlushArguments {
    /// Configuration file of the receiver
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_CONFIG", group = "which")]
    pub(crate) config: Option<PathBuf>,
    /// Its archive: a directory or a file:// URL
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_ARCHIVE", group = "which")]
    pub(crate) archive: Option<ArchiveLocation>,
    /// Directory of its write-ahead log [default: the archive's name and `.wal`, beside it]
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_WAL", group = "which")]
    pub(crate) wal: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns, units beside the numbers
    Table,
    /// One JSON document, numbers in base units
    Json,
}

/// Prints what clap found; for a wrong value that no flag gave, also the environment variable that did.
pub(crate) fn explain(error: &clap::Error, given: impl Iterator<Item = String>) -> ExitCode {
    // Help and version go to stdout. Nothing can be done when printing fails.
    let _ = error.print();
    if let Some(variable) = variable_at_fault(error, given) {
        let _ = writeln!(std::io::stderr(), "\n  note: the value comes from the environment variable {variable}");
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn variable_at_fault(error: &clap::Error, mut given: impl Iterator<Item = String>) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = argument.split([' ', '=', '[']).next().filter(|flag| flag.starts_with("--"))?.to_owned();
    let from_flag =
        given.any(|word| word == flag || word.strip_prefix(&flag).is_some_and(|rest| rest.starts_with('=')));
    let variable = format!("PROMARCHIVE_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"));
    (!from_flag).then_some(variable)
}

/// Variables that look like misspelt settings, each with the name that was probably meant.
///
/// Only a hint: Kubernetes sets `PROMARCHIVE_…` variables of its own for a Service of that name.
pub(crate) fn misspelt(variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let command = Arguments::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: BTreeSet<&str> = arguments.filter_map(|argument| argument.get_env()?.to_str()).collect();
    let nearest = |given: &str| known.iter().min_by_key(|name| strsim::osa_distance(given, name)).copied();
    variables
        .filter(|given| given.starts_with("PROMARCHIVE_") && !known.contains(given.as_str()))
        .filter_map(|given| Some((nearest(&given)?.to_owned(), given)))
        .filter(|(meant, given)| strsim::osa_distance(meant, given) <= 2)
        .map(|(meant, given)| (given, meant))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_reference_page_names_every_flag_variable_and_field() {
        let page = include_str!("../../../docs/reference/receive.md");
        let mut command = Arguments::command();
        let receive = command.find_subcommand_mut("receive").unwrap();
        for argument in receive.get_arguments().filter(|argument| argument.get_id() != "help") {
            let flag = format!("`--{}`", argument.get_long().unwrap());
            assert!(page.contains(&flag), "{flag} is not in docs/reference/receive.md");
            if let Some(variable) = argument.get_env() {
                let variable = variable.to_str().unwrap();
                assert!(page.contains(&format!("`{variable}`")), "{variable} is not in docs/reference/receive.md");
                assert_eq!(
                    variable,
                    flag.trim_matches('`').replace("--", "PROMARCHIVE_").replace('-', "_").to_uppercase()
                );
            }
        }
        let everything = ReceiverConfig::from_yaml("x", "nonsense: 1").unwrap_err().to_string();
        let fields = everything.split("the fields are ").nth(1).unwrap();
        for field in fields.split(", ") {
            assert!(page.contains(&format!("`{field}`")), "{field} is not in docs/reference/receive.md");
        }
    }

    #[test]
    fn the_example_of_a_configuration_file_has_every_field() {
        let example = include_str!("../../../examples/receiver.yaml");
        ReceiverConfig::from_yaml("receiver.yaml", example).unwrap();
        // What is commented out is right, too.
        let field = |line: &str| line.split_once(": ").is_some_and(|(name, _)| name.chars().all(char::is_alphabetic));
        let everything: Vec<&str> =
            example.lines().map(|line| line.strip_prefix("# ").filter(|rest| field(rest)).unwrap_or(line)).collect();
        let everything = ReceiverConfig::from_yaml("receiver.yaml", &everything.join("\n")).unwrap();
        let fields = ReceiverConfig::from_yaml("x", "nonsense: 1").unwrap_err().to_string();
        let given = everything.to_yaml();
        for field in fields.split("the fields are ").nth(1).unwrap().split(", ") {
            assert!(given.contains(&format!("{field}:")), "{field} is not in examples/receiver.yaml");
        }
    }

    #[test]
    fn misspelt_variables_are_noticed_and_those_of_kubernetes_are_not() {
        let given = ["PROMARCHIVE_FLUSH_INTERVALL", "PROMARCHIVE_WAL", "PROMARCHIVE_PORT", "PROMARCHIVE_SERVICE_HOST"];
        let found = misspelt(given.map(str::to_owned).into_iter());
        assert_eq!(found, [("PROMARCHIVE_FLUSH_INTERVALL".to_owned(), "PROMARCHIVE_FLUSH_INTERVAL".to_owned())]);
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let line = "promarchive receive --archive a --archive-access owner --listen 127.0.0.1:1 --wal w --wal-max-bytes 2Gi --flush-interval 1m \
                    --flush-bytes 1Mi --memory-limit 2Gi --max-future 2d --tokens t --unknown-tokens retry --tls-cert c --tls-key k \
                    --label-columns pod,job --dedup-horizon 1h --insecure-allow-unauthenticated \
                    --max-request-bytes 1Mi --max-decoded-bytes 2Mi \
                    --max-connections-per-address 9 --shutdown-grace 10s";
        let Command::Receive(receive) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command");
        };
        let config = ReceiverConfig::from(*receive);
        assert_eq!(config.to_yaml().lines().filter(|line| !line.starts_with("- ")).count(), 20, "{}", config.to_yaml());
        assert_eq!(config.insecure, Some(true));
        assert_eq!(config.label_columns.unwrap().names(), ["pod", "job"]);
    }
}
