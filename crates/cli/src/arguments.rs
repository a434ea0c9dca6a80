//! Flags and environment variables, as people give them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use promarchive_api::{ArchiveConfig, ArchiveLocation, ByteSize, Configuration, ReceiveConfig, bounds};
use promarchive_archive::Location;
use promarchive_archive::store::Store;

use crate::failure::Failure;
use crate::origins::{self, Origins};

/// Stores every Prometheus sample, exactly as sent, in tables that any data tool can open.
#[derive(Debug, Parser)]
#[command(name = "promarchive", version, max_term_width = 120, subcommand_required = true)]
pub(crate) struct Arguments {
    /// Log level for stderr: error, warn, info, debug, trace, or rules such as `promarchive_pipeline=debug,warn`
    /// [default: the value of RUST_LOG, otherwise info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receives remote write from Prometheus and stores it as tables
    Receive(Box<ReceiveArguments>),
    /// Shows what is in an archive: tables, time range, series, samples, files, bytes per sample
    Inspect(ReadArguments),
    /// Checks an archive: all files exist and are readable, rows are sorted, and no row appears twice
    Verify(VerifyArguments),
    /// Guards the tables of an earlier version: other programs can then read them, but refuse to write to them
    Upgrade(UpgradeArguments),
    /// Checks whether a bucket can hold an archive: writes some objects beside the archive, and removes them
    CheckStore(CheckStoreArguments),
    /// Asks the receiver on this machine or in this pod to commit all acknowledged samples
    Flush(FlushArguments),
}

/// What `receive` is told by flags and environment. [`command`] gives each flag its variable, and its help the bounds.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
A flag overrides its environment variable, the variable overrides the configuration file, and the file overrides the default.
Durations: 5m, 1h30m, 90s, 250ms. Sizes: 512Mi, 2Gi, 100MB, or plain bytes.

Example:
  promarchive receive --archive ./archive

and in prometheus.yml:
  remote_write:
    - url: http://127.0.0.1:9201/api/v1/write
      protobuf_message: io.prometheus.write.v2.Request")]
pub(crate) struct ReceiveArguments {
    /// Configuration file in YAML with the same settings; field names are written like `flushInterval`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    archive: ArchiveConfig,
    #[command(flatten)]
    receive: ReceiveConfig,
}

impl ReceiveArguments {
    /// The settings among them.
    pub(crate) fn configuration(self) -> Configuration {
        Configuration { archive: self.archive, receive: self.receive }
    }
}

/// Which archive, and how to answer: what `inspect`, `verify` and `upgrade` have in common.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub(crate) struct ReadArguments {
    /// The archive: a directory, or a URL such as s3://bucket/archive
    #[arg(value_name = "ARCHIVE", group = "which")]
    positional: Option<ArchiveLocation>,
    /// The same, as a flag
    #[arg(long, value_name = "DIRECTORY|URL", env = "PROMARCHIVE_ARCHIVE", group = "which")]
    archive: Option<ArchiveLocation>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Output,
    /// Maximum memory; when it is reached, the command names what it was reading and exits with code 3
    /// [default: half of the free memory, at most 1Gi]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<ByteSize>,
}

impl ReadArguments {
    /// The store of the archive; the position goes over flag and environment.
    pub(crate) fn archive(&self) -> Result<Store, Failure> {
        // One of them is given: clap sees to it.
        let named =
            self.positional.as_ref().or(self.archive.as_ref()).ok_or_else(|| Failure::usage("no archive is set"))?;
        Location::resolve(named).and_then(Store::open).map_err(Failure::usage)
    }
}

/// What `verify` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 no errors, 1 errors found, 2 wrong usage, 3 memory limit reached.

Example:
  promarchive verify ./archive --wal ./archive.wal --output json")]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) read: ReadArguments,
    /// Directory of the write-ahead log: its positions are compared with those in the tables. The command does not change it
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) wal: Option<PathBuf>,
}

/// What `upgrade` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
This command does not ask for confirmation, and you cannot undo it: earlier versions of promarchive refuse an upgraded archive.
Make a backup first. A receiver of this version may run at the same time.
Exit codes: 0 all tables are guarded, 1 some tables are not guarded, 2 wrong usage.

Example:
  promarchive upgrade ./archive --output json")]
pub(crate) struct UpgradeArguments {
    #[command(flatten)]
    pub(crate) read: ReadArguments,
}

/// What `check-store` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Nothing is committed by two writers at once only if the store lets one of them put the name of a commit. So this command puts one name
twice, then 32 times at once, ten times. It costs about 350 requests, and takes a few seconds. Where the store is and which keys it wants
is said by the environment variables of its own tools: AWS_*, GOOGLE_*, AZURE_*.
Exit codes: 0 an archive can be kept there, 1 it cannot, 2 wrong usage.

Example:
  AWS_REGION=eu-west-1 promarchive check-store s3://bucket/archive --output json")]
pub(crate) struct CheckStoreArguments {
    /// Where the archive is, or is to be: s3://, gs://, az:// or abfss://
    #[arg(value_name = "URL")]
    pub(crate) url: ArchiveLocation,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Output,
}

/// What `flush` is told: the settings that the receiver was started with.
#[derive(Clone, Debug, Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).multiple(true),
    after_help = "\
Only the receiver's user may run this command; it needs no token. Other users send POST /-/flush with a token that has the role operate.
The command waits until the flush is done. Exit codes: 0 done, 1 failed, 2 wrong usage.

Examples:
  promarchive flush --archive ./archive
  kubectl exec deploy/lab-receiver -- /promarchive flush --config /etc/promarchive/receiver.yaml --output json"
)]
pub(crate) struct FlushArguments {
    /// Configuration file of the receiver
    #[arg(long, value_name = "FILE", env = "PROMARCHIVE_CONFIG", group = "which")]
    pub(crate) config: Option<PathBuf>,
    /// Archive of the receiver: a directory or a URL
    #[arg(long, value_name = "DIRECTORY|URL", env = "PROMARCHIVE_ARCHIVE", group = "which")]
    archive: Option<ArchiveLocation>,
    /// Directory of the receiver's write-ahead log [default: the archive's path with the suffix `.wal`]
    #[arg(long, value_name = "DIRECTORY", env = "PROMARCHIVE_WAL", group = "which")]
    wal: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Output,
}

impl FlushArguments {
    /// The settings among them.
    pub(crate) fn configuration(self) -> Configuration {
        Configuration {
            archive: ArchiveConfig { archive: self.archive, ..ArchiveConfig::default() },
            receive: ReceiveConfig { wal: self.wal, ..ReceiveConfig::default() },
        }
    }
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns, numbers with units
    Table,
    /// One JSON document, numbers in base units
    Json,
}

/// What the program is told by its words and its environment, and where each of it comes from.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<(Arguments, Origins), clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((arguments, Origins::of(&command, &matches)))
}

fn command() -> clap::Command {
    Arguments::command().mut_subcommand("receive", |receive| receive.mut_args(as_setting))
}

/// The flag of a setting, with the variable that says the same, and with bounds and default in its help.
fn as_setting(flag: Arg) -> Arg {
    let Some(name) = flag.get_long().map(str::to_owned) else { return flag };
    let stated = bounds::stated().into_iter().find(|stated| origins::is_field(flag.get_id().as_str(), stated.setting));
    let flag = flag.env(variable(&name));
    let (Some(stated), Some(help)) = (stated, flag.get_help().map(ToString::to_string)) else { return flag };
    let default = stated.default.map_or(String::new(), |default| format!(" [default: {default}]"));
    flag.help(format!("{help} [{}]{default}", stated.range))
}

/// The variable that says the same as a flag: `PROMARCHIVE_FLUSH_INTERVAL` for `flush-interval`.
fn variable(flag: &str) -> String {
    format!("PROMARCHIVE_{}", flag.to_uppercase().replace('-', "_"))
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
    (!from_flag).then(|| variable(flag.trim_start_matches('-')))
}

/// Variables that look like misspelt settings, each with the name that was probably meant.
///
/// Only a hint: Kubernetes sets `PROMARCHIVE_…` variables of its own for a Service of that name.
pub(crate) fn misspelt(variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let command = command();
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
        command().debug_assert();
    }

    /// Flag, variable and field of every setting.
    fn settings() -> Vec<(String, String, String)> {
        let mut command = command();
        let receive = command.find_subcommand_mut("receive").unwrap();
        let fields = fields();
        let flags = receive.get_arguments().filter(|argument| argument.get_id() != "config");
        let settings: Vec<_> = flags
            .map(|argument| {
                let id = argument.get_id().as_str();
                let field = fields.iter().find(|field| origins::is_field(id, field));
                let field = field.unwrap_or_else(|| panic!("{id} is no field of a configuration file"));
                let variable = argument.get_env().unwrap_or_else(|| panic!("{id} has no variable"));
                let flag = argument.get_long().unwrap();
                assert_eq!(variable, OsString::from(super::variable(flag)));
                (format!("--{flag}"), variable.to_str().unwrap().to_owned(), field.clone())
            })
            .collect();
        assert_eq!(settings.len(), fields.len(), "every field has a flag: {fields:?}");
        settings
    }

    /// What a configuration file may have besides sections.
    fn fields() -> Vec<String> {
        let wrong = Configuration::from_yaml("x", "nonsense: 1").unwrap_err().to_string();
        let fields = wrong.split("valid fields are ").nth(1).unwrap().split(", ").map(str::to_owned);
        fields.filter(|field| field != "receive").collect()
    }

    /// What the page says of each setting: a cell of its default and a cell of what it is.
    fn rows() -> Vec<(String, [String; 2])> {
        let page = include_str!("../../../docs/reference/receive.md");
        let row = |(flag, variable, field): &(String, String, String)| {
            let begins = format!("| `{flag}` | `{variable}` | `{field}` | ");
            let row = page.lines().find_map(|line| line.strip_prefix(&begins));
            let row = row.unwrap_or_else(|| panic!("docs/reference/receive.md has no row that begins with {begins}"));
            let (default, what) = row.split_once(" | ").unwrap();
            (field.clone(), [default, what].map(|cell| cell.replace('`', "")))
        };
        settings().iter().map(row).collect()
    }

    #[test]
    fn every_setting_is_flag_variable_field_and_row_of_the_reference_page() {
        let rows = rows();
        assert!(rows.len() >= 22, "{rows:?}");
        let page = include_str!("../../../docs/reference/receive.md");
        let table = page.lines().filter(|line| line.starts_with("| `--")).count();
        assert_eq!(table, rows.len() + 1, "a row is of no setting; one more is that of --config");
    }

    #[test]
    fn page_help_and_example_have_the_bounds_and_defaults_that_are_in_force() {
        let mut command = command();
        let help = command.find_subcommand_mut("receive").unwrap().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let example = include_str!("../../../examples/receiver.yaml");
        let rows = rows();
        for stated in bounds::stated() {
            let (_, [default, what]) = rows.iter().find(|(field, _)| field == stated.setting).unwrap();
            assert!(
                what.contains(&stated.range),
                "docs/reference/receive.md: {}: wants {}",
                stated.setting,
                stated.range
            );
            let Some(wants) = &stated.default else { continue };
            assert_eq!(default, wants, "docs/reference/receive.md: {}", stated.setting);
            assert!(example.contains(&format!("{}: {wants}\n", stated.setting)), "examples/receiver.yaml: {stated:?}");
            assert!(help.contains(&format!("[{}] [default: {wants}]", stated.range)), "{stated:?}\n{help}");
        }
        for (field, in_page, in_help) in [
            ("memoryLimit", bounds::MEMORY_LIMIT.to_string(), format!("[default: {}]", bounds::MEMORY_LIMIT)),
            ("flushBytes", format!("at most {}", bounds::FLUSH_BYTES), format!("at most {}]", bounds::FLUSH_BYTES)),
            (
                "dedupHorizon",
                format!("{}, or", bounds::DEDUP_HORIZON),
                format!("[default: {}, or", bounds::DEDUP_HORIZON),
            ),
        ] {
            let (_, [default, _]) = rows.iter().find(|(name, _)| name == field).unwrap();
            assert!(default.contains(&in_page), "docs/reference/receive.md: {field}: {default}");
            assert!(help.contains(&in_help), "{field}: {in_help}\n{help}");
        }
    }

    #[test]
    fn the_example_of_a_configuration_file_has_every_field() {
        let example = include_str!("../../../examples/receiver.yaml");
        Configuration::from_yaml("receiver.yaml", example).unwrap();
        // What is commented out is right, too.
        let field = |line: &str| line.split_once(": ").is_some_and(|(name, _)| name.chars().all(char::is_alphabetic));
        let uncommented = |line: &str| match line.split_once("# ") {
            Some((indent, rest)) if indent.trim().is_empty() && field(rest) => format!("{indent}{rest}"),
            _ => line.to_owned(),
        };
        let everything: Vec<String> = example.lines().map(uncommented).collect();
        let everything = Configuration::from_yaml("receiver.yaml", &everything.join("\n")).unwrap();
        let given = everything.to_receiver_yaml();
        for field in fields() {
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
                    --flush-bytes 1Mi --memory-limit 2Gi --max-future 2d --max-past 3d --tokens t --unknown-tokens retry \
                    --sender-label sender --tls-cert c --tls-key k --label-columns pod,job --dedup-horizon 1h \
                    --insecure-allow-unauthenticated --max-request-bytes 1Mi --max-decoded-bytes 2Mi \
                    --max-connections-per-address 9 --shutdown-grace 10s";
        let (arguments, origins) = parse(line.split_whitespace().map(OsString::from)).unwrap();
        let Command::Receive(receive) = arguments.command else {
            panic!("another command");
        };
        let config = receive.configuration();
        let written = config.to_receiver_yaml();
        for (flag, _, field) in settings() {
            assert!(written.contains(&format!("{field}: ")) || written.contains(&format!("{field}:\n- ")), "{written}");
            assert_eq!(origins.origin(&field), Some(format!("by {flag}").as_str()));
        }
        assert_eq!(config.receive.insecure, Some(true));
        assert_eq!(config.archive.label_columns.unwrap().names(), ["pod", "job"]);
    }
}
