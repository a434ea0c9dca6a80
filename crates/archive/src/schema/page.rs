//! The reference page of the tables holds what their descriptors say. `UPDATE_REFERENCE=1` writes it again.

use serde_json::Value;

use super::columns::delta_type;
use super::{ColumnDescriptor, DATE, Kind, Table};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/tables.md");

/// What readers get in memory.
fn in_memory(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "utf8",
        Kind::Long | Kind::RepeatedLong => "int64",
        Kind::Int => "int32",
        Kind::Double => "float64",
        Kind::Boolean => "bool",
        Kind::Timestamp => "timestamp, UTC",
        Kind::Longs => "list of int64",
        Kind::Doubles => "list of float64",
        Kind::Spans => "list of struct",
    }
}

/// Delta's type in words.
fn in_the_schema(kind: Kind) -> String {
    match delta_type(kind) {
        Value::String(name) => name,
        list => match &list["elementType"] {
            Value::String(name) => format!("array of {name}"),
            _ => "array of struct (`offset` integer, `length` integer)".to_owned(),
        },
    }
}

fn line(column: &ColumnDescriptor) -> String {
    let null = column.null.map_or(String::new(), |when| format!(", **null** {when}"));
    let (delta, arrow) = (in_the_schema(column.kind), in_memory(column.kind));
    format!("| `{}` | {delta} | {arrow}{null} | {} |\n", column.name, column.about)
}

fn columns(table: Table) -> String {
    let mut lines = String::from("| column | Delta | Arrow | meaning |\n|---|---|---|---|\n");
    for column in table.descriptor().columns {
        lines += &line(column);
        if column.name == super::LABELS {
            lines += "| label columns | string | utf8, **null** if the series has no such label | copies of chosen labels; by default \
                `namespace`, `pod`, `container`, `node`, `job`, `instance` |\n";
        }
    }
    lines + &format!("| `{DATE}` | date | date32 | partition: the UTC day of `timestamp` |\n")
}

/// The page with the columns of each table between its markers.
fn written(page: &str) -> String {
    Table::ALL.into_iter().fold(page.to_owned(), |page, table| {
        let [begin, end] =
            [format!("<!-- columns of {} -->\n", table.name()), format!("<!-- end of {} -->", table.name())];
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {begin:?} in {PAGE}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end:?} in {PAGE}"));
        format!("{before}{begin}\n{}\n{end}{after}", columns(table))
    })
}

#[test]
fn the_page_says_what_the_tables_are() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let wanted = written(&page);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(PAGE, wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/reference/tables.md differs from the descriptors: run with UPDATE_REFERENCE=1");
    }
}
