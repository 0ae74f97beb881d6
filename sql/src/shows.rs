//! `SHOW` as a query of gstore: the store's own tables, types as SQL names them, and all functions.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ShowStatementFilter, ShowStatementIn, ShowStatementOptions, Statement as Sql,
};

use super::names;

/// The tables of the session and the views of the store, under the schema that both are read by.
const SHOW_TABLES: &str = "SELECT table_schema AS schema, table_name AS name, \
     CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind \
     FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2";

/// The views of the store.
const SHOW_VIEWS: &str = "SELECT name, statement, created FROM gstore.views ORDER BY name";

/// The query in the place of a statement; `None` of any other, and of what is left to the engine to refuse.
pub(crate) fn query_of(statement: &Statement) -> Option<String> {
    let Statement::Statement(sql) = statement else { return None };
    match &**sql {
        Sql::ShowTables {
            show_options: ShowStatementOptions { filter_position: None, show_in: None, .. },
            ..
        } => Some(SHOW_TABLES.to_owned()),
        Sql::ShowColumns {
            show_options:
                ShowStatementOptions {
                    show_in: Some(ShowStatementIn { parent_name: Some(table), parent_type: None, .. }),
                    starts_with: None,
                    limit: None,
                    limit_from: None,
                    filter_position: None,
                },
            ..
        } => Some(format!("DESCRIBE {table}")),
        Sql::ShowViews {
            show_options: ShowStatementOptions { filter_position: None, show_in: None, .. },
            ..
        } => Some(SHOW_VIEWS.to_owned()),
        Sql::ShowFunctions { filter } => functions(filter.as_ref()),
        _ => None,
    }
}

/// The engine's own query leaves out functions of which it knows no types of arguments, and those that are
/// functions here alone.
fn functions(filter: Option<&ShowStatementFilter>) -> Option<String> {
    let condition = match filter {
        None => String::new(),
        Some(ShowStatementFilter::Like(pattern)) => {
            format!(" WHERE function_name LIKE '{}'", quoted(pattern))
        }
        Some(_) => return None,
    };
    let renamed: Vec<String> =
        names::renamed_functions().map(|(name, known)| format!("('{name}', '{known}')")).collect();
    let own = |(name, kind, call): (&str, &str, String)| format!("('{name}', '{kind}', '{}')", quoted(&call));
    let own: Vec<String> = names::own_calls().map(own).collect();
    let names = names::renamed_functions().map(|(name, _)| name);
    let names = names.chain(names::own_calls().map(|(name, ..)| name)).chain(HIDDEN);
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    Some(format!(
        "WITH engine AS (SELECT DISTINCT routine_name AS function_name, function_type, description, syntax_example \
         FROM information_schema.routines) \
         SELECT * FROM (SELECT * FROM engine WHERE function_name NOT IN ({names}) \
         UNION ALL SELECT renamed.name, function_type, description, syntax_example \
         FROM (VALUES {renamed}) AS renamed(name, known) JOIN engine ON function_name = known \
         UNION ALL SELECT name, kind, CAST(NULL AS VARCHAR), form FROM (VALUES {own}) AS own(name, kind, form)) \
         AS functions{condition} ORDER BY function_name, function_type",
        names = names.join(", "),
        renamed = renamed.join(", "),
        own = own.join(", "),
    ))
}

/// Internal functions, which casts and types are rewritten to.
const HIDDEN: [&str; 3] = ["as_json", "as_type", "try_as_json"];

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_shows_is_a_query() {
        let of = |sql: &str| query_of(&crate::dialect::parse(sql).unwrap()).unwrap_or_default();
        assert_eq!(of("SHOW TABLES"), SHOW_TABLES);
        assert_eq!(of("SHOW COLUMNS FROM \"Pool\""), "DESCRIBE \"Pool\"");
        assert!(of("SHOW FUNCTIONS LIKE 'it''s%'").contains(" WHERE function_name LIKE 'it''s%' ORDER BY"));
        assert!(of("SHOW FUNCTIONS").contains("AS functions ORDER BY"));
        assert_eq!(of("SHOW VIEWS"), SHOW_VIEWS);
        assert_eq!(of("SELECT 1"), "");
    }
}
