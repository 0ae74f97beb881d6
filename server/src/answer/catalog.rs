//! Catalogs, schemas, tables and keys, as clients list them.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::{CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_string::like::like;
use gstore_sql::output::plain_schema;
use gstore_sql::{CATALOG, DATA, SYSTEM};
use tonic::Status;

use super::ask::About;
use super::{info, types};
use crate::access::Caller;
use crate::core::Core;
use crate::sessions::OpenSession;
use crate::status;

/// The kind of the tables of datasets.
const TABLE: &str = "TABLE";
/// The kind of the tables in the schema `gstore`.
const SYSTEM_TABLE: &str = "SYSTEM TABLE";
/// The kind of the views, which have the schema of the datasets.
const VIEW: &str = "VIEW";

/// The table that a command asks for.
pub(crate) async fn batch(
    core: &Core,
    held: &OpenSession,
    caller: &Caller,
    about: About,
) -> Result<RecordBatch, Status> {
    match about {
        About::Catalogs => {
            let mut catalogs = GetCatalogsBuilder::new();
            catalogs.append(CATALOG);
            catalogs.build().map_err(failed)
        }
        About::Schemas(command) => {
            let mut schemas = command.into_builder();
            [DATA, SYSTEM].into_iter().for_each(|schema| schemas.append(CATALOG, schema));
            schemas.build().map_err(failed)
        }
        About::Tables(command) => tables(core, held, caller, command).await,
        About::TableTypes => {
            let mut types = CommandGetTableTypes {}.into_builder();
            [TABLE, SYSTEM_TABLE, VIEW].into_iter().for_each(|kind| types.append(kind));
            types.build().map_err(failed)
        }
        About::PrimaryKeys(CommandGetPrimaryKeys { catalog, db_schema, table }) => {
            let there =
                catalog.is_none_or(|name| name == CATALOG) && db_schema.is_none_or(|name| name == DATA);
            let known = held.session.tables().iter().any(|(schema, name)| *schema == DATA && *name == table);
            primary_key((there && known).then_some(table.as_str())).map_err(|e| failed(e.into()))
        }
        About::ForeignKeys => Ok(RecordBatch::new_empty(Arc::new(foreign_keys()))),
        About::SqlInfo(command) => info::batch(core, &command.info).map_err(failed),
        About::Types(command) => types::batch(command.data_type).map_err(failed),
    }
}

/// The tables and views that a command asks for, with their columns if it asks for these.
async fn tables(
    core: &Core,
    held: &OpenSession,
    caller: &Caller,
    command: CommandGetTables,
) -> Result<RecordBatch, Status> {
    let kind = |schema: &str| if schema == SYSTEM { SYSTEM_TABLE } else { TABLE };
    let listed = held.session.tables().into_iter().map(|(schema, name)| (schema, name, kind(schema)));
    let views = held.snapshot().views().iter().map(|view| (DATA, view.name.clone(), VIEW));
    let all: Vec<(&str, String, &str)> = listed.chain(views).collect();
    let (schemas, names) = (all.iter().map(|(schema, ..)| *schema), all.iter().map(|(_, name, _)| name));
    let schemas =
        fitting(schemas, command.db_schema_filter_pattern.as_deref()).map_err(|e| failed(e.into()))?;
    let names = fitting(names, command.table_name_filter_pattern.as_deref()).map_err(|e| failed(e.into()))?;
    let kinds = command.table_types.clone();
    let mut tables = command.into_builder();
    let with_schema = tables.include_schema();
    for (i, (schema, name, kind)) in all.into_iter().enumerate() {
        let is_of_kind = kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
        // The columns of thousands of tables that are not asked for need not be found out.
        if !(is_of_kind && schemas.value(i) && names.value(i)) {
            continue;
        }
        let columns = match with_schema {
            true if kind == VIEW => held.view_columns(&name, caller).await.map(Some),
            true => held.session.table_schema(schema, &name).await,
            false => Ok(None),
        };
        let columns = match columns {
            // Clients show the others, and this one without columns.
            Err(error) if error.is_damage() => {
                tracing::error!(%error, table = %name, "the columns of a table cannot be found");
                None
            }
            // It names what is gone. Who reads it hears so.
            Err(_) if kind == VIEW => None,
            columns => columns.map_err(|e| status::sql_status(&e, core.root(), None))?,
        };
        let columns = columns.map_or_else(|| Arc::new(Schema::empty()), |columns| plain_schema(&columns));
        tables.append(CATALOG, schema, &name, kind, &columns).map_err(failed)?;
    }
    tables.build().map_err(failed)
}

fn failed(error: FlightError) -> Status {
    status::internal("a list of tables cannot be made", &error)
}

/// The key of a dataset's table: its row number.
fn primary_key(table: Option<&str>) -> Result<RecordBatch, ArrowError> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let schema = Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ]);
    let Some(table) = table else { return Ok(RecordBatch::new_empty(Arc::new(schema))) };
    let texts = [Some(CATALOG), Some(DATA), Some(table), Some("row"), None];
    let mut columns: Vec<ArrayRef> =
        texts.into_iter().map(|text| Arc::new(StringArray::from(vec![text])) as _).collect();
    columns.push(Arc::new(Int32Array::from(vec![1])));
    RecordBatch::try_new(Arc::new(schema), columns)
}

/// The columns of a list of keys that refer to other tables.
fn foreign_keys() -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let side = |side: &str| {
        [("catalog_name", true), ("db_schema_name", true), ("table_name", false), ("column_name", false)]
            .map(|(name, nullable)| text(&format!("{side}_{name}"), nullable))
    };
    let mut fields: Vec<Field> = side("pk").into_iter().chain(side("fk")).collect();
    fields.push(Field::new("key_sequence", DataType::Int32, false));
    fields.extend(["fk_key_name", "pk_key_name"].map(|name| text(name, true)));
    fields.extend(["update_rule", "delete_rule"].map(|name| Field::new(name, DataType::UInt8, false)));
    Schema::new(fields)
}

/// Which names have the form of a pattern: `%` is any text, `_` one character, and `\` before them makes them
/// themselves.
fn fitting(
    names: impl Iterator<Item = impl AsRef<str>>,
    pattern: Option<&str>,
) -> Result<BooleanArray, ArrowError> {
    like(&StringArray::from_iter_values(names), &StringArray::new_scalar(pattern.unwrap_or("%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (name, pattern, fits) in [
            ("pool", "%", true),
            ("pool", "po_l", true),
            ("pool", "p%l", true),
            ("pool", "p%x", false),
            ("pool", "", false),
            ("", "%%", true),
            ("abcabd", "%ab_", true),
            ("abcabd", "%abc", false),
            ("pool", "POOL", false),
            ("po_l", "po\\_l", true),
            ("pool", "po\\_l", false),
        ] {
            let found = fitting([name].into_iter(), Some(pattern)).unwrap();
            assert_eq!(found.value(0), fits, "{name} {pattern}");
        }
    }

    #[test]
    fn a_key_has_the_columns_of_the_protocol() {
        assert_eq!(primary_key(Some("pool")).unwrap().num_rows(), 1);
        assert_eq!(primary_key(None).unwrap().num_rows(), 0);
        assert_eq!(foreign_keys().fields().len(), 13);
    }
}
