//! What a table asks of the programs that open it: Delta's protocol versions and features.
//!
//! Other programs can write Delta tables, and what they write breaks what promarchive promises of its rows. So a new table asks its writers for
//! a feature that promarchive alone knows. Delta's protocol says that a program must not write to a table with a writer feature that it does
//! not know, and that it may read it. `docs/reference/foreign-writers.md` tells which programs keep to that.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

/// The writer feature of promarchive.
pub const WRITER_FEATURE: &str = "promarchive";
/// All features of a guarded table. Spark wants those listed that the lower versions have without being asked.
const GUARDED_FEATURES: [&str; 3] = ["appendOnly", "invariants", WRITER_FEATURE];
/// Versions of reader and writer of an open table, and of a guarded one.
const OPEN: (i64, i64) = (1, 2);
const GUARDED: (i64, i64) = (1, 7);

/// What to do about a table with another protocol.
pub const OTHER_PROTOCOL: &str = "if a newer version of promarchive created or upgraded the archive, use that version; if another program changed \
     the table, restore it from a backup made before the change";

/// The protocols that this program reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableProtocol {
    /// Every program that writes Delta tables may write to it. Archives of earlier versions have it.
    Open,
    /// Only promarchive may write to it.
    Guarded,
}

impl TableProtocol {
    /// That of new tables, to which an upgrade leads.
    pub const NEW: Self = Self::Guarded;

    /// By what the `protocol` action says; or what is wrong with it. The order of features does not matter.
    pub fn of(
        (reader, writer): (i64, i64),
        reader_features: &[String],
        writer_features: &[String],
    ) -> Result<Self, String> {
        match (reader, writer) {
            OPEN if reader_features.is_empty() && writer_features.is_empty() => Ok(Self::Open),
            GUARDED if reader_features.is_empty() && is_guard(writer_features) => Ok(Self::Guarded),
            versions => {
                let features: BTreeSet<&String> = reader_features.iter().chain(writer_features).collect();
                let found = described(versions, &features.into_iter().collect::<Vec<_>>());
                Err(format!(
                    "the table has the Delta protocol {found}, but this version of promarchive supports only {} and {}",
                    Self::Open,
                    Self::Guarded
                ))
            }
        }
    }

    /// By the body of a `protocol` action; or what is wrong with it.
    pub fn parse(body: &Value) -> Result<Self, String> {
        let damaged = || format!("the table's protocol cannot be read: {body}");
        let version = |name: &str| body.get(name).and_then(Value::as_i64).ok_or_else(damaged);
        let features = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list) => {
                let list = list.as_array().ok_or_else(damaged)?;
                list.iter().map(|feature| feature.as_str().map(str::to_owned).ok_or_else(damaged)).collect()
            }
        };
        let versions = (version("minReaderVersion")?, version("minWriterVersion")?);
        Self::of(versions, &features("readerFeatures")?, &features("writerFeatures")?)
    }

    /// The body of the `protocol` action.
    pub fn action(self) -> Value {
        let (reader, writer) = self.versions();
        let mut body = json!({"minReaderVersion": reader, "minWriterVersion": writer});
        if let (Self::Guarded, Some(body)) = (self, body.as_object_mut()) {
            body.insert("writerFeatures".to_owned(), json!(GUARDED_FEATURES));
        }
        body
    }

    /// The least versions of reader and writer.
    pub fn versions(self) -> (i64, i64) {
        match self {
            Self::Open => OPEN,
            Self::Guarded => GUARDED,
        }
    }

    /// The features that writers must know, beside those of the version.
    pub fn writer_features(self) -> &'static [&'static str] {
        match self {
            Self::Open => &[],
            Self::Guarded => &GUARDED_FEATURES,
        }
    }
}

impl fmt::Display for TableProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&described(self.versions(), self.writer_features()))
    }
}

fn is_guard(writer_features: &[String]) -> bool {
    let found: BTreeSet<&str> = writer_features.iter().map(String::as_str).collect();
    found == BTreeSet::from(GUARDED_FEATURES)
}

/// `(1, 7) with appendOnly, invariants, promarchive`.
fn described(versions: (i64, i64), features: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = features.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => format!("{versions:?}"),
        names => format!("{versions:?} with {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for protocol in [TableProtocol::Open, TableProtocol::Guarded] {
            assert_eq!(TableProtocol::parse(&protocol.action()), Ok(protocol));
        }
        assert_eq!(TableProtocol::Open.action(), json!({"minReaderVersion": 1, "minWriterVersion": 2}));
        let shuffled = json!({
            "minReaderVersion": 1, "minWriterVersion": 7, "readerFeatures": null,
            "writerFeatures": ["promarchive", "invariants", "appendOnly"],
        });
        assert_eq!(TableProtocol::parse(&shuffled), Ok(TableProtocol::Guarded));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let features = ["appendOnly", "invariants", "promarchive", "promarchiveLater"];
        for (body, names) in [
            (json!({"minReaderVersion": 1, "minWriterVersion": 4}), "(1, 4)"),
            (json!({"minReaderVersion": 2, "minWriterVersion": 2}), "(2, 2)"),
            (json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features}), "promarchiveLater"),
            (json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["promarchive"]}), "promarchive"),
            (json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": []}), "(1, 7)"),
            (json!({"minReaderVersion": 1, "minWriterVersion": 7}), "(1, 7)"),
            (
                json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                       "writerFeatures": ["deletionVectors", "promarchive"]}),
                "(3, 7) with deletionVectors, promarchive",
            ),
            (json!({"minReaderVersion": 1}), "cannot be read"),
            (json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": "promarchive"}), "cannot be read"),
            (json!([]), "cannot be read"),
        ] {
            let problem = TableProtocol::parse(&body).unwrap_err();
            assert!(problem.contains(names) && problem.contains("protocol"), "{problem}");
        }
    }
}
