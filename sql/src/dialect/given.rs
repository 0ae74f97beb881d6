//! Names that a SELECT gives with AS, in its own WHERE and in what follows them in it: `SELECT cost * 2 AS twice,
//! twice + 1 FROM t WHERE twice > 10`. What is computed takes the place of the name.
//!
//! Invariants
//! - a column of a table goes before: a name is looked up only where the engine has none
//! - what is computed anew each time, or by a subquery, stands in one place only
//! - the expressions that stand more than once are limited together, and so is how deep they are in one another

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, Visit, VisitMut, Visitor, VisitorMut,
};

use super::twice::is_given;
use crate::error::{SqlError, SqlErrorKind};
use crate::expanded::{MAX_EXPRESSIONS, name};
use crate::guard::MAX_OPERATORS;
use crate::parameters::inner;
use crate::wording::TWICE;

/// Most names of a statement that are looked up.
const MOST: usize = 50;
/// Most expressions that are in one another.
const DEEPEST: usize = MAX_OPERATORS + 100;

/// The names of one statement.
pub(super) struct Given<'a> {
    state: &'a SessionState,
    names: usize,
    /// Expressions that stand in the place of names.
    repeated: usize,
}

impl<'a> Given<'a> {
    pub(super) fn new(state: &'a SessionState) -> Self {
        Self { state, names: 0, repeated: 0 }
    }

    /// Puts what is computed in the place of the name that an error is about; false if there is no such name.
    pub(super) fn put(&mut self, statement: &mut Statement, error: &SqlError) -> Result<bool, SqlError> {
        let column =
            error.message().strip_prefix("there is no column `").and_then(|rest| rest.strip_suffix('`'));
        let Some(column) = column.filter(|_| error.kind() == SqlErrorKind::Unknown) else { return Ok(false) };
        let Some(sql) = inner(statement) else { return Ok(false) };
        let mut search = Search { column, place: error.position(), selects: 0 };
        let _ = Visit::visit(&*sql, &mut search);
        // Without a place it may be any of several.
        if search.selects == 0 || search.place.is_none() && search.selects > 1 {
            return Ok(false);
        }
        self.names += 1;
        if self.names > MOST {
            let why = format!("more than {MOST} names that a SELECT gives with AS stand in it again");
            return Err(SqlError::refused(why).hint("put the SELECT that gives them into WITH or a subquery"));
        }
        match sql.visit(&mut Selects { of: self, column, place: search.place }) {
            ControlFlow::Break(refused) => Err(*refused),
            ControlFlow::Continue(()) => Ok(true),
        }
    }

    fn select(
        &mut self,
        select: &mut Select,
        column: &str,
        place: Option<(u64, u64)>,
    ) -> Result<(), SqlError> {
        let Some((at, value)) = value(select, column) else { return Ok(()) };
        let uses = Uses::of(select, at, column, place);
        if !uses.is_meant {
            return Ok(());
        }
        let refused = |why: String, hint: &str| {
            let error = SqlError::invalid(why).hint(hint);
            place.into_iter().fold(error, |error, (line, column)| error.at(line, column))
        };
        if given(select, column).nth(1).is_some() {
            let why = format!("{TWICE}called `{column}`, and one of them is meant here");
            return Err(refused(why, "give one of them another name with AS"));
        }
        let kinds = self.kinds(value);
        if kinds.anew {
            let why = format!("`{column}` is computed anew wherever it stands, or by a subquery");
            return Err(refused(why, "put the SELECT that gives it into WITH or a subquery"));
        }
        // Before anything is copied.
        let mut size = Size::default();
        let _ = value.visit(&mut size);
        self.repeated = self.repeated.saturating_add(size.expressions.saturating_mul(uses.count));
        if self.repeated > MAX_EXPRESSIONS || uses.deepest.saturating_add(size.deepest) > DEEPEST {
            let why = "the statement has too many expressions where names that a SELECT gives with AS stand in it again";
            return Err(SqlError::refused(why.to_owned())
                .hint("put the SELECT that gives them into WITH or a subquery"));
        }
        let value = Expr::Nested(Box::new(value.clone()));
        let mut puts = Puts { column, value: &value, depth: 0, put: 0 };
        let _ = select.projection.iter_mut().skip(at + 1).try_for_each(|item| item.visit(&mut puts));
        let _ = VisitMut::visit(&mut select.named_window, &mut puts);
        let before = puts.put;
        let _ = VisitMut::visit(&mut select.selection, &mut puts);
        if puts.put > before && kinds.window {
            let why = format!("`{column}` is of a window, which WHERE does not know");
            return Err(refused(why, "write QUALIFY in place of WHERE"));
        }
        if puts.put > before && kinds.aggregate {
            let why = format!("`{column}` is of an aggregate function, which WHERE does not know");
            return Err(refused(why, "write HAVING behind GROUP BY"));
        }
        Ok(())
    }

    fn kinds(&self, value: &Expr) -> Kinds<'a> {
        let mut kinds = Kinds { state: self.state, aggregate: false, window: false, anew: false };
        let _ = value.visit(&mut kinds);
        kinds
    }
}

/// What a SELECT gives a name, with the places among the columns of the result.
fn given<'a>(select: &'a Select, column: &str) -> impl Iterator<Item = (usize, &'a Expr)> {
    select.projection.iter().enumerate().filter_map(move |(at, item)| match item {
        SelectItem::ExprWithAlias { expr, alias } if is_given(alias, column) => Some((at, expr)),
        _ => None,
    })
}

/// The first of these, but for what names itself: there a column is meant.
fn value<'a>(select: &'a Select, column: &str) -> Option<(usize, &'a Expr)> {
    given(select, column).next().filter(|(_, expr)| !names(expr, column))
}

/// Whether an expression names a column.
fn names(expr: &Expr, column: &str) -> bool {
    let mut uses = Uses::new(column, None);
    let _ = expr.visit(&mut uses);
    uses.count > 0
}

/// Whether what a SELECT gives a name has a column of this name in it.
pub(crate) fn names_itself(expr: &Expr, alias: &Ident) -> bool {
    names(expr, &name(alias))
}

/// Whether a name stands behind its expression or in WHERE; with its place in the text, if that is known.
fn is_used(select: &Select, column: &str, place: Option<(u64, u64)>) -> bool {
    value(select, column).is_some_and(|(at, _)| Uses::of(select, at, column, place).is_meant)
}

/// Counts the SELECTs that have a name in such a place.
struct Search<'a> {
    column: &'a str,
    place: Option<(u64, u64)>,
    selects: usize,
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.selects += usize::from(is_used(select, self.column, self.place));
        ControlFlow::Continue(())
    }
}

struct Selects<'a, 'b> {
    of: &'a mut Given<'b>,
    column: &'a str,
    place: Option<(u64, u64)>,
}

impl VisitorMut for Selects<'_, '_> {
    type Break = Box<SqlError>;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        match self.of.select(select, self.column, self.place) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => ControlFlow::Break(Box::new(refused)),
        }
    }
}

/// Looks for a name; not in subqueries, which have columns of their own.
struct Uses<'a> {
    column: &'a str,
    place: Option<(u64, u64)>,
    queries: usize,
    /// Expressions around what is visited, with it.
    depth: usize,
    /// How often the name stands there.
    count: usize,
    /// The most expressions that it stands in.
    deepest: usize,
    /// Whether it stands in the place that is looked for.
    is_meant: bool,
}

impl<'a> Uses<'a> {
    fn new(column: &'a str, place: Option<(u64, u64)>) -> Self {
        Self { column, place, queries: 0, depth: 0, count: 0, deepest: 0, is_meant: false }
    }

    /// Behind an item of a SELECT, and in WHERE.
    fn of(select: &Select, at: usize, column: &'a str, place: Option<(u64, u64)>) -> Self {
        let mut uses = Self::new(column, place);
        for item in select.projection.iter().skip(at + 1) {
            let _ = item.visit(&mut uses);
        }
        let _ = select.selection.visit(&mut uses);
        let _ = select.named_window.visit(&mut uses);
        uses
    }
}

impl Visitor for Uses<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if let Expr::Identifier(other) = expr
            && self.queries == 0
            && name(other) == self.column
        {
            let start = other.span.start;
            self.count += 1;
            self.deepest = self.deepest.max(self.depth);
            self.is_meant |= self.place.is_none_or(|place| place == (start.line, start.column));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Puts a value in the place of a name.
struct Puts<'a> {
    column: &'a str,
    value: &'a Expr,
    depth: usize,
    put: usize,
}

impl VisitorMut for Puts<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(other) = expr
            && self.depth == 0
            && name(other) == self.column
        {
            *expr = self.value.clone();
            self.put += 1;
        }
        ControlFlow::Continue(())
    }
}

/// What an expression is made of.
struct Kinds<'a> {
    state: &'a SessionState,
    aggregate: bool,
    window: bool,
    /// Functions that give another value each time, and subqueries.
    anew: bool,
}

impl Visitor for Kinds<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.anew = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let called = function.name.to_string().to_ascii_lowercase();
        let scalar = self.state.scalar_functions().get(&called);
        self.anew |= scalar.is_some_and(|scalar| scalar.signature().volatility == Volatility::Volatile);
        match function.over.is_some() {
            true => self.window = true,
            false => self.aggregate |= self.state.aggregate_functions().contains_key(&called),
        }
        ControlFlow::Continue(())
    }
}

/// How many expressions there are, and the most that are in one another.
#[derive(Default)]
struct Size {
    expressions: usize,
    depth: usize,
    deepest: usize,
}

impl Visitor for Size {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.expressions += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    fn put(sql: &str, column: &str, place: Option<(u64, u64)>) -> Result<Option<String>, String> {
        let state = SessionContext::new().state();
        let mut statement = crate::guard::parse(sql).unwrap();
        let error = SqlError::unknown(format!("there is no column `{column}`"));
        let error = place.into_iter().fold(error, |error, (line, column)| error.at(line, column));
        let found = Given::new(&state).put(&mut statement, &error).map_err(|error| error.to_string())?;
        Ok(found.then(|| statement.to_string()))
    }

    #[test]
    fn what_is_computed_takes_the_place_of_its_name() {
        for (sql, place, expected) in [
            (
                "SELECT a * 2 AS d, d + 1, sum(d) FROM t WHERE d > 10 AND x IN (SELECT d FROM u)",
                None,
                "SELECT a * 2 AS d, (a * 2) + 1, sum((a * 2)) FROM t WHERE (a * 2) > 10 AND x IN (SELECT d FROM u)",
            ),
            (
                "SELECT d AS x, (SELECT d AS d WHERE D) FROM (SELECT a AS d, d + 1 FROM t)",
                Some((1, 61)),
                "SELECT d AS x, (SELECT d AS d WHERE D) FROM (SELECT a AS d, (a) + 1 FROM t)",
            ),
            (
                "SELECT row_number() OVER () AS d, d + 1 FROM t",
                None,
                "SELECT row_number() OVER () AS d, (row_number() OVER ()) + 1 FROM t",
            ),
        ] {
            assert_eq!(put(sql, "d", place), Ok(Some(expected.to_owned())));
        }
        for sql in [
            "SELECT d + 1, a AS d FROM t",
            "SELECT a AS d FROM t WHERE x IN (SELECT d FROM u)",
            "SELECT a AS d, d FROM (SELECT a AS d, d FROM t)",
            "SELECT a AS b, d FROM t",
            // A slip in the name of a column, which the result is to have.
            "SELECT d + 1 AS d FROM t WHERE d > 1",
        ] {
            assert_eq!(put(sql, "d", None), Ok(None), "{sql}");
        }
    }

    #[test]
    fn what_cannot_stand_twice_is_refused() {
        for (sql, says) in [
            ("SELECT random() AS d, d + 1", "computed anew"),
            ("SELECT (SELECT 1) AS d, d + 1", "computed anew"),
            ("SELECT count(*) AS d FROM t WHERE d > 1", "aggregate function, which WHERE does not know"),
            ("SELECT rank() OVER () AS d FROM t WHERE d > 1", "write QUALIFY"),
            ("SELECT a AS d, b AS d, d + 1 FROM t", "two columns of one SELECT are called `d`"),
        ] {
            let error = put(sql, "d", None).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let long =
            format!("SELECT [{}] AS d, {} FROM t", vec!["a"; 300].join(", "), vec!["d"; 200].join(", "));
        assert!(put(&long, "d", None).unwrap_err().contains("too many expressions"));
    }
}
