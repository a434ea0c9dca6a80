//! The settings of a command. Flags and environment override the file, and each value remembers where it was set.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use config::{Config, ConfigError, Map, Source, Value};
use promarchive_api::{ConfigFile, Configuration};

use crate::failure::Failure;
use crate::origins::Origins;

/// The settings of all layers.
pub(crate) struct Layers {
    merged: Config,
    /// The section of the command.
    section: &'static str,
}

impl Layers {
    /// For the command with the section `section`: what was `given` by flags and variables overrides what is in `file`.
    pub(crate) fn new(
        section: &'static str,
        file: Option<&Path>,
        given: &Configuration,
        origins: &Origins,
    ) -> Result<Self, Failure> {
        let mut layers = Config::builder();
        if let Some(path) = file {
            let file = ConfigFile::read(path).map_err(Failure::usage)?;
            let in_file = |table: &str, field: &str| Some(format!("in {}", file.place(table, field)));
            layers = layers.add_source(Layer::of(&file.configuration, in_file).map_err(Failure::usage)?);
        }
        let given = Layer::of(given, |_, field| origins.origin(field).map(str::to_owned)).map_err(|error| {
            let what = origins.no_text.as_deref().map_or(String::new(), |origin| format!(" set {origin}"));
            Failure::usage(format!("invalid value{what}: {error}"))
        })?;
        let merged = layers.add_source(given).build().map_err(Failure::usage)?;
        Ok(Self { merged, section })
    }

    /// The value of each setting in the uppermost layer that has it.
    pub(crate) fn configuration(&self) -> Result<Configuration, Failure> {
        self.merged.clone().try_deserialize().map_err(Failure::usage)
    }

    /// Adds to `error` where its setting was set. If it is about several `settings`, the first one that was set is named.
    pub(crate) fn fault(&self, error: impl Error, settings: &[&str]) -> Failure {
        let found = settings.iter().find_map(|setting| Some((setting, self.origin(setting)?)));
        Failure::usage(match found {
            Some((setting, origin)) if settings.len() > 1 => format!("{error} ({setting} is set {origin})"),
            Some((_, origin)) => format!("{error} (set {origin})"),
            None => error.to_string(),
        })
    }

    fn origin(&self, setting: &str) -> Option<String> {
        // The settings of the archive are for every command.
        ["archive", self.section].iter().find_map(|table| {
            let table = self.merged.get_table(table).ok()?;
            table.get(setting)?.origin().map(str::to_owned)
        })
    }
}

/// One layer: a table for each field of [`Configuration`].
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Layer {
    fn of(
        configuration: &Configuration,
        origin: impl Fn(&str, &str) -> Option<String>,
    ) -> Result<Self, serde_json::Error> {
        type Tables = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
        let tables: Tables = serde_json::from_value(serde_json::to_value(configuration)?)?;
        let mut layer = Map::new();
        for (table, fields) in tables {
            let mut values: Map<String, Value> = Map::new();
            for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                let value: Value = serde_json::from_value(value)?;
                let from = origin(&table, &field);
                values.insert(field, Value::new(from.as_ref(), value.kind));
            }
            layer.insert(table, Value::new(None, values));
        }
        Ok(Self(layer))
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LOWER: &str = "\
archive: a
archiveAccess: Group
labelColumns: [pod]
listen: 127.0.0.1:1
wal: w
walMaxBytes: 1Gi
flushInterval: 1m
flushBytes: 1Mi
memoryLimit: 1Gi
maxFuture: 1d
maxPast: 1d
tokens: t
unknownTokens: Retry
senderLabel: a
tlsCert: c
tlsKey: k
dedupHorizon: 1h
insecure: true
maxRequestBytes: 1Mi
maxDecodedBytes: 1Mi
maxConnectionsPerAddress: 1
shutdownGrace: 1s
";
    const UPPER: &str = "\
archive: /b
archiveAccess: Everyone
labelColumns: []
listen: '[::1]:2'
wal: '2'
walMaxBytes: 17
flushInterval: 250ms
flushBytes: 0
memoryLimit: 18446744073709551615
maxFuture: 1w
maxPast: 1h30m
tokens: 'true'
unknownTokens: Refuse
senderLabel: b
tlsCert: 'null'
tlsKey: '~'
dedupHorizon: '0'
insecure: false
maxRequestBytes: 100MB
maxDecodedBytes: 1Ki
maxConnectionsPerAddress: 0
shutdownGrace: 2m
";

    fn parsed(text: &str) -> Configuration {
        Configuration::from_yaml("f", text).unwrap()
    }

    /// Each setting by itself, and all together; also what is empty, zero or false goes over what is not.
    #[test]
    fn a_flag_goes_over_the_file_and_leaves_the_rest() {
        let every = Configuration::from_yaml("f", "nonsense: 1").unwrap_err().to_string();
        let every = every.split("valid fields are ").nth(1).unwrap().split(", ").filter(|field| *field != "receive");
        for text in [LOWER, UPPER] {
            let fields: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
            assert_eq!(fields, every.clone().collect::<Vec<_>>());
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.yaml");
        fs::write(&file, LOWER).unwrap();
        let over = |given: &str| {
            let layers = Layers::new("receive", Some(&file), &parsed(given), &Origins::default()).unwrap();
            layers.configuration().unwrap()
        };
        assert_eq!(over(""), parsed(LOWER));
        assert_eq!(over(UPPER), parsed(UPPER));
        for (at, line) in UPPER.lines().enumerate() {
            let wants: Vec<&str> = LOWER.lines().enumerate().map(|(n, old)| if n == at { line } else { old }).collect();
            assert_eq!(over(line), parsed(&wants.join("\n")), "{line}");
        }
    }
}
