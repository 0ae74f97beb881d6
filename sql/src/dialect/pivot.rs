//! `PIVOT` and `UNPIVOT` as queries: an aggregate function with a condition for each value, and a list of
//! columns that `unnest` makes rows of.

mod values;
mod words;

use std::collections::HashSet;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, ExcludeSelectItem, Expr, ExprWithAlias, GroupByExpr, Ident, NullInclusion,
    ObjectName, PivotValueSource, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, TypedString, UnaryOperator, Value, WildcardAdditionalOptions,
};

pub(crate) use self::values::{PivotValues, expand};
pub(super) use self::words::tokens;
use super::exprs::{binary, call, nested, query, text};
use super::known;
use crate::error::SqlError;
use crate::expanded::{column, name, number_of};
use crate::guard::MAX_SQL_BYTES;
use crate::names::is_aggregate;
use crate::walk::{inner, visit_expressions, visit_tables_mut};

/// Most columns that PIVOT makes.
const MOST_COLUMNS: usize = 1000;

/// Puts queries in the place of both, but for a PIVOT whose values are not known yet.
///
/// # Errors
/// One of what is no column.
pub(super) fn put(statement: &mut Statement) -> Result<(), SqlError> {
    inner(statement).map_or(Ok(()), |sql| visit_tables_mut(sql, put_query))
}

fn put_query(factor: &mut TableFactor) -> Result<(), SqlError> {
    let (made, alias) = match factor {
        TableFactor::Pivot { value_source: PivotValueSource::Any(order), .. } if order.is_empty() => {
            return Ok(());
        }
        TableFactor::Pivot {
            table,
            aggregate_functions,
            value_column,
            value_source,
            default_on_null,
            alias,
        } => {
            let keys = default_on_null.as_ref();
            (pivoted(table, aggregate_functions, value_column, value_source, keys)?, alias)
        }
        TableFactor::Unpivot { table, value, null_inclusion, name, columns, alias } => {
            let keeps_null = *null_inclusion == Some(NullInclusion::IncludeNulls);
            (unpivoted(table, value, name, columns, keeps_null)?, alias)
        }
        _ => return Ok(()),
    };
    *factor = derived(made, alias.take());
    Ok(())
}

fn derived(subquery: Box<Query>, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery, alias, sample: None }
}

/// The query of a PIVOT: a group for each key, or without keys for the other columns together.
fn pivoted(
    table: &TableFactor,
    functions: &[ExprWithAlias],
    on: &[Expr],
    values: &PivotValueSource,
    keys: Option<&Expr>,
) -> Result<Box<Query>, SqlError> {
    let on = only(on)?;
    let PivotValueSource::List(values) = values else { return Err(without_values().at_start_of(on)) };
    let keys = match keys {
        None => None,
        Some(keys) => {
            let why = "PIVOT takes no DEFAULT ON NULL";
            let refused = || SqlError::invalid(why.to_owned()).hint("write coalesce(name, 0) in the SELECT");
            Some(words::keys_of(keys).ok_or_else(|| refused().at_start_of(keys))?)
        }
    };
    let made = values.len().saturating_mul(functions.len());
    let length = functions.iter().fold(on.to_string().len(), |sum, of| sum + of.to_string().len());
    let named = values.iter().fold(0usize, |sum, value| sum.saturating_add(value.to_string().len()));
    let names = named.saturating_mul(functions.len());
    if made > MOST_COLUMNS || values.len().saturating_mul(length).saturating_add(names) > MAX_SQL_BYTES {
        let why = format!(
            "PIVOT would make {made} columns, and at most {MOST_COLUMNS} are allowed, in at most {MAX_SQL_BYTES} bytes of SQL"
        );
        return Err(SqlError::refused(why).at_start_of(on));
    }
    let side = match on {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Nested(_) => on.clone(),
        other => *nested(other.clone()),
    };
    let mut items: Vec<SelectItem> = match &keys {
        Some(keys) => keys.iter().cloned().map(SelectItem::UnnamedExpr).collect(),
        None => {
            let used = std::iter::once(on).chain(functions.iter().map(|of| &of.expr));
            vec![all_but(&columns_of(used))]
        }
    };
    for ExprWithAlias { expr: value, alias } in values {
        let (called, value) = match (written(value), alias) {
            (Some((_, value)), Some(alias)) => (alias.value.clone(), value),
            (Some(written), None) => written,
            (None, Some(alias)) => (alias.value.clone(), value.clone()),
            (None, None) => {
                let why = format!("{value} is not a value that PIVOT can name a column by");
                return Err(SqlError::invalid(why).at_start_of(value).hint("write IN (.. AS name)"));
            }
        };
        for of in functions {
            let heading = match (&of.alias, functions.len()) {
                (Some(alias), _) => format!("{called}_{}", alias.value),
                (None, 1) => called.clone(),
                (None, _) => format!("{called}_{}", of.expr),
            };
            let expr = of_value(&of.expr, binary(side.clone(), BinaryOperator::Eq, value.clone()))
                .ok_or_else(|| no_aggregate(&of.expr).at_start_of(on))?;
            items.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', heading) });
        }
    }
    let mut query = parsed("SELECT * FROM t GROUP BY ALL")?;
    let select = select(&mut query)?;
    select.projection = items;
    select.from = vec![TableWithJoins { relation: table.clone(), joins: Vec::new() }];
    if let Some(keys) = keys {
        select.group_by = GroupByExpr::Expressions(keys, Vec::new());
    }
    Ok(query)
}

/// An aggregate function of the rows of one value; `None` of another expression.
fn of_value(function: &Expr, condition: Expr) -> Option<Expr> {
    let Expr::Function(function) = function else { return None };
    let name = function.name.to_string().to_lowercase();
    if function.over.is_some() || !is_aggregate(known(&name)) {
        return None;
    }
    let mut function = function.clone();
    let condition = match function.filter.take() {
        Some(filter) => binary(*nested(*filter), BinaryOperator::And, condition),
        None => condition,
    };
    function.filter = Some(Box::new(condition));
    Some(Expr::Function(function))
}

fn no_aggregate(expr: &Expr) -> SqlError {
    let hint = "write round(a, 2) of a column a of the result, in a SELECT FROM (PIVOT ..)";
    SqlError::invalid(format!("PIVOT takes aggregate functions, as sum(x), not {expr}")).hint(hint)
}

fn only(on: &[Expr]) -> Result<&Expr, SqlError> {
    match on {
        [only] => Ok(only),
        [] => Err(several()),
        [first, ..] => Err(several().at_start_of(first)),
    }
}

fn several() -> SqlError {
    let hint = "write ON (a || '_' || b)";
    SqlError::invalid("PIVOT takes one column after ON".to_owned()).hint(hint)
}

fn without_values() -> SqlError {
    let hint = "SELECT DISTINCT x FROM t has the values";
    SqlError::invalid("PIVOT takes the values that become columns: PIVOT t ON x IN ('a', 'b')".to_owned())
        .hint(hint)
}

/// A value as it is written, and what its column is called; a word is a text, as in DuckDB.
fn written(value: &Expr) -> Option<(String, Expr)> {
    let of = |value: &Value| match value {
        Value::Number(written, _) | Value::SingleQuotedString(written) => Some(written.clone()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        Expr::Identifier(word) => Some((word.value.clone(), text(&word.value))),
        Expr::Value(written) => Some((of(&written.value)?, value.clone())),
        Expr::TypedString(TypedString { value: written, .. }) => Some((of(&written.value)?, value.clone())),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            Some((format!("-{}", number_of(expr)?), value.clone()))
        }
        _ => None,
    }
}

fn unpivoted(
    table: &TableFactor,
    value: &Expr,
    key: &Ident,
    columns: &[ExprWithAlias],
    keeps_null: bool,
) -> Result<Box<Query>, SqlError> {
    let (Expr::Identifier(value), false) = (value, columns.is_empty()) else {
        let why = "write UNPIVOT t ON a, b INTO NAME key VALUE value";
        return Err(SqlError::invalid(why.to_owned()).at_start_of(value));
    };
    let mut names = Vec::new();
    for ExprWithAlias { expr, alias } in columns {
        let Some(column) = column(expr) else {
            let why = "UNPIVOT takes the names of columns: ON a, b";
            return Err(SqlError::invalid(why.to_owned()).at_start_of(expr));
        };
        names.push(match alias {
            Some(alias) => text(&alias.value),
            // It has the place of the column, with which it gets other letters.
            None => Expr::Value(Value::SingleQuotedString(name(column)).with_span(column.span)),
        });
    }
    let list = |elem: Vec<Expr>| call("unnest", vec![Expr::Array(Array { elem, named: false })]);
    let values: Vec<Expr> = columns.iter().map(|column| column.expr.clone()).collect();
    let mut query = parsed("SELECT * FROM t")?;
    let inside = select(&mut query)?;
    inside.projection = vec![
        all_but(&columns_of(&values)),
        SelectItem::ExprWithAlias { expr: list(names), alias: key.clone() },
        SelectItem::ExprWithAlias { expr: list(values), alias: value.clone() },
    ];
    inside.from = vec![TableWithJoins { relation: table.clone(), joins: Vec::new() }];
    if keeps_null {
        return Ok(query);
    }
    let mut some = parsed("SELECT * FROM t")?;
    let outside = select(&mut some)?;
    outside.from = vec![TableWithJoins { relation: derived(query, None), joins: Vec::new() }];
    outside.selection = Some(Expr::IsNotNull(Box::new(Expr::Identifier(value.clone()))));
    Ok(some)
}

fn all_but(columns: &[Ident]) -> SelectItem {
    let names: Vec<ObjectName> =
        columns.iter().map(|column| ObjectName::from(vec![column.clone()])).collect();
    let opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
    SelectItem::Wildcard(WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() })
}

/// The columns that expressions name, each once.
fn columns_of<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Vec<Ident> {
    let (mut seen, mut columns) = (HashSet::new(), Vec::new());
    for expr in exprs {
        visit_expressions(expr, |part: &Expr| {
            columns.extend(column(part).filter(|column| seen.insert(name(column))).cloned());
        });
    }
    columns
}

fn parsed(sql: &str) -> Result<Box<Query>, SqlError> {
    query(sql).ok_or_else(|| SqlError::internal("the query of a PIVOT"))
}

fn select(query: &mut Query) -> Result<&mut Select, SqlError> {
    match &mut *query.body {
        SetExpr::Select(select) => Ok(select),
        _ => Err(SqlError::internal("the SELECT of a PIVOT")),
    }
}

#[cfg(test)]
mod tests {
    fn read(sql: &str) -> Result<String, String> {
        crate::dialect::parse(sql).map(|statement| statement.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pivot_is_a_query_with_a_condition_for_each_value() {
        for (sql, expected) in [
            (
                "PIVOT t ON k IN ('a', b) USING sum(x) GROUP BY g ORDER BY g LIMIT 2",
                r#"SELECT * FROM (SELECT g, sum(x) FILTER (WHERE k = 'a') AS "a", sum(x) FILTER (WHERE k = 'b') AS "b" FROM t GROUP BY g) ORDER BY g LIMIT 2"#,
            ),
            (
                "SELECT p.* FROM (PIVOT t ON year(d) IN (2023, -1 AS none)) p",
                r#"SELECT p.* FROM (SELECT * FROM (SELECT * EXCLUDE (d), count(*) FILTER (WHERE (year(d)) = 2023) AS "2023", count(*) FILTER (WHERE (year(d)) = -1) AS "none" FROM t GROUP BY ALL)) p"#,
            ),
            (
                "FROM t PIVOT (max(x) AS m, count(*) FILTER (WHERE y) FOR k IN (true) GROUP BY g, h) AS p",
                r#"SELECT * FROM (SELECT g, h, max(x) FILTER (WHERE k = true) AS "true_m", count(*) FILTER (WHERE (y) AND k = true) AS "true_count(*) FILTER (WHERE y)" FROM t GROUP BY g, h) AS p"#,
            ),
            (
                "WITH p AS (PIVOT (SELECT 1 AS k) ON k IN (1)) SELECT pivot FROM p",
                r#"WITH p AS (SELECT * FROM (SELECT * EXCLUDE (k), count(*) FILTER (WHERE k = 1) AS "1" FROM (SELECT 1 AS k) GROUP BY ALL)) SELECT pivot FROM p"#,
            ),
            (
                "PIVOT t ON (k || l) USING sum(x) GROUP BY g",
                r#"SELECT * FROM t PIVOT(sum(x) FOR (k || l) IN (ANY) DEFAULT ON NULL ("group by"(g)))"#,
            ),
            ("SELECT (pivot + 1), unpivot FROM t", "SELECT (pivot + 1), unpivot FROM t"),
            ("SELECT 1 FROM (pivot JOIN t ON a = b)", "SELECT 1 FROM (pivot JOIN t ON a = b)"),
        ] {
            assert_eq!(read(sql).as_deref(), Ok(expected));
        }
        for (sql, says) in [
            ("PIVOT t ON k IN (SELECT 1) USING sum(x)", "PIVOT takes the values that become columns"),
            ("PIVOT t ON k, l IN (1)", "PIVOT takes one column after ON"),
            ("PIVOT t ON k, l", "PIVOT takes one column after ON"),
            ("PIVOT t ON k IN (1) USING round(sum(x), 1)", "PIVOT takes aggregate functions"),
            ("PIVOT t ON k IN (1 + 1)", "1 + 1 is not a value"),
            ("SELECT * FROM t PIVOT (sum(x) FOR k IN (1) DEFAULT ON NULL (0))", "no DEFAULT ON NULL"),
        ] {
            let error = read(sql).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
        let error = read(&format!("PIVOT t ON k IN ({})", many.join(", "))).unwrap_err();
        assert!(error.contains("would make 1001 columns"), "{error}");
    }

    #[test]
    fn columns_become_rows() {
        for (sql, expected) in [
            (
                "UNPIVOT t ON a, b INTO NAME k VALUE v ORDER BY k",
                "SELECT * FROM (SELECT * FROM (SELECT * EXCLUDE (a, b), unnest(['a', 'b']) AS k, unnest([a, b]) AS v FROM t) WHERE v IS NOT NULL) ORDER BY k",
            ),
            (
                "SELECT * FROM (UNPIVOT t ON a) u",
                "SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * EXCLUDE (a), unnest(['a']) AS name, unnest([a]) AS value FROM t) WHERE value IS NOT NULL)) u",
            ),
            (
                "SELECT * FROM t UNPIVOT INCLUDE NULLS (v FOR k IN (a, b AS c))",
                "SELECT * FROM (SELECT * EXCLUDE (a, b), unnest(['a', 'c']) AS k, unnest([a, b]) AS v FROM t)",
            ),
        ] {
            assert_eq!(read(sql).as_deref(), Ok(expected));
        }
        let error = read("UNPIVOT t ON COLUMNS(* EXCLUDE (a))").unwrap_err();
        assert!(error.contains("UNPIVOT takes the names of columns"), "{error}");
    }
}
