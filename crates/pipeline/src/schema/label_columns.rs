//! The labels that have a column of their own, fixed when the archive is created.

use super::{Table, columns};

/// Label columns of an archive that does not say otherwise.
pub const DEFAULT_LABEL_COLUMNS: [&str; 6] = ["namespace", "pod", "container", "node", "job", "instance"];

/// Most label columns an archive may have: each costs bytes and encoding time in every file.
const MAX_LABEL_COLUMNS: usize = 32;

/// Labels that have a column of their own, in column order. The names are free of clashes and readable by every engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelColumns(Vec<String>);

/// Why a list of label columns cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabelColumns {
    /// Too many of them.
    #[error("{0} label columns; at most {MAX_LABEL_COLUMNS}")]
    TooMany(usize),
    /// An empty name.
    #[error("a label column needs a name")]
    Empty,
    /// A table has a column of that name already.
    #[error("label column {0:?}: every table has a column of that name already; choose another label")]
    Reserved(String),
    /// Twice, or twice but for upper and lower case, which most engines do not tell apart.
    #[error("label columns {0:?} and {1:?} differ at most in case; most engines cannot tell them apart")]
    Twins(String, String),
    /// A character that Spark refuses in column names.
    #[error("label column {0:?}: {1:?} cannot stand in a column's name (Spark refuses it)")]
    Character(String, char),
}

impl LabelColumns {
    /// Checks the names.
    pub fn new(names: Vec<String>) -> Result<Self, InvalidLabelColumns> {
        if names.len() > MAX_LABEL_COLUMNS {
            return Err(InvalidLabelColumns::TooMany(names.len()));
        }
        for (at, name) in names.iter().enumerate() {
            check_name(name)?;
            if let Some(twin) = names.iter().take(at).find(|other| other.eq_ignore_ascii_case(name)) {
                return Err(InvalidLabelColumns::Twins(twin.clone(), name.clone()));
            }
        }
        Ok(Self(names))
    }

    /// The names, in column order.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl Default for LabelColumns {
    fn default() -> Self {
        Self(DEFAULT_LABEL_COLUMNS.iter().map(|&name| name.to_owned()).collect())
    }
}

fn check_name(name: &str) -> Result<(), InvalidLabelColumns> {
    if name.is_empty() {
        return Err(InvalidLabelColumns::Empty);
    }
    if let Some(bad) = name.chars().find(|c| " ,;{}()=".contains(*c) || c.is_control()) {
        return Err(InvalidLabelColumns::Character(name.to_owned(), bad));
    }
    let none = LabelColumns(Vec::new());
    let reserved = Table::ALL.iter().flat_map(|&table| columns(table, &none));
    if reserved.map(|column| column.name).chain([super::DATE.to_owned()]).any(|taken| taken.eq_ignore_ascii_case(name)) {
        return Err(InvalidLabelColumns::Reserved(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(names: &[&str]) -> Result<LabelColumns, InvalidLabelColumns> {
        LabelColumns::new(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(new(&DEFAULT_LABEL_COLUMNS), Ok(LabelColumns::default()));
    }

    #[test]
    fn bad_names_are_refused_by_name() {
        assert_eq!(new(&["Value"]), Err(InvalidLabelColumns::Reserved("Value".into())));
        assert_eq!(new(&["date"]), Err(InvalidLabelColumns::Reserved("date".into())));
        assert_eq!(new(&["Pod", "pod"]), Err(InvalidLabelColumns::Twins("Pod".into(), "pod".into())));
        assert_eq!(new(&["a b"]), Err(InvalidLabelColumns::Character("a b".into(), ' ')));
        assert_eq!(new(&[""]), Err(InvalidLabelColumns::Empty));
        assert!(matches!(LabelColumns::new(vec!["x".into(); 33]), Err(InvalidLabelColumns::TooMany(33))));
    }
}
