//! `SHOW` as a query of gstore: of the store's own tables only, with types as SQL names them, and with all functions.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ShowStatementFilter, ShowStatementIn, ShowStatementOptions, Statement as Sql,
};

use super::catalog::SHOW_TABLES;

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
        Sql::ShowFunctions { filter } => functions(filter.as_ref()),
        _ => None,
    }
}

/// The engine's own query leaves out functions of which it knows no types of arguments.
fn functions(filter: Option<&ShowStatementFilter>) -> Option<String> {
    let condition = match filter {
        None => String::new(),
        Some(ShowStatementFilter::Like(pattern)) => {
            format!(" WHERE routine_name LIKE '{}'", pattern.replace('\'', "''"))
        }
        Some(_) => return None,
    };
    Some(format!(
        "SELECT DISTINCT routine_name AS function_name, function_type, description, syntax_example \
         FROM information_schema.routines{condition} ORDER BY function_name, function_type"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_shows_is_a_query() {
        let of = |sql: &str| query_of(&crate::guard::parse(sql).unwrap()).unwrap_or_default();
        assert_eq!(of("SHOW TABLES"), SHOW_TABLES);
        assert_eq!(of("SHOW COLUMNS FROM \"Pool\""), "DESCRIBE \"Pool\"");
        assert!(of("SHOW FUNCTIONS LIKE 'it''s%'").contains(" WHERE routine_name LIKE 'it''s%' ORDER BY"));
        assert!(of("SHOW FUNCTIONS").contains("information_schema.routines ORDER BY"));
        assert_eq!(of("SELECT 1"), "");
    }
}
