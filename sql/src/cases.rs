//! Columns found by names in letters of any case: the engine reads names without quotes in lower case, and
//! those in quotes as they are written.
//!
//! Invariants
//! - a name that the engine finds stays what it is: another is put into statements that cannot be planned,
//!   and in the place of one in GROUP BY that it finds in SELECT alone
//! - the column is the only one in its place whose name differs in nothing but the case of letters
//! - names of one query are respelled, as those of another may be of other tables
//! - so are those that are no expressions: behind EXCLUDE and RENAME, and in USING

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, IdentWithAlias,
    JoinConstraint, ObjectNamePart, Query, RenameSelectItem, Select, SelectItem, TableFactor, TableWithJoins,
    Value, VisitorMut, WildcardAdditionalOptions,
};

use super::dialect::join_constraint;
use super::error::SqlError;
use super::expanded::{excluded_mut, last_ident, name};
use super::positions::{TextPosition, begin, is_named_at, place, start};
use super::walk::{VisitMut, inner, visit_own_expressions_mut};

/// Puts the name that an error proposes in the place of the one that it is about; false where there is none.
/// An error that does not know its place, or whose place has been put right, is about each such name of one
/// query, if the statement gives none like it; a name that it gives is none in USING.
pub(super) fn respell(statement: &mut Statement, error: &SqlError) -> bool {
    let Some(exact) = error.exact_name() else { return false };
    let Some(sql) = inner(statement) else { return false };
    let respelled = |which: RespelledNames| {
        let mut respelled = sql.clone();
        let mut names = ColumnNames { exact, which, ..ColumnNames::default() };
        let _ = VisitMut::visit(&mut respelled, &mut names);
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
    let of_query: fn(usize) -> RespelledNames =
        if none.is_given { RespelledNames::UsingOfQuery } else { RespelledNames::OfQuery };
    let queries = (1..=none.queries).map(|query| respelled(of_query(query)));
    let mut queries: Vec<_> = queries.filter(|(_, names)| names.are_respelled).collect();
    if queries.len() > 1 {
        queries.retain(|(_, names)| names.has_exact);
    }
    // A subquery is planned before what is around it.
    let Some((respelled, _)) = queries.pop() else { return false };
    *sql = respelled;
    true
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum RespelledNames {
    #[default]
    None,
    At(TextPosition),
    /// Of the query with this number, from 1.
    OfQuery(usize),
    /// Those in its USING.
    UsingOfQuery(usize),
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
        let is_exact = ident.quote_style.is_some() && ident.value == self.exact;
        !is_exact && ident.value.eq_ignore_ascii_case(self.exact)
    }

    fn respell(&self, ident: &mut Ident) {
        *ident = Ident { value: self.exact.to_owned(), quote_style: Some('"'), span: ident.span };
    }

    /// Respells a column whose name, with its table, begins at a place, if it is meant.
    fn column(&mut self, begin: TextPosition, column: &mut Ident) {
        let is_meant = match self.which {
            RespelledNames::At(place) => begin == place,
            RespelledNames::OfQuery(query) => self.open.last() == Some(&query),
            RespelledNames::None | RespelledNames::UsingOfQuery(_) => false,
        };
        if is_meant {
            self.meant(column);
        }
    }

    fn meant(&mut self, column: &mut Ident) {
        if self.is_like(column) {
            self.respell(column);
            self.are_respelled = true;
        } else {
            self.has_exact |= column.quote_style.is_some() && column.value == self.exact;
        }
    }

    /// Respells a column in the clauses of groups, if it is one; their subqueries have columns of their own.
    fn key(&self, expr: &mut Expr) -> bool {
        let last = parts(expr).last_mut().filter(|last| self.is_like(last));
        last.map(|last| self.respell(last)).is_some()
    }

    fn wildcard(&mut self, options: &mut WildcardAdditionalOptions) {
        excluded_mut(options).for_each(|column| self.column(place(column), column));
        let renamed: &mut [IdentWithAlias] = match &mut options.opt_rename {
            None => &mut [],
            Some(RenameSelectItem::Single(one)) => std::slice::from_mut(one),
            Some(RenameSelectItem::Multiple(all)) => all.as_mut_slice(),
        };
        renamed.iter_mut().for_each(|one| self.column(place(&one.ident), &mut one.ident));
        let replaced = options.opt_replace.iter_mut().flat_map(|replace| &mut replace.items);
        replaced.for_each(|one| self.column(place(&one.column_name), &mut one.column_name));
    }

    /// An error about a name in USING has no place.
    fn joins(&mut self, from: &mut TableWithJoins) {
        let (RespelledNames::OfQuery(query) | RespelledNames::UsingOfQuery(query)) = self.which else {
            return;
        };
        if self.open.last() != Some(&query) {
            return;
        }
        for join in &mut from.joins {
            if let Some(JoinConstraint::Using(columns)) = join_constraint(&mut join.join_operator) {
                columns.iter_mut().filter_map(last_ident).for_each(|column| self.meant(column));
            }
        }
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

    /// GROUP BY means the column, also where a SELECT gives its name to what it computes from it, and so does
    /// the HAVING behind it.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let given = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { expr, alias } if name(alias) == self.exact.to_ascii_lowercase() => {
                Some(matches!(self.which, RespelledNames::At(place) if is_named_at(expr, place)))
            }
            _ => None,
        };
        let given: Vec<bool> = select.projection.iter().filter_map(given).collect();
        self.is_given |= !given.is_empty();
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            let is_key = matches!(self.which, RespelledNames::At(place) if is_named_at(&*keys, place));
            if given.contains(&true) || is_key && !given.is_empty() {
                let mut are_respelled = false;
                visit_own_expressions_mut(keys, |key| are_respelled |= self.key(key));
                if are_respelled {
                    visit_own_expressions_mut(&mut select.having, |key| {
                        self.key(key);
                    });
                }
                self.are_respelled |= are_respelled && is_key;
            }
        }
        for item in &mut select.projection {
            if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
                self.wildcard(options);
            }
        }
        select.from.iter_mut().for_each(|from| self.joins(from));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.joins(table_with_joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let (Some(begin), Some(last)) = (begin(expr), parts(expr).last_mut()) {
            self.column(begin, last);
        }
        match expr {
            // UNPIVOT makes a text of the name of a column, in the place of that.
            Expr::Value(value) => {
                let start = start(&*value);
                if let Value::SingleQuotedString(text) = &mut value.value
                    && self.which == RespelledNames::At(start)
                    && text.eq_ignore_ascii_case(self.exact)
                {
                    self.exact.clone_into(text);
                }
            }
            Expr::Function(function) => {
                if let Some((begin, column)) = called_on(function) {
                    self.column(begin, column);
                }
                // COLUMNS(* EXCLUDE a)
                let FunctionArguments::List(list) = &mut function.args else {
                    return ControlFlow::Continue(());
                };
                for arg in &mut list.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(options)) = arg {
                        self.wildcard(options);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn parts(expr: &mut Expr) -> &mut [Ident] {
    match expr {
        Expr::Identifier(name) => std::slice::from_mut(name),
        Expr::CompoundIdentifier(parts) => parts.as_mut_slice(),
        _ => &mut [],
    }
}

/// The column that a call stands behind, `column.function(..)`, and where its name begins.
fn called_on(function: &mut Function) -> Option<(TextPosition, &mut Ident)> {
    let begin = function.name.0.first()?.as_ident().map(place)?;
    match function.name.0.as_mut_slice() {
        [.., ObjectNamePart::Identifier(column), _] => Some((begin, column)),
        _ => None,
    }
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
        assert_eq!(respelled(sql, &unknown().at((1, 8))).as_deref(), Some(one));
        let all = "SELECT p.\"Topic\", \"Topic\", \"Topic\", topics FROM pool p GROUP BY \"Topic\"";
        assert_eq!(respelled(sql, &unknown()).as_deref(), Some(all));
        // Of a place that has none such left.
        assert_eq!(respelled(sql, &unknown().at((1, 9))).as_deref(), Some(all));
        assert_eq!(respelled(sql, &SqlError::unknown(String::new()).at((1, 8))), None);
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
        assert_eq!(respelled(sql, &unknown().at((1, 14))).as_deref(), Some(expected));
        let sql = "SELECT 1 AS topic FROM pool GROUP BY TOPIC HAVING topic > (SELECT max(topic) FROM other)";
        let expected = "SELECT 1 AS topic FROM pool GROUP BY \"Topic\" HAVING \"Topic\" > \
                        (SELECT max(topic) FROM other)";
        assert_eq!(respelled(sql, &unknown().at((1, 38))).as_deref(), Some(expected));
    }

    #[test]
    fn columns_that_a_call_stands_behind_are_respelled() {
        let sql = "SELECT topic.upper(), p.TOPIC.trim(), topic.upper(topic) FROM pool p";
        let first = "SELECT \"Topic\".upper(), p.TOPIC.trim(), topic.upper(topic) FROM pool p";
        assert_eq!(respelled(sql, &unknown().at((1, 8))).as_deref(), Some(first));
        let second = "SELECT topic.upper(), p.\"Topic\".trim(), topic.upper(topic) FROM pool p";
        assert_eq!(respelled(sql, &unknown().at((1, 23))).as_deref(), Some(second));
    }

    #[test]
    fn names_that_are_no_expressions_are_put_too() {
        for (sql, expected) in [
            ("SELECT * EXCLUDE (a, TOPIC) FROM pool", r#"SELECT * EXCLUDE (a, "Topic") FROM pool"#),
            ("SELECT p.* EXCLUDE topic FROM pool p", r#"SELECT p.* EXCLUDE "Topic" FROM pool p"#),
            ("SELECT * RENAME (TOPIC AS x) FROM pool", r#"SELECT * RENAME ("Topic" AS x) FROM pool"#),
            (
                "SELECT max(COLUMNS(* EXCLUDE (topic))) FROM pool",
                r#"SELECT max(COLUMNS(* EXCLUDE ("Topic"))) FROM pool"#,
            ),
            (
                "SELECT b.topic FROM a JOIN (b JOIN c USING(topic)) USING(TOPIC)",
                r#"SELECT b."Topic" FROM a JOIN (b JOIN c USING("Topic")) USING("Topic")"#,
            ),
            // Where AS gives the name to something, only the names in USING are respelled.
            (
                "SELECT upper(topic) AS topic FROM a JOIN b USING(topic)",
                r#"SELECT upper(topic) AS topic FROM a JOIN b USING("Topic")"#,
            ),
        ] {
            assert_eq!(respelled(sql, &unknown()).as_deref(), Some(expected));
        }
        let sql = "UNPIVOT t ON topic, b INTO NAME k VALUE v";
        let found = respelled(sql, &unknown().at((1, 14))).unwrap();
        let expected =
            r#"SELECT * EXCLUDE ("Topic", b), unnest(['Topic', 'b']) AS k, unnest(["Topic", b]) AS v FROM t"#;
        assert!(found.contains(expected), "{found}");
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
