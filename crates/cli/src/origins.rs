//! Which flag or variable each setting of the command line comes from.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Where each setting comes from that is not from a file, by the id of its argument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    of: BTreeMap<String, String>,
    /// One whose value is no text, and so cannot be a setting.
    pub(crate) no_text: Option<String>,
}

impl Origins {
    /// Of what the subcommand of `command` was given. `command` is the one that made `matches`.
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

    /// Where `field`, as it is named in a file, comes from: `by --flush-interval`.
    pub(crate) fn origin(&self, field: &str) -> Option<&str> {
        self.of.iter().find(|(id, _)| is_field(id, field)).map(|(_, origin)| origin.as_str())
    }
}

/// Whether an argument sets a field: `flush_interval` sets `flushInterval`.
pub(crate) fn is_field(id: &str, field: &str) -> bool {
    id.replace('_', "").eq_ignore_ascii_case(field)
}
