//! Views of a store in a statement: the text of each that it names becomes a table expression of it. So do
//! relations of the information schema that have views, of which the engine knows none.
//!
//! Invariants
//! - what a view reads is limited like the statement's own text, since it is part of it by then
//! - the table expression of a view has a name of its own: those of the statement and of other views neither
//!   hide it nor are hidden by it
//! - a view may name views; one that names itself, in whatever way, is refused
//! - a place in the text of a view is never taken for one in the statement: the lines of the two differ

use std::collections::HashSet;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, Statement as Sql, TableAlias, TableFactor,
};
use gstore_store::{Snapshot, View};

use super::dialect::{self, put_before, visit_outer_tables_mut};
use super::error::SqlError;
use super::expanded;
use super::guard;
use super::names::{CATALOG, DATA};
use super::parameters;
use super::walk::inner;

/// Lines that lie between the texts of two views, of which none and no statement has as many.
const APART: u64 = 1 << 32;

/// Relations of the information schema in the place of those of the engine.
const RELATIONS: [(&str, &str); 2] = [
    (
        "information_schema.tables",
        "SELECT * FROM information_schema.tables \
         UNION ALL SELECT 'store', 'data', name, 'VIEW' FROM gstore.views",
    ),
    (
        "information_schema.views",
        "SELECT 'store' AS table_catalog, 'data' AS table_schema, name AS table_name, statement AS definition \
         FROM gstore.views",
    ),
];

/// Puts in the views that a statement names, and relations that have them.
pub(crate) fn expand(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), SqlError> {
    describe_view(statement, snapshot)?;
    let Some(sql) = inner(statement) else { return Ok(()) };
    let mut found = NeededViews { snapshot, done: HashSet::new(), open: Vec::new(), tables: Vec::new() };
    found.of(sql)?;
    if found.tables.is_empty() {
        return Ok(());
    }
    let Some(query) = query_of(sql) else { return Ok(()) };
    put_before(query, found.tables);
    guard::check_relations(sql)
}

/// `DESCRIBE view` as `DESCRIBE SELECT * FROM view`.
fn describe_view(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), SqlError> {
    let Statement::Statement(sql) = &*statement else { return Ok(()) };
    let Sql::ExplainTable { table_name, .. } = &**sql else { return Ok(()) };
    if let Some(view) = named_view(table_name, snapshot) {
        *statement = dialect::parse(&format!("DESCRIBE SELECT * FROM \"{}\"", view.name))?;
    }
    Ok(())
}

/// The query of a statement, of an explained one too.
fn query_of(sql: &mut Sql) -> Option<&mut Query> {
    match sql {
        Sql::Query(query) => Some(query),
        Sql::Explain { statement, .. } => query_of(statement),
        _ => None,
    }
}

pub(super) fn parts(object: &ObjectName) -> Option<Vec<String>> {
    object.0.iter().map(|part| part.as_ident().map(expanded::name)).collect()
}

/// The name of a dataset or view, with the schema of these or without.
pub(super) fn table_name(object: &ObjectName) -> Option<String> {
    let parts = parts(object)?;
    let (table, schemas) = parts.split_last()?;
    let is_of_data = match schemas {
        [] => true,
        [schema] => schema == DATA,
        [catalog, schema] => catalog == CATALOG && schema == DATA,
        _ => false,
    };
    is_of_data.then(|| table.clone())
}

/// The view that a name means; a dataset of the name goes first.
fn named_view<'a>(name: &ObjectName, snapshot: &'a Snapshot) -> Option<&'a View> {
    let name = table_name(name)?;
    if snapshot.datasets().iter().any(|dataset| dataset.name == name) {
        return None;
    }
    snapshot.views().iter().find(|view| view.name == name)
}

/// The views that a statement needs, those that others need first.
struct NeededViews<'a> {
    snapshot: &'a Snapshot,
    done: HashSet<&'a str>,
    /// Views whose own are being looked for.
    open: Vec<&'a str>,
    tables: Vec<Cte>,
}

impl<'a> NeededViews<'a> {
    fn of(&mut self, sql: &mut Sql) -> Result<(), SqlError> {
        let (snapshot, mut views, mut relations) = (self.snapshot, Vec::new(), Vec::new());
        visit_outer_tables_mut(sql, |table| {
            views.extend(put_view(table, snapshot));
            relations.extend(put_relation(table, snapshot));
        });
        relations.into_iter().try_for_each(|relation| self.add_relation(relation))?;
        views.into_iter().try_for_each(|view| self.add(view))
    }

    fn add_relation(&mut self, (name, text): (&'static str, &'static str)) -> Result<(), SqlError> {
        if self.done.insert(name)
            && let Some(Sql::Query(query)) = inner(&mut dialect::parse_below(text, below_all(self.snapshot))?)
        {
            self.tables.push(table(name, query.clone()));
        }
        Ok(())
    }

    fn add(&mut self, view: &'a View) -> Result<(), SqlError> {
        let name = view.name.as_str();
        if self.done.contains(name) {
            return Ok(());
        }
        if self.open.contains(&name) {
            return Err(SqlError::invalid(format!("the view `{name}` names itself")));
        }
        let before = self.snapshot.views().iter().take_while(|other| other.name != name).count() as u64;
        let statement = dialect::parse_below(&view.sql, APART * (before + 1));
        let mut statement = statement.map_err(|error| match error.position() {
            Some(_) => explain(error, self.snapshot),
            None => inside(error, name, None),
        })?;
        let Some(sql) = inner(&mut statement) else { return Ok(()) };
        self.open.push(name);
        self.of(sql)?;
        self.open.pop();
        self.done.insert(name);
        if let Sql::Query(query) = sql {
            self.tables.push(table(name, query.clone()));
        }
        Ok(())
    }
}

/// Puts the table expression of a view in the place of its name.
fn put_view<'a>(table: &mut TableFactor, snapshot: &'a Snapshot) -> Option<&'a View> {
    let TableFactor::Table { name, alias, args: None, .. } = table else { return None };
    let view = named_view(name, snapshot)?;
    put_name(name, alias, &view.name)?;
    Some(view)
}

/// Puts the table expression of a relation in the place of its name. In its own text that is the engine's.
fn put_relation(table: &mut TableFactor, snapshot: &Snapshot) -> Option<(&'static str, &'static str)> {
    let TableFactor::Table { name, alias, args: None, .. } = table else { return None };
    let parts = parts(name)?;
    let meant = parts.strip_prefix(&[CATALOG.to_owned()]).unwrap_or(&parts).join(".");
    let relation = RELATIONS.into_iter().find(|(known, _)| *known == meant)?;
    let is_own = name.0.last()?.as_ident()?.span.start.line >= below_all(snapshot);
    if is_own {
        return None;
    }
    put_name(name, alias, relation.0)?;
    Some(relation)
}

/// Puts the name of a table expression in the place of another, by which the statement names its columns.
fn put_name(name: &mut ObjectName, alias: &mut Option<TableAlias>, expression: &str) -> Option<()> {
    let written = name.0.last()?.as_ident()?.clone();
    *name = Ident { span: written.span, ..own_name(expression) }.into();
    alias.get_or_insert(TableAlias { explicit: true, name: written, columns: Vec::new(), at: None });
    Some(())
}

/// Lines below the texts of all views.
fn below_all(snapshot: &Snapshot) -> u64 {
    APART * (snapshot.views().len() as u64 + 1)
}

/// The name of the table expression of a view, which nothing else has by chance.
fn own_name(view: &str) -> Ident {
    Ident::with_quote('"', format!("view {view}"))
}

fn table(view: &str, query: Box<Query>) -> Cte {
    let alias = TableAlias { explicit: false, name: own_name(view), columns: Vec::new(), at: None };
    Cte { alias, query, from: None, materialized: None, closing_paren_token: AttachedToken::empty() }
}

/// An error by its place: where that is in the text of a view, it says in which.
pub(crate) fn explain(error: SqlError, snapshot: &Snapshot) -> SqlError {
    let Some((line, column)) = error.position().filter(|(line, _)| *line >= APART) else { return error };
    let place = usize::try_from(line / APART - 1).ok();
    match place.and_then(|place| snapshot.views().get(place)) {
        Some(view) => inside(error, &view.name, Some((line % APART, column))),
        None => error,
    }
}

/// An error in the text of a view.
fn inside(error: SqlError, view: &str, place: Option<(u64, u64)>) -> SqlError {
    let place = place
        .map_or_else(String::new, |(line, column)| format!(" (line {line}, column {column} of its text)"));
    let message = error.message().to_owned();
    let missing = message.strip_prefix("there is no table `").and_then(|rest| rest.strip_suffix('`'));
    let hint = missing
        .map(|table| format!("make `{table}` again, or save `{view}` with a statement that does without it"));
    error.worded(format!("the view `{view}` cannot be read: {message}{place}")).nowhere().maybe_hint(hint)
}

/// Whether a text can be saved as a view: one query without parameters.
///
/// # Errors
/// Any other text.
pub fn check(text: &str) -> Result<(), SqlError> {
    let mut statement = dialect::parse(text)?;
    if let Some(name) = parameters::names(&mut statement)?.first() {
        return Err(SqlError::invalid(format!("a view has no parameters, and this statement has ${name}")));
    }
    match inner(&mut statement) {
        Some(Sql::Query(_)) => Ok(()),
        _ => Err(SqlError::invalid("a view is a query: SELECT, FROM or WITH".to_owned())),
    }
}
