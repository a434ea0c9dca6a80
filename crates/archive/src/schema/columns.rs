//! The columns of each table, once, and from them the Arrow schema that files are written with and Delta's schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use super::{DATE, LabelColumns, Table};

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text that repeats from row to row: dictionary encoded.
    Text,
    /// Signed 64 bits.
    Long,
    /// Signed 64 bits that repeat from row to row: dictionary encoded.
    RepeatedLong,
    /// Signed 32 bits.
    Int,
    /// IEEE 754 double, every bit kept; never with statistics, because NaN breaks pruning.
    Double,
    /// True or false.
    Boolean,
    /// Milliseconds since the epoch, UTC.
    Timestamp,
    /// Lists of longs.
    Longs,
    /// Lists of doubles.
    Doubles,
    /// Lists of (offset, length): bucket spans.
    Spans,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

fn column(name: &str, kind: Kind, nullable: bool) -> Column {
    Column { name: name.to_owned(), kind, nullable }
}

/// The columns of a table's files, in order; the partition column `date` stands in the path instead.
pub fn columns(table: Table, label_columns: &LabelColumns) -> Vec<Column> {
    let mut columns = vec![column("metric", Kind::Text, false)];
    if table.has_series() {
        columns.push(column("labels", Kind::Text, false));
        columns.extend(label_columns.names().iter().map(|name| column(name, Kind::Text, true)));
        columns.push(column("series_id", Kind::RepeatedLong, false));
    }
    columns.push(column("timestamp", Kind::Timestamp, false));
    columns.extend(own_columns(table));
    columns
}

fn own_columns(table: Table) -> Vec<Column> {
    match table {
        Table::Samples => vec![
            column("start_timestamp", Kind::Timestamp, true),
            column("value", Kind::Double, true),
            column("stale", Kind::Boolean, false),
        ],
        Table::Histograms => vec![
            column("start_timestamp", Kind::Timestamp, true),
            column("stale", Kind::Boolean, false),
            column("reset_hint", Kind::Text, false),
            column("schema", Kind::Int, false),
            column("zero_threshold", Kind::Double, false),
            column("sum", Kind::Double, true),
            column("count", Kind::Long, true),
            column("zero_count", Kind::Long, true),
            column("positive_counts", Kind::Longs, true),
            column("negative_counts", Kind::Longs, true),
            column("float_count", Kind::Double, true),
            column("float_zero_count", Kind::Double, true),
            column("float_positive_counts", Kind::Doubles, true),
            column("float_negative_counts", Kind::Doubles, true),
            column("positive_spans", Kind::Spans, false),
            column("negative_spans", Kind::Spans, false),
            column("custom_values", Kind::Doubles, true),
        ],
        Table::Exemplars => vec![column("value", Kind::Double, false), column("exemplar_labels", Kind::Text, false)],
        Table::Metadata => {
            vec![
                column("type", Kind::Text, false),
                column("unit", Kind::Text, false),
                column("help", Kind::Text, false),
            ]
        }
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, false)))
}

/// Arrow's type for a column's values in memory; text and repeated numbers as dictionaries.
fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        Kind::Long | Kind::RepeatedLong => DataType::Int64,
        Kind::Int => DataType::Int32,
        Kind::Double => DataType::Float64,
        Kind::Boolean => DataType::Boolean,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Kind::Longs => list_of(DataType::Int64),
        Kind::Doubles => list_of(DataType::Float64),
        Kind::Spans => list_of(DataType::Struct(span_fields())),
    }
}

/// The fields of a bucket span.
pub(crate) fn span_fields() -> Fields {
    Fields::from(vec![Field::new("offset", DataType::Int32, false), Field::new("length", DataType::Int32, false)])
}

/// The schema that files of a table are written with.
pub fn arrow_schema(table: Table, label_columns: &LabelColumns) -> SchemaRef {
    let fields: Vec<Field> = columns(table, label_columns)
        .into_iter()
        .map(|column| Field::new(column.name, arrow_type(column.kind), column.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Delta's schema of a table (PROTOCOL.md, "Schema Serialization Format"), partition column included.
pub fn delta_schema(table: Table, label_columns: &LabelColumns) -> Value {
    let field = |name: &str, kind: Value, nullable: bool| json!({"name": name, "type": kind, "nullable": nullable, "metadata": {}});
    let mut fields: Vec<Value> = columns(table, label_columns)
        .iter()
        .map(|column| field(&column.name, delta_type(column.kind), column.nullable))
        .collect();
    fields.push(field(DATE, json!("date"), false));
    json!({"type": "struct", "fields": fields})
}

fn delta_type(kind: Kind) -> Value {
    let array = |element: Value| json!({"type": "array", "elementType": element, "containsNull": false});
    match kind {
        Kind::Text => json!("string"),
        Kind::Long | Kind::RepeatedLong => json!("long"),
        Kind::Int => json!("integer"),
        Kind::Double => json!("double"),
        Kind::Boolean => json!("boolean"),
        Kind::Timestamp => json!("timestamp"),
        Kind::Longs => array(json!("long")),
        Kind::Doubles => array(json!("double")),
        Kind::Spans => array(json!({"type": "struct", "fields": [
            {"name": "offset", "type": "integer", "nullable": false, "metadata": {}},
            {"name": "length", "type": "integer", "nullable": false, "metadata": {}},
        ]})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_column_can_take_a_columns_name() {
        let none = LabelColumns::new(Vec::new()).unwrap();
        for column in Table::ALL.iter().flat_map(|&table| columns(table, &none)) {
            assert!(LabelColumns::new(vec![column.name.clone()]).is_err(), "{}", column.name);
        }
        assert!(LabelColumns::new(vec![DATE.to_owned()]).is_err());
    }

    #[test]
    fn arrow_and_delta_agree_on_names_and_order() {
        for table in Table::ALL {
            let labels = LabelColumns::default();
            let arrow: Vec<String> = arrow_schema(table, &labels).fields().iter().map(|f| f.name().clone()).collect();
            let delta = delta_schema(table, &labels);
            let delta: Vec<&str> =
                delta["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
            assert_eq!(arrow.iter().map(String::as_str).chain([DATE]).collect::<Vec<_>>(), delta);
        }
    }
}
