//! Headings of a result as the statement has them: `avg(score)`, and not the engine's `avg(influence.score)`;
//! and texts and bytes in the arrays that readers have.
//!
//! The plan keeps the engine's names and types of the result; a projection on top of it gives the others, so
//! no plan changes by this.

mod tables;

use std::sync::Arc;

use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, cast};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, ExtractSyntax, Ident, Query, Select, SelectItem, SetExpr, Statement as Sql,
};

pub(super) use self::tables::{heading, is_heading, put, put_result};
use crate::dialect::exprs::{has_columns, is_call_of, is_many};
use crate::expanded::{column, name};
use crate::types::without_views;
use crate::walk::visit_expressions_mut;

/// What an expression is called: as it is written, a column of a table and a field of a struct by their last
/// name.
fn written(expr: &Expr) -> String {
    let last = match expr {
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(field))) => Some(field),
            _ => None,
        },
        other => column(other),
    };
    last.map_or_else(|| in_lower_case(expr), name)
}

/// The text of an expression, where the names of functions that the parser has for itself are in lower case:
/// it forgets how these were written, and has `CEIL(x)` for `ceil(x)`.
fn in_lower_case(expr: &Expr) -> String {
    let mut expr = expr.clone();
    visit_expressions_mut(&mut expr, |part: &mut Expr| {
        let arguments = match part {
            Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Overlay { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. } => part.to_string().split_once('(').map(|(_, rest)| format!("({rest}")),
            Expr::Extract { field, expr: of, syntax: ExtractSyntax::From } => {
                Some(format!("({} FROM {of})", field.to_string().to_lowercase()))
            }
            _ => None,
        };
        if let Some(arguments) = arguments {
            let called = part.to_string();
            let called = called.split('(').next().unwrap_or_default().to_lowercase();
            *part = Expr::Identifier(Ident::new(called + &arguments));
        }
    });
    expr.to_string()
}

/// What the columns of a result are called, as far as the statement says it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headings {
    /// Of the columns before the first item that may stand for several.
    first: Vec<String>,
    /// Of those after the last such item; without any such item there are none.
    last: Vec<String>,
    /// Whether there is such an item.
    open: bool,
    /// Of the items where each stands for one column, if all such items may.
    single: Option<Vec<Option<String>>>,
    /// Whether what has no heading can only be of `unnest()`.
    unnests: bool,
}

impl Headings {
    pub(crate) fn of(statement: &Statement) -> Self {
        let Statement::Statement(sql) = statement else { return Self::default() };
        let Sql::Query(query) = &**sql else { return Self::default() };
        let mut found = Self::default();
        let Some(select) = select(query) else { return Self { open: true, ..found } };
        found.single = select.projection.iter().map(single).collect();
        found.unnests = true;
        for item in &select.projection {
            let (called, unnests) = match item {
                SelectItem::UnnamedExpr(expr) if is_many(expr) => (None, is_unnest(expr)),
                SelectItem::UnnamedExpr(expr) => (Some(written(expr)), true),
                SelectItem::ExprWithAlias { expr, alias } => {
                    let called = (!is_many(expr)).then(|| alias.value.clone());
                    let unnests = called.is_some() || is_unnest(expr);
                    (called, unnests && !alias.value.contains('.'))
                }
                _ => (None, false),
            };
            found.unnests &= unnests;
            match called {
                Some(called) if found.open => found.last.push(called),
                Some(called) => found.first.push(called),
                None => {
                    // A column between two such items has no place that is known.
                    found.unnests &= found.last.is_empty();
                    found.open = true;
                    found.last.clear();
                }
            }
        }
        found
    }

    /// The same with the names of columns in the letters that another reading of the statement has for them.
    pub(crate) fn in_letters_of(&self, other: &Self) -> Self {
        let letters = |own: &String, other: &String| match own.eq_ignore_ascii_case(other) {
            true => other.clone(),
            false => own.clone(),
        };
        let all = |own: &[String], others: &[String]| match own.len() == others.len() {
            true => own.iter().zip(others).map(|(own, other)| letters(own, other)).collect(),
            false => own.to_vec(),
        };
        let single = match (&self.single, &other.single) {
            (Some(own), Some(others)) if own.len() == others.len() => {
                let one = |(own, other): (&Option<String>, &Option<String>)| match (own, other) {
                    (Some(own), Some(other)) => Some(letters(own, other)),
                    _ => own.clone(),
                };
                Some(own.iter().zip(others).map(one).collect())
            }
            _ => self.single.clone(),
        };
        Self { first: all(&self.first, &other.first), last: all(&self.last, &other.last), single, ..*self }
    }

    /// The name of a column out of `n` that the engine calls so and the statement does not name: of a struct
    /// in `unnest()` that of its field.
    fn field<'a>(&self, called: &'a str, n: usize) -> &'a str {
        let is_one = self.single.as_ref().is_some_and(|single| single.len() == n);
        match called.rsplit_once('.') {
            Some((_, field)) if self.open && self.unnests && !is_one && !field.ends_with([')', ']', '"']) => {
                field
            }
            _ => called,
        }
    }

    /// The name of a column out of `n`, if the statement has one for it.
    fn get(&self, column: usize, n: usize) -> Option<&str> {
        if let Some(single) = self.single.as_ref().filter(|single| single.len() == n) {
            return single.get(column)?.as_deref();
        }
        let named = self.first.len() + self.last.len();
        if named > n || (!self.open && named != n) {
            return None;
        }
        let last = || self.last.get((column + self.last.len()).checked_sub(n)?);
        self.first.get(column).or_else(last).map(String::as_str)
    }
}

/// The query whose columns name those of the result.
fn select(query: &Query) -> Option<&Select> {
    let mut body = &*query.body;
    loop {
        body = match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::SetOperation { left, .. } => &**left,
            SetExpr::Query(query) => &*query.body,
            _ => return None,
        };
    }
}

/// The name of an item's column, if it may have only one; `unnest()` of a list has.
fn single(item: &SelectItem) -> Option<Option<String>> {
    match item {
        SelectItem::ExprWithAlias { expr, .. } if is_many(expr) => Some(None),
        SelectItem::ExprWithAlias { alias, .. } => Some(Some(alias.value.clone())),
        SelectItem::UnnamedExpr(expr) => Some(Some(written(expr))).filter(|_| !has_columns(expr)),
        _ => None,
    }
}

/// Whether an expression is a call of `unnest()`, and nothing around it.
fn is_unnest(expr: &Expr) -> bool {
    is_call_of(expr, "unnest") && !has_columns(expr)
}

/// The plan with these headings, and without the views that the engine makes of texts and bytes: pandas, for
/// one, reads none that are in a list.
pub(crate) fn renamed(plan: Arc<dyn ExecutionPlan>, headings: &Headings) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let n = schema.fields().len();
    let name = |(i, field): (usize, &Arc<arrow_schema::Field>)| {
        headings.get(i, n).unwrap_or_else(|| headings.field(field.name(), n)).to_owned()
    };
    let names: Vec<String> = schema.fields().iter().enumerate().map(name).collect();
    let is_same = |(name, field): (&String, &Arc<arrow_schema::Field>)| {
        name == field.name() && without_views(field.data_type()) == *field.data_type()
    };
    if names.iter().zip(schema.fields()).all(is_same) {
        return Ok(plan);
    }
    let columns = schema.fields().iter().zip(names).enumerate().map(|(i, (field, alias))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), i));
        let plain = without_views(field.data_type());
        let expr = if plain == *field.data_type() { column } else { cast(column, &schema, plain)? };
        Ok(ProjectionExpr { expr, alias })
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<DfResult<Vec<_>>>()?, plan)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(sql: &str, n: usize) -> Vec<Option<String>> {
        let headings = Headings::of(&crate::dialect::parse(sql).unwrap());
        (0..n).map(|i| headings.get(i, n).map(str::to_owned)).collect()
    }

    #[test]
    fn headings_are_those_of_the_statement() {
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(
            headings("SELECT a, avg(b), 1, c AS d FROM t", 4),
            [name("a"), name("avg(b)"), name("1"), name("d")]
        );
        assert_eq!(headings("SELECT 1, *, a + b FROM t", 5), [name("1"), None, None, None, name("a + b")]);
        assert_eq!(headings("SELECT 1 + 1 UNION SELECT 2", 1), [name("1 + 1")]);
        assert_eq!(headings("SELECT unnest(a), b + 1 FROM t", 3), [None, None, name("b + 1")]);
        assert_eq!(headings("SELECT unnest(a), b + 1 FROM t", 2), [name("unnest(a)"), name("b + 1")]);
        assert_eq!(headings("SELECT 1, 2", 3), [None, None, None]);
        assert_eq!(headings("VALUES (1)", 1), [None]);
        assert_eq!(headings("SELECT *, A, b AS \"B\" FROM t", 4), [None, None, name("a"), name("B")]);
        // A name that the statement gives is not read as one of a column.
        assert_eq!(headings("SELECT 1 AS Stars, Stars: 2", 2), [name("Stars"), name("Stars")]);
        assert_eq!(headings("SELECT *, max(s) AS Stars FROM t", 3), [None, None, name("Stars")]);
        // A column, and a field of a struct.
        assert_eq!(headings("SELECT t.c, s.field, c FROM t", 3), [name("c"), name("field"), name("c")]);
        assert_eq!(headings("SELECT {'a': 1}.a, x.upper()", 2), [name("a"), name("x.upper()")]);
        // What the parser has forms of its own for.
        assert_eq!(
            headings(
                "SELECT substr(ceil(x), 1, 2) || 'A', extract(year FROM t), position('F(' IN trim(x))",
                3
            ),
            [
                name("substr(ceil(x), 1, 2) || 'A'"),
                name("extract(year FROM t)"),
                name("position('F(' IN trim(x))")
            ]
        );
    }

    #[test]
    fn headings_of_columns_have_the_letters_of_their_tables() {
        let of = |sql: &str| Headings::of(&crate::dialect::parse(sql).unwrap());
        let own = of("SELECT topic, Topic + 1, topic AS topic, *, t.topic FROM t");
        let other = of("SELECT \"Topic\", \"Topic\" + 1, \"Topic\" AS topic, *, t.\"Topic\" FROM t");
        let both = own.in_letters_of(&other);
        assert_eq!(both.first, ["Topic", "Topic + 1", "topic"]);
        assert_eq!(both.last, ["Topic"]);
    }

    #[test]
    fn fields_of_a_struct_are_headings() {
        let field = |sql: &str, called: &str, n: usize| {
            Headings::of(&crate::dialect::parse(sql).unwrap()).field(called, n).to_owned()
        };
        assert_eq!(field("SELECT id, unnest(t[1]) FROM t", "t[Int64(1)].role", 3), "role");
        assert_eq!(field("SELECT unnest(t) FROM t", "t.role", 1), "t.role");
        assert_eq!(field("SELECT *, unnest(t) FROM t", "t.role", 3), "t.role");
        assert_eq!(
            field("SELECT unnest(t), unnest([1.5]) FROM t", "UNNEST(Float64(1.5))", 3),
            "UNNEST(Float64(1.5))"
        );
    }
}
