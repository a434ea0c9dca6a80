//! Which labels become columns of their own in the tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Names of the labels that are columns of their own, in column order. Valid by construction: see [`LabelColumns::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LabelColumns(Vec<String>);

/// Columns that the tables with label columns (samples, histograms, exemplars) have of their own.
pub const RESERVED_COLUMNS: &[&str] = &[
    "date",
    "metric",
    "labels",
    "series_id",
    "timestamp",
    "start_timestamp",
    "value",
    "stale",
    "reset_hint",
    "schema",
    "zero_threshold",
    "sum",
    "count",
    "zero_count",
    "positive_counts",
    "negative_counts",
    "float_count",
    "float_zero_count",
    "float_positive_counts",
    "float_negative_counts",
    "positive_spans",
    "negative_spans",
    "custom_values",
    "exemplar_labels",
    "type",
    "unit",
    "help",
];

/// Columns that tables of later versions will have beside the label columns: those of downsampled samples, and of the series.
pub const RESERVED_FOR_LATER: &[&str] = &[
    "nan_count",
    "sum_compensation",
    "min",
    "max",
    "first_timestamp",
    "first",
    "previous_timestamp",
    "previous",
    "last_timestamp",
    "last",
    "resets",
    "reset_sum",
    "start_resets",
    "changes",
    "first_start_timestamp",
    "last_start_timestamp",
    "stale_timestamp",
    "label_map",
    "samples",
    "histograms",
];

const MOST: usize = LabelColumns::MOST;
const LONGEST_BYTES: usize = LabelColumns::LONGEST_BYTES;

/// Why a list of names cannot be [`LabelColumns`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelColumnsError {
    /// An empty name.
    #[error("a label column has an empty name: remove it")]
    Empty,
    /// The name of a column that the tables have anyway.
    #[error(
        "label column \"{name}\" is already a column of the tables: remove it (the column `labels` contains every \
         label)"
    )]
    Reserved {
        /// The name as given.
        name: String,
    },
    /// Spark and DuckDB do not tell column names apart by case.
    #[error("label columns \"{first}\" and \"{second}\" are the same or differ only in case: remove one of them")]
    Twins {
        /// The name that came first.
        first: String,
        /// The name that came later.
        second: String,
    },
    /// A character that Delta or Spark does not allow in a column name.
    #[error(
        "label column {name:?} contains the character {character:?}: a column name must not contain \" ,;{{}}()=\", \
         tab or newline"
    )]
    Character {
        /// The name as given.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// Names in a new archive have no dot.
    #[error(
        "label column \"{name}\" contains a dot: DuckDB and ClickHouse cannot filter by such a column. Remove it and \
         read the label from the column `labels` (in DuckDB: labels->>'$.\"{name}\"'), or rename the label to \
         \"{without}\" where it is scraped or sent, and use the new name here"
    )]
    Dot {
        /// The name as given.
        name: String,
        /// The same with underscores.
        without: String,
    },
    /// Names in a new archive are none that later tables need.
    #[error(
        "label column \"{name}\" has the name of a column of the tables of downsampled samples: remove it (the column \
         `labels` contains every label), or rename the label where it is scraped or sent"
    )]
    ForLater {
        /// The name as given.
        name: String,
    },
    /// Too long for a column name.
    #[error("label column \"{name}…\" is longer than {LONGEST_BYTES} bytes: remove it")]
    TooLong {
        /// The beginning of the name.
        name: String,
    },
    /// Too many columns.
    #[error(
        "there are {given} label columns, but at most {MOST} are allowed: remove some (the column `labels` contains \
         every label)"
    )]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

impl LabelColumns {
    /// Most names.
    pub const MOST: usize = 32;
    /// Longest name, in bytes.
    pub const LONGEST_BYTES: usize = 128;

    /// Takes `names`, in this order, if tables can have them as columns; an empty list is a valid one.
    pub fn new(names: Vec<String>) -> Result<Self, LabelColumnsError> {
        if names.len() > MOST {
            return Err(LabelColumnsError::TooMany { given: names.len() });
        }
        for (position, name) in names.iter().enumerate() {
            check_name(name)?;
            let lower = name.to_lowercase();
            if let Some(first) = names.iter().take(position).find(|first| first.to_lowercase() == lower) {
                return Err(LabelColumnsError::Twins { first: first.clone(), second: name.clone() });
            }
        }
        Ok(Self(names))
    }

    /// Whether a new archive may have them. Archives of earlier versions may have names with dots, and names that later tables need; they
    /// keep them.
    pub fn check_for_new_archive(&self) -> Result<(), LabelColumnsError> {
        if let Some(name) = self.0.iter().find(|name| name.contains('.')) {
            return Err(LabelColumnsError::Dot { name: name.clone(), without: name.replace('.', "_") });
        }
        match self.for_later() {
            Some(name) => Err(LabelColumnsError::ForLater { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// One of the names that later tables need, if any is; an archive with it cannot have those tables.
    pub fn for_later(&self) -> Option<&str> {
        let is_needed = |name: &&String| RESERVED_FOR_LATER.contains(&name.to_lowercase().as_str());
        self.0.iter().find(is_needed).map(String::as_str)
    }

    /// The names, in column order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The names, in column order.
    pub fn into_names(self) -> Vec<String> {
        self.0
    }
}

impl Default for LabelColumns {
    fn default() -> Self {
        Self(["namespace", "pod", "container", "node", "job", "instance"].map(str::to_owned).to_vec())
    }
}

fn check_name(name: &str) -> Result<(), LabelColumnsError> {
    if name.is_empty() {
        return Err(LabelColumnsError::Empty);
    }
    if name.len() > LONGEST_BYTES {
        return Err(LabelColumnsError::TooLong { name: name.chars().take(32).collect() });
    }
    if let Some(character) = name.chars().find(|c| " ,;{}()=".contains(*c) || c.is_control()) {
        return Err(LabelColumnsError::Character { name: name.to_owned(), character });
    }
    // `__name__` is the column `metric`.
    let lower = name.to_lowercase();
    if lower == "__name__" || RESERVED_COLUMNS.contains(&lower.as_str()) {
        return Err(LabelColumnsError::Reserved { name: name.to_owned() });
    }
    Ok(())
}

/// A list as flags and environment have it: `namespace,pod`; empty for none.
impl FromStr for LabelColumns {
    type Err = LabelColumnsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        Self::new(text.split(',').map(|name| name.trim().to_owned()).collect())
    }
}

impl fmt::Display for LabelColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for LabelColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Checked inside the visitor: the YAML library knows line and field only of errors that arise there.
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = LabelColumns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of label names, for example [namespace, pod]")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, names: A) -> Result<LabelColumns, A::Error> {
                let names = Vec::deserialize(de::value::SeqAccessDeserializer::new(names))?;
                LabelColumns::new(names).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_read_back() {
        let default = LabelColumns::default();
        assert_eq!(LabelColumns::new(default.names().to_vec()), Ok(default.clone()));
        assert_eq!(default.to_string().parse(), Ok(default));
        assert_eq!("".parse(), Ok(LabelColumns(Vec::new())));
        assert_eq!("a, b".parse::<LabelColumns>().unwrap().names(), ["a", "b"]);
    }

    #[test]
    fn what_no_table_can_hold_is_refused_by_name() {
        for (text, wants) in [
            ("pod,VALUE", "\"VALUE\" is already a column of the tables"),
            ("__name__", "\"__name__\" is already a column"),
            ("pod,Pod", "\"pod\" and \"Pod\""),
            ("pod,pod", "\"pod\" and \"pod\""),
            ("a b", "' '"),
            ("a;b", "';'"),
            ("a\tb", "'\\t'"),
            ("a,,b", "empty name"),
        ] {
            let error = text.parse::<LabelColumns>().unwrap_err().to_string();
            assert!(error.contains(wants), "{text:?}: {error}");
        }
        for character in " ;{}()=\n\t".chars() {
            let refused = LabelColumns::new(vec![format!("a{character}b")]);
            assert!(matches!(refused, Err(LabelColumnsError::Character { .. })), "{character:?}");
        }
        let dotted: LabelColumns = "pod,k8s.pod.name".parse().unwrap();
        let error = dotted.check_for_new_archive().unwrap_err().to_string();
        for part in
            ["label column \"k8s.pod.name\" contains a dot", "labels->>'$.\"k8s.pod.name\"'", "\"k8s_pod_name\""]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(LabelColumns::default().check_for_new_archive(), Ok(()));
        for name in ["min", "Last_Timestamp", "label_map"] {
            let later = LabelColumns::new(vec!["pod".to_owned(), name.to_owned()]).unwrap();
            assert_eq!(later.for_later(), Some(name), "an archive that has it goes on");
            assert_eq!(later.check_for_new_archive(), Err(LabelColumnsError::ForLater { name: name.to_owned() }));
        }
        let many = (0..33).map(|n| format!("l{n}")).collect();
        assert_eq!(LabelColumns::new(many), Err(LabelColumnsError::TooMany { given: 33 }));
        let long = "x".repeat(129);
        assert!(long.parse::<LabelColumns>().unwrap_err().to_string().contains("128 bytes"));
    }

    /// The API server checks them by a list of its own.
    #[test]
    fn the_rule_of_the_kind_has_the_same_names() {
        let names = format!("in ['{}']", RESERVED_FOR_LATER.join("', '"));
        assert!(include_str!("metrics_archive/receiver.rs").contains(&names), "{names}");
    }
}
