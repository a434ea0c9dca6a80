//! Which flag or environment variable has set a setting.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// For each setting that is not from a file: the flag or variable that has set it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// By the id of the argument.
    of: BTreeMap<String, String>,
    /// The origin of a value that is not valid UTF-8, and so cannot be a setting.
    pub(crate) no_text: Option<String>,
}

impl Origins {
    /// Of the arguments of the subcommand. `command` must be the one that made `matches`.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut origins = Self::default();
        let Some((name, matches)) = matches.subcommand() else { return origins };
        let arguments = command.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
        for argument in arguments {
            let id = argument.get_id().as_str();
            // Only what was given has an id there.
            if !matches.ids().any(|given| given == id) {
                continue;
            }
            let origin = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => argument.get_long().map(|flag| format!("by --{flag}")),
                Some(ValueSource::EnvVariable) => {
                    argument.get_env().map(|variable| format!("by the environment variable {}", variable.display()))
                }
                _ => None,
            };
            let Some(origin) = origin else { continue };
            if matches.get_raw(id).into_iter().flatten().any(|value| value.to_str().is_none()) {
                origins.no_text = Some(origin.clone());
            }
            origins.of.insert(id.to_owned(), origin);
        }
        origins
    }

    /// What has set `field`, which is its name in a file: `by --flush-interval`.
    pub(crate) fn origin(&self, field: &str) -> Option<&str> {
        self.of.iter().find(|(id, _)| is_field(id, field)).map(|(_, origin)| origin.as_str())
    }
}

/// Whether an argument sets a field: `flush_interval` sets `flushInterval`.
pub(crate) fn is_field(id: &str, field: &str) -> bool {
    id.replace('_', "").eq_ignore_ascii_case(field)
}
