//! Views of a store in a statement: the text of each that it names becomes a table expression of it.
//!
//! Invariants
//! - what a view reads is limited like the statement's own text, since it is part of it by then
//! - a view may name views; one that names itself, in whatever way, is refused

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, Statement as Sql, TableAlias, Visit, Visitor, With, visit_relations,
};
use gstore_store::{Snapshot, View};

use super::error::{SqlError, SqlErrorKind};
use super::guard;
use super::parameters::{self, inner};

/// Puts in the views that a statement names.
pub(crate) fn expand(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), SqlError> {
    if snapshot.views().is_empty() {
        return Ok(());
    }
    described(statement, snapshot)?;
    let Some(sql) = inner(statement) else { return Ok(()) };
    let mut found = Found { snapshot, done: HashSet::new(), open: Vec::new(), tables: Vec::new() };
    found.of(sql)?;
    if found.tables.is_empty() {
        return Ok(());
    }
    let tables = found.tables;
    let Some(query) = query_of(sql) else { return Ok(()) };
    match &mut query.with {
        Some(with) => drop(with.cte_tables.splice(0..0, tables)),
        None => {
            let with = With { with_token: AttachedToken::empty(), recursive: false, cte_tables: tables };
            query.with = Some(with);
        }
    }
    guard::check_relations(sql)
}

/// `DESCRIBE view` as `DESCRIBE SELECT * FROM view`.
fn described(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), SqlError> {
    let Statement::Statement(sql) = &*statement else { return Ok(()) };
    let Sql::ExplainTable { table_name, .. } = &**sql else { return Ok(()) };
    if let Some(view) = named(table_name, snapshot) {
        *statement = guard::parse(&format!("DESCRIBE SELECT * FROM {}", view.name))?;
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

/// The view that a name means; a dataset of the name goes first.
fn named<'a>(name: &ObjectName, snapshot: &'a Snapshot) -> Option<&'a View> {
    let [only] = name.0.as_slice() else { return None };
    let ident = only.as_ident()?;
    let name = match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    if snapshot.datasets().iter().any(|dataset| dataset.name == name) {
        return None;
    }
    snapshot.views().iter().find(|view| view.name == name)
}

/// The views that a statement needs, those that others need first.
struct Found<'a> {
    snapshot: &'a Snapshot,
    done: HashSet<&'a str>,
    /// Views whose own are being looked for.
    open: Vec<&'a str>,
    tables: Vec<Cte>,
}

impl Found<'_> {
    fn of(&mut self, sql: &Sql) -> Result<(), SqlError> {
        let mut own = OwnNames::default();
        let _ = sql.visit(&mut own);
        let mut views = Vec::new();
        let _ = visit_relations(sql, |name| {
            views.extend(named(name, self.snapshot).filter(|view| !own.0.contains(&view.name)));
            ControlFlow::<()>::Continue(())
        });
        views.into_iter().try_for_each(|view| self.add(&view.name, &view.sql))
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), SqlError> {
        // By the snapshot's own text, which lives as long as this does.
        let Ok(view) = self.snapshot.view(name) else { return Ok(()) };
        if self.done.contains(name) {
            return Ok(());
        }
        if self.open.contains(&name) {
            return Err(SqlError::invalid(format!("the view `{name}` names itself")));
        }
        let mut statement = guard::parse(text).map_err(|error| of_view(name, &error))?;
        let Some(sql) = inner(&mut statement) else { return Ok(()) };
        self.open.push(&view.name);
        self.of(sql)?;
        self.open.pop();
        self.done.insert(&view.name);
        if let Sql::Query(query) = sql {
            let query = std::mem::replace(query, empty()?);
            self.tables.push(table(name, query));
        }
        Ok(())
    }
}

/// A query to stand where one was taken out.
fn empty() -> Result<Box<Query>, SqlError> {
    match inner(&mut guard::parse("SELECT 1")?) {
        Some(Sql::Query(query)) => Ok(query.clone()),
        _ => Err(SqlError::internal("a query is none")),
    }
}

fn table(name: &str, query: Box<Query>) -> Cte {
    let alias =
        TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: Vec::new(), at: None };
    Cte { alias, query, from: None, materialized: None, closing_paren_token: AttachedToken::empty() }
}

fn of_view(name: &str, error: &SqlError) -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, format!("the view `{name}` cannot be read: {error}"))
}

/// Names that a statement gives to table expressions of its own.
#[derive(Default)]
struct OwnNames(HashSet<String>);

impl Visitor for OwnNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(tables.map(|table| table.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

/// Refuses text that cannot be a view: it is one query without parameters.
pub(crate) fn check(text: &str) -> Result<(), SqlError> {
    let mut statement = guard::parse(text)?;
    if let Some(name) = parameters::names(&mut statement)?.first() {
        return Err(SqlError::invalid(format!("a view has no parameters, and this statement has ${name}")));
    }
    match inner(&mut statement) {
        Some(Sql::Query(_)) => Ok(()),
        _ => Err(SqlError::invalid("a view is a query: SELECT, FROM or WITH".to_owned())),
    }
}
