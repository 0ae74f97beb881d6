//! Clauses that the parser knows and the engine leaves out, which would change what a statement means.
//!
//! Invariant: each field of a query, of a SELECT and of a table is named here, so one that a later version of
//! the parser adds does not compile until it is read or refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, Function, GroupByExpr, GroupByWithModifier, Ident, Join, JoinOperator, LimitClause,
    NamedWindowExpr, PipeOperator, Query, Select, TableAlias, TableFactor, TableFunctionArgs, Visitor,
    WindowType,
};
use gstore_core::Remedy;

use super::{HINTS, OF_STATE, RECURSIVE, SHARE, TIES, of_state};
use crate::error::SqlError;
use crate::expanded::alias;
use crate::walk::{Visit, break_on_error, error_of};

/// The messages about them.
const BY: &str =
    "LIMIT n BY a is not supported: write QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) <= n";
const LOCKS: &str =
    "FOR UPDATE and FOR SHARE are not supported: leave them out, a query reads one state of the store";
const SETTINGS: &str = "SETTINGS is not supported: leave it out";
const TOP: &str = "there is no TOP: write LIMIT n at the end";
const PREWHERE: &str = "PREWHERE is not supported: write WHERE";
const SPREAD: &str = "CLUSTER BY and DISTRIBUTE BY are not supported; ORDER BY puts rows in order";
const SORTED: &str = "SORT BY is not supported: write ORDER BY";
const ROLLUP: &str = "GROUP BY a, b WITH ROLLUP is not supported: write GROUP BY ROLLUP (a, b)";
const CUBE: &str = "GROUP BY a, b WITH CUBE is not supported: write GROUP BY CUBE (a, b)";
const TOTALS: &str = "GROUP BY a, b WITH TOTALS is not supported: write GROUP BY GROUPING SETS ((a, b), ())";
const SETS: &str = "GROUPING SETS cannot stand next to other keys: write GROUP BY GROUPING SETS ((a, b), ())";
const WINDOW: &str = "a window cannot begin with the name of another: write OVER w, or OVER (PARTITION BY a ORDER BY b) in full";
const PARTITION: &str = "PARTITION after a table is not supported: WHERE selects rows";
const TYPED: &str = "names of columns cannot have types: write t(a, b), and CAST(a AS INT) where it is read";
const FINAL: &str =
    "FINAL is not supported: a table has each row once; write AS final for the name of a table";
const PIPED: &str = "AGGREGATE takes no order: write |> ORDER BY a DESC after it";

/// Refuses such a clause in any part of a tree.
pub(in crate::dialect) fn check(tree: &impl Visit) -> Result<(), SqlError> {
    error_of(tree.visit(&mut Clauses))
}

struct Clauses;

impl Visitor for Clauses {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        break_on_error(of_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        break_on_error(of_select(select))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Self::Break> {
        break_on_error(of_table(table))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        break_on_error(match expr {
            Expr::Function(Function { over: Some(WindowType::WindowSpec(window)), .. }) => {
                of_window(window.window_name.as_ref())
            }
            _ => Ok(()),
        })
    }
}

fn invalid(says: &str) -> SqlError {
    SqlError::invalid(says.to_owned())
}

fn of_query(query: &Query) -> Result<(), SqlError> {
    let Query {
        with,
        body: _,
        order_by: _,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    with.iter().flat_map(|with| &with.cte_tables).try_for_each(|table| of_alias(&table.alias))?;
    if let Some(LimitClause::LimitOffset { limit: _, offset: _, limit_by }) = limit_clause
        && let Some(by) = limit_by.first()
    {
        return Err(invalid(BY).at_start_of(by));
    }
    if let Some(Fetch { with_ties, percent, quantity: _ }) = fetch
        && (*with_ties || *percent)
    {
        return Err(invalid(if *percent { SHARE } else { TIES }).at_start_of(query));
    }
    if !locks.is_empty() {
        return Err(invalid(LOCKS).at_start_of(query));
    }
    let form = for_clause.as_ref().map(ToString::to_string);
    let form = form.or_else(|| format_clause.as_ref().map(ToString::to_string));
    if let Some(form) = form {
        let asked = Remedy::Option("format", "json");
        let hint = format!("the format of a result is an option of the program that asks: {asked}");
        let error = SqlError::invalid(format!("{form} is not supported in a query")).at_start_of(query);
        return Err(error.hint(hint));
    }
    if settings.is_some() {
        return Err(invalid(SETTINGS).at_start_of(query));
    }
    pipe_operators.iter().try_for_each(of_pipe)
}

fn of_pipe(pipe: &PipeOperator) -> Result<(), SqlError> {
    match pipe {
        PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
            let mut all = full_table_exprs.iter().chain(group_by_expr);
            let ordered = all.find(|item| item.order_by.asc.is_some() || item.order_by.nulls_first.is_some());
            ordered.map_or(Ok(()), |item| Err(invalid(PIPED).at_start_of(&item.expr.expr)))
        }
        PipeOperator::Join(join) => of_join(join),
        _ => Ok(()),
    }
}

fn of_select(select: &Select) -> Result<(), SqlError> {
    let Select {
        select_token: _,
        distinct: _,
        projection: _,
        selection: _,
        having: _,
        qualify: _,
        window_before_qualify: _,
        flavor: _,
        // A comment.
        optimizer_hints: _,
        // The dialect has none of these.
        select_modifiers: _,
        exclude: _,
        value_table_mode: _,
        // The first is refused among statements that write, the second by its words.
        into: _,
        lateral_views: _,
        top,
        top_before_distinct: _,
        from,
        prewhere,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        named_window,
    } = select;
    if let Some(top) = top {
        let says = if top.percent { SHARE } else { TOP };
        return Err(invalid(says).at_start_of(select));
    }
    from.iter().flat_map(|table| &table.joins).try_for_each(of_join)?;
    if let Some(condition) = prewhere {
        return Err(invalid(PREWHERE).at_start_of(condition));
    }
    if let Some(clause) = connect_by.first() {
        return Err(invalid(RECURSIVE).at_start_of(clause));
    }
    if let Some(says) = modified(group_by) {
        return Err(invalid(says).at_start_of(group_by));
    }
    if let Some(key) = cluster_by.first().or(distribute_by.first()) {
        return Err(invalid(SPREAD).at_start_of(key));
    }
    if let Some(key) = sort_by.first() {
        return Err(invalid(SORTED).at_start_of(key));
    }
    named_window.iter().try_for_each(|window| {
        of_window(match &window.1 {
            NamedWindowExpr::NamedWindow(name) => Some(name),
            NamedWindowExpr::WindowSpec(window) => window.window_name.as_ref(),
        })
    })
}

/// The message about words behind the keys of groups.
fn modified(by: &GroupByExpr) -> Option<&'static str> {
    let (GroupByExpr::All(with) | GroupByExpr::Expressions(_, with)) = by;
    Some(match with.first()? {
        GroupByWithModifier::Rollup => ROLLUP,
        GroupByWithModifier::Cube => CUBE,
        GroupByWithModifier::Totals => TOTALS,
        GroupByWithModifier::GroupingSets(_) => SETS,
    })
}

/// Of the window by whose name another begins.
fn of_window(name: Option<&Ident>) -> Result<(), SqlError> {
    name.map_or(Ok(()), |name| Err(invalid(WINDOW).at_name(name)))
}

fn of_join(join: &Join) -> Result<(), SqlError> {
    let Join { relation, global, join_operator } = join;
    let says = match join_operator {
        JoinOperator::CrossApply => "CROSS APPLY is not supported: write CROSS JOIN LATERAL",
        JoinOperator::OuterApply => "OUTER APPLY is not supported: write LEFT JOIN LATERAL .. ON true",
        JoinOperator::StraightJoin(_) => "STRAIGHT_JOIN is not supported: write JOIN",
        JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
            "ARRAY JOIN is not supported: write SELECT .., unnest(list)"
        }
        _ if *global => "GLOBAL JOIN is not supported: write JOIN",
        _ => return Ok(()),
    };
    Err(invalid(says).at_start_of(relation))
}

fn of_table(table: &TableFactor) -> Result<(), SqlError> {
    match table {
        TableFactor::Table {
            name: _,
            alias: _,
            args,
            with_hints,
            version,
            partitions,
            index_hints,
            with_ordinality: _,
            json_path: _,
            sample: _,
        } => {
            let has_settings =
                matches!(args, Some(TableFunctionArgs { args: _, settings }) if settings.is_some());
            if has_settings {
                return Err(invalid(SETTINGS).at_start_of(table));
            }
            if version.is_some() {
                return Err(of_state(invalid(OF_STATE).at_start_of(table)));
            }
            if !with_hints.is_empty() || !index_hints.is_empty() {
                return Err(invalid(HINTS).at_start_of(table));
            }
            if let Some(name) = partitions.first() {
                return Err(invalid(PARTITION).at_name(name));
            }
        }
        TableFactor::NestedJoin { table_with_joins, alias: _ } => {
            table_with_joins.joins.iter().try_for_each(of_join)?;
        }
        _ => {}
    }
    alias(table).map_or(Ok(()), of_alias)
}

fn of_alias(alias: &TableAlias) -> Result<(), SqlError> {
    // The dialect has no AT.
    let TableAlias { explicit, name, columns, at: _ } = alias;
    if let Some(column) = columns.iter().find(|column| column.data_type.is_some()) {
        return Err(invalid(TYPED).at_start_of(column));
    }
    let is_word = !*explicit && name.quote_style.is_none() && columns.is_empty();
    if is_word && name.value.eq_ignore_ascii_case("FINAL") {
        return Err(invalid(FINAL).at_name(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;

    #[test]
    fn no_clause_is_left_out_without_a_word() {
        for (sql, says) in [
            (
                "SELECT count(*) FROM pool PREWHERE c > 15",
                "PREWHERE is not supported: write WHERE (line 1, column 36)",
            ),
            ("SELECT a FROM (SELECT a FROM pool PREWHERE c > 15) t", PREWHERE),
            ("SELECT a FROM t WHERE a IN (SELECT a FROM pool PREWHERE c > 15)", PREWHERE),
            ("WITH t AS (SELECT a FROM pool PREWHERE c > 15) SELECT a FROM t", PREWHERE),
            ("EXPLAIN SELECT a FROM pool PREWHERE c > 15", PREWHERE),
            ("SELECT a FROM pool UNION ALL SELECT a FROM pool PREWHERE c > 15", PREWHERE),
            ("SELECT g, count(*) FROM pool GROUP BY g WITH ROLLUP", ROLLUP),
            ("SELECT g, count(*) FROM pool GROUP BY ALL WITH ROLLUP", ROLLUP),
            ("SELECT g, count(*) FROM pool GROUP BY g WITH CUBE", CUBE),
            ("SELECT g, count(*) FROM pool GROUP BY g WITH TOTALS", TOTALS),
            ("SELECT g, count(*) FROM pool GROUP BY g GROUPING SETS ((g), ())", SETS),
            ("SELECT id FROM pool PARTITION (p0)", PARTITION),
            ("SELECT id FROM pool WITH (NOLOCK)", HINTS),
            ("SELECT id FROM pool USE INDEX (i)", HINTS),
            ("SELECT id FROM pool p FORCE INDEX (i)", HINTS),
            ("SELECT id FROM pool FINAL", FINAL),
            ("SELECT id FROM pool FINAL WHERE c > 15", FINAL),
            (
                "SELECT id FROM pool FORMAT JSON",
                "FORMAT JSON is not supported in a query (line 1, column 1)\n",
            ),
            ("SELECT id FROM pool FOR XML AUTO", "FOR XML AUTO is not supported in a query"),
            ("SELECT id FROM pool FOR JSON PATH", "that asks: format=json"),
            ("SELECT id FROM pool FOR BROWSE", "FOR BROWSE is not supported in a query"),
            ("SELECT id FROM pool SETTINGS a = 1", SETTINGS),
            ("SELECT * FROM range(3, SETTINGS a = 1)", SETTINGS),
            ("SELECT id FROM pool FOR UPDATE", LOCKS),
            ("SELECT id FROM (SELECT id FROM pool FOR SHARE NOWAIT) t", LOCKS),
            ("SELECT id FROM pool FOR SYSTEM_TIME AS OF '2020-01-01'", OF_STATE),
            ("SELECT id FROM pool VERSION AS OF 1", "that asks: snapshot=N"),
            ("SELECT id FROM pool TIMESTAMP AS OF '2020-01-01'", OF_STATE),
            ("SELECT id FROM pool AS OF TIMESTAMP '2020-01-01'", OF_STATE),
            ("SELECT id FROM pool ORDER BY id LIMIT 1 BY g", BY),
            ("SELECT TOP 1 id FROM pool", TOP),
            ("SELECT TOP (1) PERCENT id FROM pool", SHARE),
            ("SELECT id FROM pool ORDER BY id FETCH FIRST 5 PERCENT ROWS ONLY", SHARE),
            ("SELECT id FROM pool ORDER BY id FETCH FIRST 5 ROWS WITH TIES", TIES),
            ("SELECT id INTO x FROM pool", "SELECT INTO is not allowed"),
            ("SELECT id FROM pool CLUSTER BY id", SPREAD),
            ("SELECT id FROM pool DISTRIBUTE BY id", SPREAD),
            ("SELECT id FROM pool SORT BY id DESC", SORTED),
            ("SELECT id FROM pool START WITH id = 'a' CONNECT BY PRIOR id = g", RECURSIVE),
            ("SELECT id FROM pool LATERAL VIEW explode(tags) t AS x", "LATERAL VIEW is not supported"),
            ("SELECT AS STRUCT id FROM pool", "SELECT AS STRUCT is not supported"),
            ("SELECT id FROM pool MINUS SELECT 'a'", "MINUS is not supported: write EXCEPT"),
            ("SELECT sum(c) OVER (w ORDER BY c) FROM pool WINDOW w AS (PARTITION BY g)", WINDOW),
            ("SELECT sum(c) OVER v FROM pool WINDOW w AS (PARTITION BY g), v AS (w ORDER BY c)", WINDOW),
            ("SELECT sum(c) OVER v FROM pool WINDOW w AS (PARTITION BY g), v AS w", WINDOW),
            ("SELECT a FROM (VALUES (1)) AS t(a VARCHAR)", TYPED),
            ("WITH t(a VARCHAR) AS (SELECT 1) SELECT a FROM t", TYPED),
            ("SELECT id FROM pool ARRAY JOIN tags", "unnest(list)"),
            ("SELECT id FROM pool a STRAIGHT_JOIN pool b USING (id)", "is not supported: write JOIN"),
            ("SELECT a.id FROM pool a CROSS APPLY (SELECT 1 AS y) b", "CROSS JOIN LATERAL"),
            ("SELECT a.id FROM pool a OUTER APPLY (SELECT 1 AS y) b", "LEFT JOIN LATERAL .. ON true"),
            ("FROM pool |> AGGREGATE count(*) AS n GROUP BY g DESC", PIPED),
        ] {
            let said = parse(sql).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
            assert!(said.contains(says), "{sql}: {said}");
        }
        let said = crate::dialect::check_condition("id IN (SELECT id FROM pool FOR UPDATE)");
        assert!(said.is_err_and(|error| error.message() == LOCKS));
    }

    #[test]
    fn what_the_engine_reads_is_left_alone() {
        for sql in [
            "SELECT final.id FROM pool AS final",
            "SELECT final.id FROM pool \"final\"",
            "SELECT format, settings, version, partition FROM pool AS t",
            "SELECT g, count(*) FROM pool GROUP BY ROLLUP (g)",
            "SELECT id FROM pool ORDER BY id FETCH FIRST 5 ROWS ONLY",
            "SELECT id FROM pool ORDER BY id LIMIT 5 OFFSET 1",
            "SELECT sum(c) OVER w FROM pool WINDOW w AS (PARTITION BY g ORDER BY c)",
            "SELECT a FROM (VALUES (1)) AS t(a)",
            "WITH t(a) AS MATERIALIZED (SELECT 1) SELECT a FROM t",
            "SELECT id FROM pool TABLESAMPLE (10 ROWS)",
            "SELECT id FROM pool EXCEPT SELECT 'a'",
            "FROM pool |> AGGREGATE count(*) AS n GROUP BY g |> ORDER BY n DESC",
        ] {
            parse(sql).expect(sql);
        }
    }
}
