//! The one place that knows which YAML library is used, and turns its errors into ones that a person can act on.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Serialize;
use serde::de::{self, DeserializeOwned, Deserializer};

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

/// Reads one YAML document; `file` is its name in errors. An empty document is an empty mapping.
pub(crate) fn from_str<T: DeserializeOwned + Default>(file: &str, text: &str) -> Result<T, ConfigError> {
    // Editors of Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_yaml::from_str::<Option<T>>(text) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) => Err(explain(file, text, &error)),
    }
}

/// Writes one YAML document.
pub(crate) fn to_string<T: Serialize>(value: &T) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(value)
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

fn explain(file: &str, text: &str, error: &serde_yaml::Error) -> ConfigError {
    let mut place = error.location().map(|at| (at.line(), at.column()));
    let mut message = without_place(&error.to_string());
    if let Some((field, valid)) = unknown_field(&message) {
        // The library points at the mapping, a person wants the line of the key.
        place = place_of_key(text, field).or(place);
        message = format!("unknown field \"{field}\"; {}", suggestion(field, &valid));
    } else if let Some(field) = between(&message, "duplicate field `", "`").map(str::to_owned) {
        place = place_of_key_from(text, &field, 1).or(place);
        message = format!("field \"{field}\" is given twice: keep one");
    } else if let Some((field, _)) = message.split_once(": ") {
        place = place_of_key(text, field).or(place);
    }
    ConfigError { file: file.to_owned(), place, message }
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
        _ => format!("the fields are {}", valid.join(", ")),
    }
}

fn place_of_key(text: &str, key: &str) -> Option<(usize, usize)> {
    place_of_key_from(text, key, 0)
}

/// Line and column of the `nth` (from 0) line that starts with `key` and a colon.
fn place_of_key_from(text: &str, key: &str, nth: usize) -> Option<(usize, usize)> {
    let is_key = |line: &str| {
        let rest = line.trim_start();
        let rest = rest.strip_prefix(key).or_else(|| rest.strip_prefix(['"', '\''])?.strip_prefix(key));
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    let (number, line) = text.lines().enumerate().filter(|(_, line)| is_key(line)).nth(nth)?;
    Some((number + 1, line.len() - line.trim_start().len() + 1))
}
