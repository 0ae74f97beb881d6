//! Correlated subqueries, for the errors where the engine cannot make a join of one: they name columns of the
//! statement around them.

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::find_out_reference_exprs;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ObjectName, TableFactor};

use super::distinct::distinct;
use super::error::SqlError;
use super::expanded::last_name;
use super::positions::{only, start};
use crate::walk::{visit_expressions, visit_tables};
use crate::wording::NO_VALUE;

/// Subqueries of a statement that are looked at.
const MOST: usize = 100;

/// The correlated subqueries of a statement, in the place of values or of tables.
#[derive(Debug, Default)]
pub(super) struct CorrelatedSubqueries {
    /// A column of each.
    columns: Vec<String>,
    /// Line and column of each subquery in the place of a value.
    places: Vec<(u64, u64)>,
    /// The same of each behind IN and EXISTS.
    of_rows: Vec<(u64, u64)>,
    /// Whether some stand behind IN and EXISTS in conditions, and no such comparison stands anywhere else.
    in_conditions: bool,
    /// What a subquery selects that its own tables do not have.
    lacking: Option<OuterColumn>,
    /// Whether lists are taken apart.
    unnests: bool,
    /// Whether rows of several values are compared with those of a subquery.
    of_tuples: bool,
}

/// A column that a subquery selects: by its name one of the statement around it.
#[derive(Debug)]
struct OuterColumn {
    column: String,
    around: Option<String>,
    /// The tables of the subquery.
    own: Vec<String>,
}

impl CorrelatedSubqueries {
    /// Where the subqueries of a statement are.
    pub(super) fn of(statement: &Statement) -> Self {
        let mut found = Self::default();
        if let Statement::Statement(sql) = statement {
            visit_expressions(&**sql, |expr| found.add(expr));
            found.unnests |= visit_tables(&**sql, is_list);
        }
        found
    }

    fn add(&mut self, expr: &SqlExpr) {
        match expr {
            SqlExpr::Subquery(query) => self.places.push(start(&**query)),
            SqlExpr::InSubquery { expr, subquery, .. } => {
                self.of_rows.push(start(&**subquery));
                self.of_tuples |= matches!(**expr, SqlExpr::Tuple(_));
            }
            SqlExpr::Exists { subquery, .. } => self.of_rows.push(start(&**subquery)),
            SqlExpr::Function(call) => self.unnests |= is_unnest(&call.name),
            SqlExpr::InUnnest { .. } => self.unnests = true,
            _ => {}
        }
    }

    /// The same with the columns that they name, by the plan of the statement.
    pub(super) fn planned(self, plan: &LogicalPlan) -> Self {
        let (mut columns, mut missing) = (Vec::new(), None);
        let (mut in_conditions, mut elsewhere) = (false, false);
        let _ = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Subquery(subquery) = node {
                columns.extend(outer(subquery));
                missing = missing.take().or_else(|| missing_column(subquery));
            }
            let is_filter = matches!(node, LogicalPlan::Filter(_));
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    match expr {
                        Expr::ScalarSubquery(subquery) => columns.extend(outer(subquery)),
                        Expr::InSubquery(InSubquery { subquery, .. })
                        | Expr::Exists(Exists { subquery, .. })
                            if is_filter =>
                        {
                            in_conditions |= outer(subquery).is_some();
                        }
                        Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => elsewhere = true,
                        _ => {}
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(if columns.len() < MOST { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        // A subquery is met as a plan and in its expression.
        let in_conditions = in_conditions && !elsewhere;
        Self { columns: distinct(columns), lacking: missing, in_conditions, ..self }
    }

    /// The error about such a subquery in the words of the statement.
    pub(super) fn explain(&self, error: SqlError) -> SqlError {
        if self.unnests && !self.columns.is_empty() && error.message().contains("OuterReferenceColumn") {
            let why = "unnest() of a column is allowed in SELECT, or in FROM after its table";
            return SqlError::invalid(why.to_owned()).hint(
                "write FROM t, unnest(t.nums) AS u(x), or LEFT JOIN unnest(t.nums) AS u(x) ON true, with conditions in WHERE",
            );
        }
        if let Some(lacking) = self.lacking.as_ref().filter(|_| is_of_rows(error.message())) {
            let error = lacking.error(self.unnests);
            return error.at(only(&[self.of_rows.as_slice(), &self.places].concat()));
        }
        let message = error.message();
        // Beside a subquery in the place of a value the second message may be about that.
        let no_values = self.places.is_empty();
        let of_rows =
            self.in_conditions && (message.ends_with(NO_VALUE) || no_values && has_no_join(message));
        let known = if is_further_out(&error) {
            Some(if self.of_tuples { OF_TUPLES } else { WITHIN })
        } else if of_rows {
            Some(OF_ROWS)
        } else {
            reason(message)
        };
        // One behind IN may have become a value.
        let places = if of_rows || no_values { &self.of_rows } else { &self.places };
        let Some((why, hint)) = known.filter(|_| !self.columns.is_empty()) else { return error };
        let subquery = "a subquery that names a column of the statement around it";
        let error = match self.columns.as_slice() {
            // Of several values those before IN are columns around it too.
            [column] if !self.of_tuples => SqlError::invalid(format!("{subquery} (`{column}`) {why}")),
            _ => SqlError::invalid(format!("{subquery} {why}")),
        };
        error.at(only(places)).hint(hint)
    }
}

/// Whether a table of FROM is a list that is taken apart.
fn is_list(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::UNNEST { .. } => true,
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
            is_unnest(name)
        }
        _ => false,
    }
}

fn is_unnest(function: &ObjectName) -> bool {
    last_name(function).as_deref() == Some("unnest")
}

impl OuterColumn {
    fn error(&self, unnests: bool) -> SqlError {
        let column = &self.column;
        let why = match self.own.as_slice() {
            [table] => format!("`{table}` has no column `{column}`"),
            _ => format!("no table of the subquery has a column `{column}`"),
        };
        let around = match &self.around {
            Some(table) => format!("`{table}`, in the statement around the subquery"),
            None => "the statement around the subquery".to_owned(),
        };
        let how = match unnests {
            true => format!(
                "whether a list of a row has a value is list_contains({column}, 'x'), of one in JSON \
                 list_contains({column}::VARCHAR[], 'x')"
            ),
            false => "a subquery selects columns of its own tables".to_owned(),
        };
        SqlError::unknown(why).hint(format!("it is a column of {around}; {how}"))
    }
}

/// A column of the statement around a subquery in an expression of it.
fn outer_column(expr: &Expr) -> Option<Column> {
    match find_out_reference_exprs(expr).into_iter().next()? {
        Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    }
}

/// A column of the statement around a subquery that it selects, where its own tables have none of that name.
fn missing_column(subquery: &Subquery) -> Option<OuterColumn> {
    let (mut selected, mut tables, mut names) = (None, Vec::new(), Vec::new());
    let plan: &LogicalPlan = &subquery.subquery;
    let _ = plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                tables.push(scan.table_name.table().to_owned());
                names.extend(node.schema().fields().iter().map(|field| field.name().clone()));
            }
            LogicalPlan::Projection(projection) if selected.is_none() => {
                selected = projection.expr.iter().find_map(outer_column);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let Column { relation, name, .. } = selected.filter(|column| !names.contains(&column.name))?;
    Some(OuterColumn { column: name, around: relation.map(|table| table.table().to_owned()), own: tables })
}

/// Whether an error is about a condition on the rows of a subquery. The engine makes EXISTS of ANY and ALL,
/// and takes the new name of such a column for a failure.
fn is_of_rows(message: &str) -> bool {
    message.ends_with(NO_VALUE) || message.contains("Failed due to a difference in schemas")
}

/// A column of the statement around a subquery that it names.
fn outer(subquery: &Subquery) -> Option<String> {
    subquery.outer_ref_columns.iter().find_map(outer_column).map(|column| column.flat_name())
}

/// Whether the engine found such a column in a part of a subquery from which it moves none into a join, or no
/// part that selects something.
fn has_no_join(message: &str) -> bool {
    message.contains("Accessing outer reference columns is not allowed")
        || message.contains("a mixed of outer references and inner columns")
        || is_empty(message)
}

/// Whether the engine took the rows of `LIMIT 0` out of a subquery, and what it selects with them.
fn is_empty(message: &str) -> bool {
    message.contains("single expression required")
}

/// Whether the engine looked for such a column too far in or out: those that a statement names and there are
/// not are found before it makes joins.
fn is_further_out(error: &SqlError) -> bool {
    let message = error.message();
    error.missing_column().is_some()
        || message.contains("` has no column `")
        || message.contains("__correlated_sq")
}

/// What the engine asks of the place of such a column, and what is written where it stands elsewhere.
const WITHIN: (&str, &str) = (
    "may name it in its own WHERE, but not in a subquery within it",
    "select what it is compared with in the subquery within, and compare outside of that: \
     (SELECT max(z.x) FROM (SELECT k, x FROM u) z WHERE z.k = t.k); or write a join",
);

/// The same of one behind `(a, b) IN`, whose rows are those of a subquery within another.
const OF_TUPLES: (&str, &str) = (
    "is allowed after IN with one value, not with several",
    "compare one by one what is never NULL: EXISTS (SELECT 1 FROM u WHERE u.x = t.x AND u.y = t.y AND u.k = t.k), or NOT \
     EXISTS",
);

/// What the engine asks of such a subquery behind IN and EXISTS, and what is written where it is not so.
const OF_ROWS: (&str, &str) = (
    "is allowed after IN and EXISTS without ORDER BY, LIMIT, UNION and windows, and may name it only in its \
     own WHERE, by = beside an aggregate",
    "write the subquery without it in WITH, and a join: WITH u AS (SELECT k, max(x) AS x FROM v GROUP BY k) SELECT t.* FROM t \
     SEMI JOIN u ON u.k = t.k AND u.x = t.x, or ANTI JOIN for NOT; the first of each k is QUALIFY row_number() OVER \
     (PARTITION BY k ORDER BY x) = 1",
);

/// What the engine asks of one in the place of a value, and what is written where it is not so.
fn reason(message: &str) -> Option<(&'static str, &'static str)> {
    let one_row = is_empty(message)
        || message.contains("orrelated") && message.contains("aggregated")
        || message.contains("scalar correlated subquery cannot contain");
    if one_row {
        return Some((
            "can be a value only by an aggregate",
            "write any_value(x) or max(x) in it, without LIMIT and GROUP BY",
        ));
    }
    if message.contains("Correlated scalar subquery") {
        return Some((
            "is allowed only in SELECT and WHERE",
            "give it a name in SELECT, in a subquery in FROM where there is DISTINCT ON, and use that name",
        ));
    }
    if message.contains("ScalarSubquery(") || message.contains("OuterReferenceColumn") || has_no_join(message)
    {
        return Some((
            "may compare with it only by =, in WHERE, and must select an aggregate",
            "write a LEFT JOIN instead: SELECT t.id, max(u.x) FROM t LEFT JOIN u ON u.x < t.x GROUP BY t.id; for one row of \
             each, SELECT t.id, u.id FROM t LEFT JOIN u ON u.x < t.x QUALIFY row_number() OVER (PARTITION BY t.row ORDER BY \
             u.x DESC) = 1",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use crate::positions::TextPosition;

    #[test]
    fn a_subquery_that_makes_no_join_is_refused_by_where_it_stands() {
        let found = |in_conditions: bool, message: &str, places: &[TextPosition]| {
            let columns = vec!["t.x".to_owned()];
            let (of_rows, places) = (vec![(1, 2)], places.to_vec());
            let subqueries =
                CorrelatedSubqueries { columns, of_rows, places, in_conditions, ..Default::default() };
            subqueries.explain(SqlError::invalid(message.to_owned())).to_string()
        };
        let condition = "(`t.x`) is allowed after IN and EXISTS without ORDER BY";
        let value = "(`t.x`) may compare with it only by =";
        for (in_conditions, message, says) in [
            (true, "EXISTS cannot be used here", condition),
            (true, "IN (SELECT ..) cannot be used here", condition),
            (true, "Accessing outer reference columns is not allowed in the plan: Full Join:", condition),
            (false, "Accessing outer reference columns is not allowed in the plan: Full Join:", value),
            (
                false,
                "Window expressions should not contain a mixed of outer references and inner columns",
                value,
            ),
            (false, "IN (SELECT ..) cannot be used here", "IN (SELECT ..) cannot be used here"),
            (true, "there is no column `g`", "(`t.x`) may name it in its own WHERE, but not in a subquery"),
            (true, "single expression required.", condition),
            (false, "single expression required.", "(`t.x`) can be a value only by an aggregate"),
        ] {
            let said = found(in_conditions, message, &[]);
            assert!(said.contains(says), "{said}");
            assert_eq!(said.contains("(line 1, column 2)"), says != message, "{said}");
        }
        // Beside a subquery in the place of a value it may be about that.
        let both =
            found(true, "Accessing outer reference columns is not allowed in the plan: Union", &[(3, 4)]);
        assert!(both.contains(value) && both.contains("(line 3, column 4)"), "{both}");
    }

    #[test]
    fn lists_are_taken_apart_in_select_and_in_from() {
        for (sql, expected) in [
            ("SELECT UNNEST(a) FROM t", true),
            ("SELECT 1 FROM t, unnest(t.a) AS u(x)", true),
            ("SELECT 1 FROM t WHERE x IN (SELECT unnest(t.a))", true),
            ("SELECT 'unnest(a)' FROM t", false),
        ] {
            assert_eq!(CorrelatedSubqueries::of(&parse(sql).unwrap()).unnests, expected, "{sql}");
        }
    }
}
