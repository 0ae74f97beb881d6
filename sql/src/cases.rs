//! Columns with capitals in their names, found by names without quotes in letters of any case: the engine
//! reads such names in lower case.
//!
//! Invariants
//! - a name that the engine finds stays what it is: another is put into statements that cannot be planned
//! - the column is the only one in its place whose name differs in nothing but the case of letters
//! - names of one query are respelled, as those of another may be of other tables

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Ident, Query, Select, SelectItem, VisitorMut};

use super::error::SqlError;
use super::expanded::name;
use super::quotes::TextPosition;
use super::walk::{VisitMut, inner, visit_expressions, visit_expressions_mut};

/// Puts the name that an error proposes in the place of the one that it is about; false where there is none.
/// An error that does not know its place, or whose place has been put right, is about each such name of a
/// query, if the statement gives none like it.
pub(super) fn respell(statement: &mut Statement, error: &SqlError) -> bool {
    let Some(exact) = error.exact_name() else { return false };
    let Some(sql) = inner(statement) else { return false };
    let respelled = |which: RespelledNames| {
        let mut respelled = sql.clone();
        let mut names = ColumnNames { exact, which, ..ColumnNames::default() };
        let _ = respelled.visit(&mut names);
        (respelled, names)
    };
    if let Some(place) = error.position() {
        let (respelled, names) = respelled(RespelledNames::At(place));
        if names.are_respelled {
            *sql = respelled;
            return true;
        }
    }
    let (_, none) = respelled(RespelledNames::None);
    if none.is_given {
        return false;
    }
    let mut queries: Vec<_> =
        (1..=none.queries).map(|query| respelled(RespelledNames::OfQuery(query))).collect();
    queries.retain(|(_, names)| names.are_respelled);
    if queries.len() > 1 {
        queries.retain(|(_, names)| names.has_exact);
    }
    match (queries.pop(), queries.is_empty()) {
        (Some((respelled, _)), true) => {
            *sql = respelled;
            true
        }
        _ => false,
    }
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum RespelledNames {
    #[default]
    None,
    At(TextPosition),
    /// Of the query with this number, from 1.
    OfQuery(usize),
}

/// The names of a column in other letters.
#[derive(Default)]
struct ColumnNames<'a> {
    exact: &'a str,
    which: RespelledNames,
    /// Queries so far, and the numbers of those around a place.
    queries: usize,
    open: Vec<usize>,
    are_respelled: bool,
    /// Whether the query has the exact name, too.
    has_exact: bool,
    /// Whether the statement gives such a name to something.
    is_given: bool,
}

impl ColumnNames<'_> {
    fn is_like(&self, ident: &Ident) -> bool {
        ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case(self.exact)
    }

    fn respell(&self, ident: &mut Ident) {
        *ident = Ident { value: self.exact.to_owned(), quote_style: Some('"'), span: ident.span };
    }
}

impl VisitorMut for ColumnNames<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.queries += 1;
        self.open.push(self.queries);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    /// GROUP BY means the column, also where a SELECT gives its name to what it computes from it.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let given = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { expr, alias } if name(alias) == self.exact.to_ascii_lowercase() => {
                Some(matches!(self.which, RespelledNames::At(place) if is_named_at(expr, place)))
            }
            _ => None,
        };
        let given: Vec<bool> = select.projection.iter().filter_map(given).collect();
        self.is_given |= !given.is_empty();
        if let (true, GroupByExpr::Expressions(keys, _)) = (given.contains(&true), &mut select.group_by) {
            let _ = visit_expressions_mut(keys, |key: &mut Expr| {
                if let Some(last) = parts(key).last_mut().filter(|last| self.is_like(last)) {
                    self.respell(last);
                }
                ControlFlow::<()>::Continue(())
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is_meant = match self.which {
            RespelledNames::None => false,
            RespelledNames::At(place) => begin(expr) == Some(place),
            RespelledNames::OfQuery(query) => self.open.last() == Some(&query),
        };
        if let Some(last) = parts(expr).last_mut().filter(|_| is_meant) {
            if self.is_like(last) {
                self.respell(last);
                self.are_respelled = true;
            } else {
                self.has_exact |= last.quote_style.is_some() && last.value == self.exact;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The parts of a name.
fn parts(expr: &mut Expr) -> &mut [Ident] {
    match expr {
        Expr::Identifier(name) => std::slice::from_mut(name),
        Expr::CompoundIdentifier(parts) => parts.as_mut_slice(),
        _ => &mut [],
    }
}

/// Where a name begins.
fn begin(expr: &Expr) -> Option<TextPosition> {
    let first = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => parts.first()?,
        _ => return None,
    };
    Some((first.span.start.line, first.span.start.column))
}

/// Whether a name begins at a place in an expression.
fn is_named_at(expr: &Expr, place: TextPosition) -> bool {
    let walk = visit_expressions(expr, |part: &Expr| match begin(part) == Some(place) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    walk.is_break()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;

    fn unknown() -> SqlError {
        SqlError::unknown(String::new()).exactly("Topic".to_owned())
    }

    fn respelled(sql: &str, error: &SqlError) -> Option<String> {
        let mut statement = parse(sql).unwrap();
        respell(&mut statement, error).then(|| statement.to_string())
    }

    #[test]
    fn names_are_put_where_the_error_is() {
        let sql = "SELECT p.TOPIC, topic, \"topic\", topics FROM pool p GROUP BY Topic";
        let one = "SELECT p.\"Topic\", topic, \"topic\", topics FROM pool p GROUP BY Topic";
        assert_eq!(respelled(sql, &unknown().at(1, 8)).as_deref(), Some(one));
        let all = "SELECT p.\"Topic\", \"Topic\", \"topic\", topics FROM pool p GROUP BY \"Topic\"";
        assert_eq!(respelled(sql, &unknown()).as_deref(), Some(all));
        // Of a place that has none such left.
        assert_eq!(respelled(sql, &unknown().at(1, 9)).as_deref(), Some(all));
        assert_eq!(respelled(sql, &SqlError::unknown(String::new()).at(1, 8)), None);
    }

    #[test]
    fn names_that_the_statement_gives_are_left() {
        for sql in
            ["SELECT 1 AS topic FROM pool GROUP BY topic", "SELECT -topic AS Topic FROM pool ORDER BY topic"]
        {
            assert_eq!(respelled(sql, &unknown()), None);
        }
        let sql = "SELECT lower(topic) AS topic FROM pool WHERE topic > 'T' GROUP BY topic ORDER BY topic";
        let expected =
            "SELECT lower(\"Topic\") AS topic FROM pool WHERE topic > 'T' GROUP BY \"Topic\" ORDER BY topic";
        assert_eq!(respelled(sql, &unknown().at(1, 14)).as_deref(), Some(expected));
    }

    #[test]
    fn names_of_another_query_are_left() {
        let sql = "SELECT -topic FROM pool WHERE id IN (SELECT id FROM other WHERE topic = 2)";
        assert_eq!(respelled(sql, &unknown()), None);
        let sql = "WITH t AS (SELECT \"Topic\" FROM pool GROUP BY topic) SELECT topic FROM t";
        let expected = "WITH t AS (SELECT \"Topic\" FROM pool GROUP BY \"Topic\") SELECT topic FROM t";
        assert_eq!(respelled(sql, &unknown()).as_deref(), Some(expected));
    }
}
