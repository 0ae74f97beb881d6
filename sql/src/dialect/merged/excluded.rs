//! `* REPLACE (..)`, `* EXCLUDE (..)` of virtual columns and of columns of the tables that `USING` joins, and
//! all columns of `NATURAL` joins: which table has each is asked of the engine, by a plan of the query's
//! `FROM` alone.

use std::iter;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, Query, Select, SelectItem,
    VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::natural;
use super::wildcard::{Options, all, named, unknown};
use super::{Keys, Selects, merge_names, of_from};
use crate::dialect::planned::{Planner, planned};
use crate::dialect::scopes::{self, Scopes, question};
use crate::dialect::using::{UsingJoins, quoted};
use crate::error::SqlError;
use crate::expanded::{excluded, excluded_mut, last_ident, last_name, name, star};
use crate::translate::no_column;
use crate::virtuals::{VirtualColumn, is_absent};
use crate::walk::{VisitMut, inner, visit_body_mut, visit_queries};

/// Most queries of a statement that are planned for their columns.
const MOST: usize = 50;

/// Puts the columns of each table in the place of such `*`; returns the columns of `NATURAL` joins.
pub(super) async fn expand(planner: Planner<'_>, statement: &mut Statement) -> Result<Keys, SqlError> {
    let (mut columns, mut left, mut probes) = (None, 0, 0);
    let mut selects = Selects::default();
    loop {
        let Some(sql) = inner(statement) else { return Ok(selects.keys) };
        let walk = || {
            let (columns, scopes) = (columns.take(), Scopes::default());
            sql.visit(&mut Known { columns, left, scopes, selects: &mut selects })
        };
        let Some(mut probe) = question(walk)? else { return Ok(selects.keys) };
        probes += 1;
        if probes > MOST {
            let why = format!(
                "the statement has more than {MOST} * REPLACE, * EXCLUDE over joins by USING, or NATURAL joins"
            );
            return Err(SqlError::refused(why).hint("write the columns that are meant"));
        }
        merge_names(&mut probe)?;
        match planned(planner, probe).await {
            Ok(plan) => {
                let of = |table: Option<&datafusion::common::TableReference>| {
                    table.map(|table| table.table().to_owned()).unwrap_or_default()
                };
                let fields = plan.schema().iter();
                columns = Some(fields.map(|(table, field)| (of(table), field.name().clone())).collect());
            }
            // A query that names itself is planned with the rest of its statement only.
            Err(error) if !is_recursive(statement) => return Err(error),
            Err(_) => left += 1,
        }
    }
}

fn is_recursive(statement: &mut Statement) -> bool {
    let is_one = |query: &Query| query.with.as_ref().is_some_and(|with| with.recursive);
    inner(statement).is_some_and(|sql| visit_queries(&*sql, is_one))
}

/// Asks for the columns of a query.
type Stop = scopes::Stop<Statement>;

struct Known<'a> {
    /// Table and name of the columns of the first query that has such a `*`.
    columns: Option<Vec<(String, String)>>,
    /// Queries that are left as they are.
    left: usize,
    scopes: Scopes,
    selects: &'a mut Selects,
}

impl Known<'_> {
    /// Table and name of the columns that a probe has; `None` for a query that is left as it is.
    fn columns(
        &mut self,
        probe: impl FnOnce(&Scopes) -> Statement,
    ) -> Result<Option<Vec<(String, String)>>, Stop> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(None);
        }
        let columns = self.columns.take().ok_or_else(|| Stop::Ask(Box::new(probe(&self.scopes))))?;
        Ok(Some(columns))
    }

    fn select(&mut self, select: &mut Select, order: Option<&mut OrderBy>) -> Result<(), Stop> {
        if let Some(tables) = natural::tables(select) {
            return self.natural(select, order, &tables);
        }
        select.projection.iter_mut().for_each(lower_excluded);
        self.names_behind(select)?;
        if !select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
            return Ok(());
        }
        let Some(merged) = UsingJoins::of(select).filter(UsingJoins::is_whole) else { return Ok(()) };
        let asks = |item: &SelectItem| asked(item, &merged).is_some();
        if !select.projection.iter().any(asks) {
            return Ok(());
        }
        let probe = |scopes: &Scopes| scopes.probe(select, &merged.tables);
        let Some(columns) = self.columns(probe)? else { return Ok(()) };
        let named = named(&select.projection);
        for item in std::mem::take(&mut select.projection) {
            let Some((options, names)) = asked(&item, &merged) else {
                select.projection.push(item);
                continue;
            };
            if let Some(error) = unknown(&names, &columns) {
                return Err(error.into());
            }
            let written = &mut self.selects.written;
            select.projection.extend(all(&merged, &options, &columns, &named, written)?);
        }
        Err(Stop::Again)
    }

    /// Puts columns in the place of the names behind REPLACE: the engine reads past one that no column has.
    /// Of those behind EXCLUDE, virtual columns that no table has because nothing asks for them go.
    fn names_behind(&mut self, select: &mut Select) -> Result<(), Stop> {
        if !select.projection.iter_mut().any(is_open) {
            return Ok(());
        }
        let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
        let probe = |scopes: &Scopes| scopes.query(of_from(select, vec![all]));
        let Some(columns) = self.columns(probe)? else { return Ok(()) };
        for (table, options) in select.projection.iter_mut().filter_map(star) {
            leave_out(options, table.as_deref(), &columns);
            for item in options.opt_replace.iter_mut().flat_map(|replace| &mut replace.items) {
                item.column_name = quoted(&replaced_column(&item.column_name, table.as_deref(), &columns)?);
            }
        }
        Err(Stop::Again)
    }

    /// Writes `NATURAL` joins with the columns that they compare.
    fn natural(
        &mut self,
        select: &mut Select,
        order: Option<&mut OrderBy>,
        tables: &[ObjectName],
    ) -> Result<(), Stop> {
        let probe = |scopes: &Scopes| {
            let mut crossed = select.clone();
            for join in crossed.from.iter_mut().flat_map(|from| &mut from.joins) {
                join.join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
            }
            scopes.probe(&crossed, tables)
        };
        let Some(columns) = self.columns(probe)? else { return Ok(()) };
        for (table, options) in select.projection.iter_mut().filter_map(star) {
            leave_out(options, table.as_deref(), &columns);
        }
        natural::put(select, order, columns, self.selects)?;
        Err(Stop::Again)
    }
}

/// Puts names without quotes behind EXCLUDE in lower case, as the engine reads names elsewhere.
fn lower_excluded(item: &mut SelectItem) {
    let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item else { return };
    for ident in excluded_mut(options).filter(|ident| ident.quote_style.is_none()) {
        ident.value.make_ascii_lowercase();
    }
}

/// Whether a `*` has names behind REPLACE, or of virtual columns behind EXCLUDE, that stand as they were
/// written: those that are put there have no place.
fn is_open(item: &mut SelectItem) -> bool {
    let Some((_, options)) = star(item) else { return false };
    let is_written = |name: &Ident| name.span != Span::empty();
    let has_virtual =
        excluded_mut(options).any(|name| is_written(name) && VirtualColumn::of_name(name).is_some());
    let mut replaced = options.opt_replace.iter().flat_map(|replace| &replace.items);
    has_virtual || replaced.any(|item| is_written(&item.column_name))
}

/// Leaves only what these columns have of the virtual ones behind EXCLUDE and EXCEPT.
fn leave_out(options: &mut WildcardAdditionalOptions, table: Option<&str>, columns: &[(String, String)]) {
    let mut names = excluded(options).to_vec();
    let except = options.opt_except.take().into_iter();
    let except = except.flat_map(|except| iter::once(except.first_element).chain(except.additional_elements));
    names.extend(except.map(|column| ObjectName::from(vec![column])));
    let known = columns.iter().filter(|(own, _)| table.is_none_or(|table| own == table));
    let known: Vec<&String> = known.map(|(_, column)| column).collect();
    names.retain(|column| last_name(column).is_none_or(|name| !is_absent(&name, known.iter().copied())));
    for column in names.iter_mut().filter_map(last_ident) {
        if VirtualColumn::of_name(column).is_some() {
            column.span = Span::empty();
        }
    }
    options.opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
}

/// The column that a name behind REPLACE means, of one table or of all.
fn replaced_column(
    column: &Ident,
    table: Option<&str>,
    columns: &[(String, String)],
) -> Result<String, SqlError> {
    let wanted = name(column);
    let is_of = |own: &str| table.is_none_or(|table| own == table);
    let known = columns.iter().filter(|(own, _)| is_of(own)).map(|(_, known)| known);
    match known.clone().any(|known| *known == wanted) {
        true => Ok(wanted),
        false => Err(no_column(&wanted, known).at_name(column)),
    }
}

/// What a `*` has behind it, and the names of that which may be columns of any table, if there are some.
fn asked(item: &SelectItem, merged: &UsingJoins) -> Option<(Options, Vec<String>)> {
    let SelectItem::Wildcard(options) = item else { return None };
    let options = Options::of(options)?;
    let names = options.of_tables(merged);
    (!names.is_empty()).then_some((options, names))
}

impl VisitorMut for Known<'_> {
    type Break = Stop;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Stop> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Stop> {
        let done = visit_body_mut(&mut query.body, query.order_by.as_mut(), &mut |select, order| {
            self.select(select, order)
        });
        self.scopes.leave();
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => ControlFlow::Break(stop),
        }
    }
}
