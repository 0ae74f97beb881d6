//! Planning of a statement, again in other words where the error says that these are needed.

use std::cell::LazyCell;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, field_not_found};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Sort};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::given::AliasNames;
use super::{by_all, calls, casts, forms, headings, hidden, negated, ordered, outer_fields, rows, twice};
use crate::error::SqlError;
use crate::expanded::{self, MAX_EXPRESSIONS};
use crate::walk::inner;
use crate::wording::NO_FIELD;

/// Most names of columns next to `*` that are put into other words.
const MOST: usize = 50;
/// Most expressions that are planned again for names, after the first of them.
const MOST_AGAIN: usize = 4 * MAX_EXPRESSIONS;

/// The session that plans statements, and the tables that names in them could mean.
#[derive(Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) tables: &'a [String],
}

impl Planner<'_> {
    pub(super) fn translate(self, error: DataFusionError) -> SqlError {
        SqlError::from_datafusion(error, self.tables)
    }
}

pub(crate) async fn planned(planner: Planner<'_>, mut statement: Statement) -> Result<LogicalPlan, SqlError> {
    let mut given = AliasNames::default();
    let mut again = ReplannedParts::default();
    // What was said before columns had names of their own.
    let mut unnamed: Option<SqlError> = None;
    let mut tables = inner(&mut statement).map(|sql| hidden::tables(sql)).unwrap_or_default();
    loop {
        if let Some(sql) = inner(&mut statement) {
            casts::name_grouped(sql);
        }
        // In the statement rows stay as they are written: names in them are of its SELECT, not of a subquery.
        let mut worded = statement.clone();
        rows::compare(&mut worded)?;
        if let Some(sql) = inner(&mut worded) {
            calls::name_aggregates(sql);
            forms::lists(sql);
        }
        let planned = planner.state.statement_to_plan(worded).await.map_err(|e| planner.translate(e));
        if hidden::are_read(&tables, &planned) {
            if let Some(sql) = inner(&mut statement) {
                hidden::rename(sql, &tables);
            }
            tables.clear();
            again.count(&mut statement, false)?;
            continue;
        }
        let error = match planned {
            Ok(plan) => return Ok(plan),
            Err(error) => rows::explain(error, &mut statement),
        };
        let put = |sql: &mut Sql| {
            by_all::put(sql, &error)
                || negated::put(sql, &error)
                || ordered::by_place(sql, &error)
                || outer_fields::bracket_fields(sql, &error)
        };
        if inner(&mut statement).is_some_and(put) {
            again.count(&mut statement, false)?;
            continue;
        }
        let is_apart = inner(&mut statement).is_some_and(|sql| twice::beside_all(sql, &error));
        let is_of_names = !is_apart && casts::is_of_names(&error);
        // `day + x` and `date_add(day, x)` are one column for the engine, and two for who reads the result;
        // so are `count(*)` and `(SELECT count(*) FROM u)`.
        let name = |sql: &mut Sql| {
            let is_new = unnamed.is_none();
            is_new && casts::name(sql) || casts::is_of_spellings(&error) && headings::put_result(sql)
        };
        if is_of_names && inner(&mut statement).is_some_and(name) {
            unnamed.get_or_insert(error);
        } else if !is_apart && (error.exact_name().is_some() || !given.put(&mut statement, &error)?) {
            return Err(outer_fields::explain(unnamed.filter(|_| is_of_names).unwrap_or(error)));
        }
        again.count(&mut statement, is_apart)?;
    }
}

/// Looks up the columns that ORDER BY names with their tables, and the fields of structs outside of SELECT:
/// the engine plans what there is not, too.
///
/// # Errors
/// One of a column that its table does not have, or of such a field.
pub(crate) fn check_names(plan: &LogicalPlan, planner: Planner<'_>) -> Result<(), SqlError> {
    let mut found = Ok(());
    let _ = plan.apply_with_subqueries(|node| {
        let order = match node {
            LogicalPlan::Sort(sort) => missing_key(sort, planner),
            _ => None,
        };
        let Some(error) = order.or_else(|| missing_field(node, planner)) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        found = Err(error);
        Ok(TreeNodeRecursion::Stop)
    });
    found
}

fn missing_key(sort: &Sort, planner: Planner<'_>) -> Option<SqlError> {
    let own = sort.input.schema();
    let keys = sort.expr.iter().flat_map(|key| key.expr.column_refs());
    let missing: Vec<&Column> = keys.filter(|column| !own.is_column_from_schema(column)).collect();
    let first = missing.first()?;
    let mut known = own.as_ref().clone();
    let mut below = &*sort.input;
    // Down to what FROM gives.
    while !matches!(below, LogicalPlan::SubqueryAlias(_))
        && let [input] = below.inputs().as_slice()
    {
        below = input;
        known.merge(below.schema());
    }
    // Next to one that is nowhere the engine finds none of them.
    let nowhere = missing.iter().find(|column| !known.is_column_from_schema(column)).unwrap_or(first);
    let error = planner.translate(field_not_found(nowhere.relation.clone(), &nowhere.name, &known));
    Some(error.at_span(nowhere.spans().first()))
}

fn missing_field(node: &LogicalPlan, planner: Planner<'_>) -> Option<SqlError> {
    let schema = LazyCell::new(|| merge_schema(&node.inputs()));
    let mut found = None;
    let _ = node.apply_expressions(|expr| {
        expr.apply(|part| {
            let is_field = matches!(part, Expr::ScalarFunction(call) if call.func.name() == "get_field");
            if is_field && let Err(error) = part.get_type(&*schema) {
                found =
                    Some(planner.translate(error)).filter(|error| error.message().starts_with(NO_FIELD[0]));
            }
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    found
}

/// What is planned again.
#[derive(Default)]
struct ReplannedParts {
    plans: usize,
    /// Names next to `*` among them.
    apart: usize,
    expressions: usize,
}

impl ReplannedParts {
    /// Refuses a statement whose names take too long to be put into other words.
    fn count(&mut self, statement: &mut Statement, is_apart: bool) -> Result<(), SqlError> {
        let expressions = inner(statement).map_or(Ok(0), |sql| expanded::check(sql))?;
        self.plans += 1;
        self.apart += usize::from(is_apart);
        if self.apart > MOST {
            let why = format!("more than {MOST} columns next to * have names that it has too");
            return Err(SqlError::refused(why).hint("give them other names with AS, or write * EXCLUDE (..)"));
        }
        if self.plans > 1 {
            self.expressions = self.expressions.saturating_add(expressions);
        }
        if self.expressions > MOST_AGAIN {
            let why = "the statement has too many expressions for the number of names that its SELECTs give with AS \
                       and name again, or have next to *";
            return Err(SqlError::refused(why.to_owned())
                .hint("put the SELECT that gives them into WITH or a subquery"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_again_is_limited() {
        let counted = |sql: &str, times: usize, is_apart: bool| {
            let mut statement = crate::dialect::parse(sql).unwrap();
            let mut again = ReplannedParts::default();
            (0..times).try_for_each(|_| again.count(&mut statement, is_apart)).map_err(|e| e.to_string())
        };
        let long = format!("SELECT 1 FROM t WHERE a IN ({})", vec!["1"; 50_000].join(", "));
        assert_eq!(counted(&long, 4, false), Ok(()));
        assert!(counted(&long, 5, false).unwrap_err().contains("too many expressions"));
        assert_eq!(counted("SELECT 1", 50, true), Ok(()));
        assert!(counted("SELECT 1", 51, true).unwrap_err().contains("more than 50 columns next to *"));
    }

    #[test]
    fn names_in_table_expressions_count_wherever_these_stand() {
        let doubled: String = (1..=11).map(|n| format!(", (x{0} + x{0}) AS x{n}", n - 1)).collect();
        let sql =
            format!("WITH c AS (SELECT a AS x0{doubled} FROM t) SELECT 1 FROM {}", vec!["c"; 60].join(", "));
        let mut given = AliasNames::default();
        let mut again = ReplannedParts::default();
        let mut statement = crate::dialect::parse(&sql).unwrap();
        let put = (0..=11).try_for_each(|n| {
            let error = SqlError::unknown(format!("there is no column `x{n}`"));
            given.put(&mut statement, &error)?;
            again.count(&mut statement, false)
        });
        assert!(put.unwrap_err().to_string().contains("repeated expressions"));
    }
}
