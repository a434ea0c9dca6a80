//! The columns of a table's files with its label columns, and from them the Arrow schema that files are written with and Delta's schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use super::{DATE, Kind, LABELS, LabelColumns, Table};

/// One column of a table's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

/// The columns of a table's files, in order; the partition column `date` stands in the path instead.
pub fn columns(table: Table, label_columns: &LabelColumns) -> Vec<Column> {
    let mut columns = Vec::new();
    for column in table.descriptor().columns {
        columns.push(Column { name: column.name.to_owned(), kind: column.kind, nullable: column.null.is_some() });
        if column.name == LABELS && table.has_series() {
            let label = |name: &String| Column { name: name.clone(), kind: Kind::Text, nullable: true };
            columns.extend(label_columns.names().iter().map(label));
        }
    }
    columns
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

pub(super) fn delta_type(kind: Kind) -> Value {
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
