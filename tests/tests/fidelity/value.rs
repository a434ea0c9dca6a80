//! Rows with every bit in them, as they were sent and as a reader gives them.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type};
use promarchive_tests::readers::Reader;

/// A value of a row. Two are equal only if they have the same type and the same bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    /// IEEE bits.
    Double(u64),
    Integer(i128),
    Text(String),
    Bool(bool),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
}

/// Values by the names of their columns.
pub type Row = BTreeMap<String, Value>;

/// All columns; by itself `dump.py` gives fewer of this table.
pub const SAMPLES: [&str; 13] = [
    "metric",
    "labels",
    "namespace",
    "pod",
    "container",
    "node",
    "job",
    "instance",
    "timestamp",
    "start_timestamp",
    "value",
    "stale",
    "date",
];

/// The rows of a table, by metric, in the order of their timestamps.
pub fn read(reader: Reader, archive: &Path, table: &str) -> BTreeMap<String, Vec<Row>> {
    select(reader, archive, table, "")
}

/// The same of the rows that a filter lets pass.
pub fn select(reader: Reader, archive: &Path, table: &str, filter: &str) -> BTreeMap<String, Vec<Row>> {
    let columns: &[&str] = if table == "samples" { &SAMPLES } else { &[] };
    by_metric(&reader.select(archive, table, columns, filter))
}

/// The rows by metric, in the order of their timestamps.
pub fn by_metric(batches: &[RecordBatch]) -> BTreeMap<String, Vec<Row>> {
    let mut all: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in batches.iter().flat_map(rows) {
        let Some(Value::Text(metric)) = row.get("metric") else { panic!("no metric: {row:?}") };
        all.entry(metric.clone()).or_default().push(row);
    }
    all.values_mut().for_each(|rows| rows.sort_by_key(|row| row["timestamp"].clone()));
    all
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<_> = batch.schema().fields().iter().map(|field| name(field.name())).collect();
    let row = |at| {
        let cells = columns.iter().zip(batch.columns());
        cells.map(|((name, doubles), column)| (name.clone(), Value::of(column, at, *doubles))).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The column's own name, and whether its integers are the bits of doubles: `dump.py` says so in the names that it gives.
fn name(given: &str) -> (String, bool) {
    match given {
        "bits" => ("value".to_owned(), true),
        "start_ms" => ("start_timestamp".to_owned(), false),
        _ => match (given.strip_suffix("_bits"), given.strip_suffix("_ms")) {
            (Some(name), _) => (name.to_owned(), true),
            (None, name) => (name.unwrap_or(given).to_owned(), false),
        },
    }
}

impl Value {
    fn of(array: &dyn Array, at: usize, doubles: bool) -> Self {
        if array.is_null(at) || *array.data_type() == DataType::Null {
            return Self::Null;
        }
        match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean().value(at)),
            DataType::Int32 => Self::Integer(array.as_primitive::<Int32Type>().value(at).into()),
            DataType::Date32 => Self::Integer(array.as_primitive::<Date32Type>().value(at).into()),
            DataType::Int64 => {
                let value = array.as_primitive::<Int64Type>().value(at);
                if doubles { Self::Double(value.cast_unsigned()) } else { Self::Integer(value.into()) }
            }
            DataType::Utf8 => Self::Text(array.as_string::<i32>().value(at).to_owned()),
            DataType::List(_) => {
                let list = array.as_list::<i32>().value(at);
                Self::List((0..list.len()).map(|at| Self::of(&list, at, doubles)).collect())
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                Self::Struct(
                    columns.map(|(field, column)| (field.name().clone(), Self::of(column, at, false))).collect(),
                )
            }
            other => panic!("{other}"),
        }
    }

    /// Whether it is a double that says exactly what this integer says.
    pub fn is_as_double(&self, double: &Self) -> bool {
        let whole = |bits: u64| f64::from_bits(bits) as i128;
        let double_of = |integer: i128| (integer as f64).to_bits();
        matches!((self, double), (Self::Integer(one), Self::Double(bits)) if whole(*bits) == *one && double_of(*one) == *bits)
    }
}

/// Longer texts are told by their beginning and their length.
const SHOWN: usize = 100;

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Double(bits) => write!(f, "{:?} = {bits:#018x}", f64::from_bits(*bits)),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Text(text) if text.chars().count() > SHOWN => {
                write!(f, "{}… ({} bytes)", text.chars().take(SHOWN / 4).collect::<String>(), text.len())
            }
            Self::Text(text) => f.write_str(text),
            Self::Bool(bool) => write!(f, "{bool}"),
            Self::List(values) => {
                write!(f, "[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Struct(fields) => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}
