//! The one place that knows which YAML library is used, and turns its errors into ones that a person can act on.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Serialize;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer};
use serde_yaml::{Mapping, Value};

/// What is wrong in a configuration file, and where: `receiver.yaml:3:1: unknown field …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    /// Line and column, from 1, if the fault has a place.
    place: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A YAML document whose top-level fields belong to several types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Its name in errors.
    file: &'a str,
    text: &'a str,
    /// Fields that stand at the top level alone, whatever section a person looks for them in.
    shared: &'a [String],
}

impl<'a> Document<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str, shared: &'a [String]) -> Self {
        // Editors of Windows begin a file with a byte order mark.
        Self { file, text: text.strip_prefix('\u{feff}').unwrap_or(text), shared }
    }

    /// Refuses a top-level field that is none of `known`.
    pub(crate) fn check_fields(&self, known: &[String]) -> Result<(), ConfigError> {
        let FieldsGiven(given) = self.read()?;
        match given.iter().find(|field| !known.contains(field)) {
            None => Ok(()),
            Some(field) => {
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                Err(self.error_at(field, format!("unknown field \"{field}\"; {}", suggestion(field, &names))))
            }
        }
    }

    /// Reads those top-level fields that a `T` has, and skips the others.
    pub(crate) fn fields_of<T: DeserializeOwned + Serialize + Default>(&self) -> Result<T, ConfigError> {
        Ok(self.read::<FieldsOf<T>>()?.0)
    }

    /// An empty document is an empty mapping.
    fn read<T: DeserializeOwned + Default>(&self) -> Result<T, ConfigError> {
        match serde_yaml::from_str::<Option<T>>(self.text) {
            Ok(value) => Ok(value.unwrap_or_default()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// An error about a top-level field.
    pub(crate) fn error_at(&self, field: &str, message: String) -> ConfigError {
        ConfigError { file: self.file.to_owned(), place: place_of_key(self.text, None, field, 0), message }
    }

    /// Line and column of `field` in the section `section`, else at the top level.
    pub(crate) fn place_of(&self, section: &str, field: &str) -> Option<(usize, usize)> {
        place_of_key(self.text, Some(section), field, 0).or_else(|| place_of_key(self.text, None, field, 0))
    }

    fn explain(&self, error: &serde_yaml::Error) -> ConfigError {
        let message = without_place(&error.to_string());
        let (path, said) = split_path(&message);
        let inside = path.map_or(String::new(), |path| format!("{path}: "));
        // The library points at the mapping, a person wants the line of the key.
        let (place, message) = if let Some((field, valid)) = unknown_field(said) {
            let hint = match path.is_some() && self.shared.iter().any(|shared| shared == field) {
                true => "this setting is for all commands: move it to the top level".to_owned(),
                false => suggestion(field, &valid),
            };
            (place_of_key(self.text, path, field, 0), format!("{inside}unknown field \"{field}\"; {hint}"))
        } else if let Some(field) = between(said, "duplicate field `", "`") {
            (
                place_of_key(self.text, path, field, 1),
                format!("{inside}field \"{field}\" is given twice: remove one of them"),
            )
        } else {
            let path = path.map(|path| path.split('[').next().unwrap_or(path));
            let place = path.and_then(|path| match path.split_once('.') {
                Some((section, field)) => place_of_key(self.text, Some(section), field, 0),
                None => place_of_key(self.text, None, path, 0),
            });
            (place, message)
        };
        let place = place.or_else(|| error.location().map(|at| (at.line(), at.column())));
        ConfigError { file: self.file.to_owned(), place, message }
    }
}

/// Names of the fields of a `T`, in their order.
pub(crate) fn field_names<T: Serialize + Default>() -> Vec<String> {
    fields(&T::default()).map(|(name, _)| name).collect()
}

/// The fields of `value` that are set, in their order.
pub(crate) fn given<T: Serialize>(value: &T) -> impl Iterator<Item = (String, Value)> + use<T> {
    fields(value).filter(|(_, value)| !value.is_null())
}

fn fields<T: Serialize>(value: &T) -> impl Iterator<Item = (String, Value)> + use<T> {
    // Plain strings, numbers and lists cannot fail to be written.
    let mapping = match serde_yaml::to_value(value) {
        Ok(Value::Mapping(mapping)) => mapping,
        _ => Mapping::new(),
    };
    mapping.into_iter().filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value)))
}

/// Writes one YAML document.
pub(crate) fn to_string(fields: impl Iterator<Item = (String, Value)>) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&fields.map(|(name, value)| (Value::String(name), value)).collect::<Mapping>())
}

/// Names of the fields of a mapping.
#[derive(Default)]
struct FieldsGiven(Vec<String>);

impl<'de> Deserialize<'de> for FieldsGiven {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FieldsGiven;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings, for example archive: ./archive")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<FieldsGiven, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(FieldsGiven(names))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A `T` of those fields of a mapping that it has.
#[derive(Default)]
struct FieldsOf<T>(T);

impl<'de, T: Deserialize<'de> + Serialize + Default> Deserialize<'de> for FieldsOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Serialize + Default> de::Visitor<'de> for Visitor<T> {
            type Value = FieldsOf<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings, for example archive: ./archive")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<FieldsOf<T>, A::Error> {
                let chosen = Chosen { map, names: field_names::<T>() };
                T::deserialize(MapAccessDeserializer::new(chosen)).map(FieldsOf)
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

/// A mapping that seems to have no fields but those of `names`.
struct Chosen<A> {
    map: A,
    names: Vec<String>,
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Chosen<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            if self.names.contains(&name) {
                let name: StringDeserializer<A::Error> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
            let IgnoredAny = self.map.next_value()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads a string as a `T`; `what` says what is wanted where something else stands.
///
/// The text is parsed inside the visitor: the library knows line and field only of errors that arise there.
pub(crate) fn from_text<'de, D, T>(deserializer: D, what: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Visitor<T>(&'static str, PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Visitor<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor(what, PhantomData))
}

/// The library's message without its own " at line 3 column 1", which stands in front in ours.
fn without_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).replace('\n', " ")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}

/// The field and the valid ones, out of serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let field = between(message, "unknown field `", "`, expected ")?;
    let valid = message.split_once("`, expected ")?.1;
    Some((field, valid.split('`').skip(1).step_by(2).collect()))
}

fn suggestion(field: &str, valid: &[&str]) -> String {
    let lower = field.to_lowercase();
    let nearest = valid.iter().max_by(|a, b| {
        let likeness = |name: &str| strsim::jaro_winkler(&lower, &name.to_lowercase());
        likeness(a).total_cmp(&likeness(b))
    });
    match nearest {
        Some(near) if strsim::jaro_winkler(&lower, &near.to_lowercase()) > 0.75 => format!("did you mean \"{near}\"?"),
        _ => format!("valid fields are {}", valid.join(", ")),
    }
}

/// The path of a field and what is wrong with it, out of "receive.listen: invalid type".
fn split_path(message: &str) -> (Option<&str>, &str) {
    match message.split_once(": ") {
        Some((path, said)) if !path.contains([' ', '`', '"']) => (Some(path), said),
        _ => (None, message),
    }
}

/// Line and column of the `nth` (from 0) line that begins with `key` and a colon: in the block of `section`, or at the top level.
fn place_of_key(text: &str, section: Option<&str>, key: &str, nth: usize) -> Option<(usize, usize)> {
    let lines: Vec<Line<'_>> = text.lines().enumerate().filter_map(|(at, line)| Line::of(at, line)).collect();
    let top = lines.first()?.indent;
    let block = match section {
        None => lines.as_slice(),
        Some(section) => {
            let begin = lines.iter().position(|line| line.indent == top && line.has_key(section))? + 1;
            let rest = lines.get(begin..)?;
            let end = rest.iter().position(|line| line.indent <= top).unwrap_or(rest.len());
            rest.get(..end)?
        }
    };
    let level = block.first()?.indent;
    let found = |level: Option<usize>| {
        let is_it = |line: &&Line<'_>| line.has_key(key) && level.is_none_or(|level| line.indent == level);
        block.iter().filter(is_it).nth(nth).map(|line| (line.number, line.indent + 1))
    };
    // In braces, the fields are not where the block begins.
    found(Some(level)).or_else(|| found(None))
}

/// A line that is neither empty nor a comment nor the beginning of the document.
struct Line<'a> {
    /// From 1.
    number: usize,
    /// In bytes.
    indent: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn of(at: usize, line: &'a str) -> Option<Self> {
        let text = line.trim_start();
        let says_something = !text.is_empty() && !text.starts_with(['#', '%']) && !line.starts_with("---");
        says_something.then(|| Self { number: at + 1, indent: line.len() - text.len(), text })
    }

    fn has_key(&self, key: &str) -> bool {
        let rest = self.text.strip_prefix(key).or_else(|| self.text.strip_prefix(['"', '\''])?.strip_prefix(key));
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    }
}
