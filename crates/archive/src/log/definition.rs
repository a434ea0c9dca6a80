//! What makes a table, as the actions of its version 0: protocol and metadata, written and checked.

use serde_json::{Value, json};

use crate::log::Definition;
use crate::log::actions::{commit_info, lines};
use crate::log::protocol::TableProtocol;
use crate::schema::{DATE, LABEL_COLUMNS_PROPERTY, LabelColumns, SCHEMA_VERSION_PROPERTY, Table, delta_schema};

/// The columns of which other writers may put statistics into the log.
fn stats_columns(table: Table) -> String {
    table.statistics().collect::<Vec<_>>().join(",")
}

/// Version 0 of a table.
pub(super) fn create(definition: &Definition) -> String {
    let Definition { table, label_columns, id, created } = definition;
    let meta = json!({"metaData": {
        "id": uuid::Uuid::from_u128(*id).to_string(),
        "name": table.name(),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": delta_schema(*table, label_columns).to_string(),
        "partitionColumns": [DATE],
        "configuration": {
            "delta.dataSkippingStatsColumns": stats_columns(*table),
            "delta.enableExpiredLogCleanup": "false",
            SCHEMA_VERSION_PROPERTY: table.version().to_string(),
            LABEL_COLUMNS_PROPERTY: label_columns.names().join(","),
        },
        "createdTime": created,
    }});
    lines(&[commit_info(*created, "CREATE TABLE", json!({})), json!({"protocol": TableProtocol::NEW.action()}), meta])
}

/// Checks the metadata of a table. Gives the label columns; with a problem if there is one, and the columns if they can be told all the same.
pub fn check_metadata(table: Table, metadata: &Value) -> Result<LabelColumns, (Option<LabelColumns>, String)> {
    let property = |name: &str| metadata.get("configuration")?.get(name)?.as_str();
    let version = property(SCHEMA_VERSION_PROPERTY).unwrap_or("none");
    if version != table.version().to_string() {
        return Err((
            None,
            format!(
                "the schema version is {version}, but this version of promarchive supports version {}",
                table.version()
            ),
        ));
    }
    let names = property(LABEL_COLUMNS_PROPERTY).unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let columns = LabelColumns::new(names.map(str::to_owned).collect()).map_err(|e| (None, e.to_string()))?;
    let schema =
        metadata.get("schemaString").and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let problem = if schema != Some(delta_schema(table, &columns)) {
        Some("the schema differs from the documented schema".to_owned())
    } else if metadata.get("partitionColumns") != Some(&json!([DATE])) {
        Some(format!("the table is not partitioned by {DATE}"))
    } else if property("delta.dataSkippingStatsColumns") != Some(&stats_columns(table)) {
        Some(format!(
            "delta.dataSkippingStatsColumns is not {}, so other writers would write statistics for values",
            stats_columns(table)
        ))
    } else {
        None
    };
    match problem {
        None => Ok(columns),
        Some(problem) => Err((Some(columns), problem)),
    }
}
