//! `* EXCLUDE (..)` and `* REPLACE (..)` of columns of the tables that `USING` joins, `*` of an only `NATURAL` join, and all
//! columns of `NATURAL RIGHT JOIN` and `NATURAL FULL JOIN`: which table has each is asked of the engine, by a plan of
//! the query's `FROM` alone.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, Statement as Sql,
    VisitorMut, WildcardAdditionalOptions, With,
};

use super::joined::{By, Joined, Side, constraint, quoted, table};
use super::keys::Merged;
use super::merge_names;
use super::put::Written;
use super::wildcard::{Options, all, named, of_table};
use crate::dialect::columns::of_from;
use crate::dialect::planned;
use crate::error::SqlError;
use crate::expanded::name;
use crate::parameters::inner;
use crate::walk::VisitMut;

/// Most queries of a statement that are planned for their columns.
const MOST: usize = 50;

/// Puts the columns of each table in the place of such `*`.
pub(super) async fn expand(
    state: &SessionState,
    statement: &mut Statement,
    translate: &(dyn Fn(DataFusionError) -> SqlError + Sync),
) -> Result<(), SqlError> {
    let (mut columns, mut left, mut probes) = (None, 0, 0);
    loop {
        let Some(sql) = inner(statement) else { return Ok(()) };
        let mut known = Known { columns: columns.take(), left, scopes: Vec::new() };
        let mut probe = match sql.visit(&mut known) {
            ControlFlow::Continue(()) => return Ok(()),
            ControlFlow::Break(Stop::Again) => continue,
            ControlFlow::Break(Stop::Wrong(error)) => return Err(*error),
            ControlFlow::Break(Stop::Probe(probe)) => *probe,
        };
        probes += 1;
        if probes > MOST {
            let why = format!(
                "the statement has more than {MOST} * EXCLUDE or REPLACE over joins by USING, or NATURAL joins"
            );
            return Err(SqlError::refused(why).hint("write the columns that are meant"));
        }
        merge_names(&mut probe)?;
        match planned(state, probe, translate).await {
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
    match inner(statement) {
        Some(Sql::Query(query)) => query.with.as_ref().is_some_and(|with| with.recursive),
        _ => false,
    }
}

enum Stop {
    /// A query is done; those behind it may name it.
    Again,
    /// A query whose columns are to be known.
    Probe(Box<Statement>),
    Wrong(Box<SqlError>),
}

/// Table expressions of a query, and how many of the queries in it were entered: its table expressions first.
struct Scope {
    recursive: bool,
    tables: Vec<Cte>,
    entered: usize,
}

struct Known {
    /// Table and name of the columns of the first query that has such a `*`.
    columns: Option<Vec<(String, String)>>,
    /// Queries that are left as they are.
    left: usize,
    scopes: Vec<Scope>,
}

impl Known {
    fn body(&mut self, body: &mut SetExpr) -> Result<(), Stop> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            _ => Ok(()),
        }
    }

    fn select(&mut self, select: &mut Select) -> Result<(), Stop> {
        if let Some(tables) = natural(select) {
            return self.natural(select, &tables);
        }
        if !select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
            return Ok(());
        }
        let Some(merged) = Merged::of(select).filter(Merged::is_whole) else { return Ok(()) };
        let asks = |item: &SelectItem| asked(item, &merged).is_some();
        if !select.projection.iter().any(asks) {
            return Ok(());
        }
        if self.left > 0 {
            self.left -= 1;
            return Ok(());
        }
        let Some(columns) = self.columns.take() else {
            return Err(Stop::Probe(Box::new(self.probe(select, &merged.tables))));
        };
        let wrong = |error: SqlError| Stop::Wrong(Box::new(error));
        let (named, mut written) = (named(&select.projection), Written::default());
        for item in std::mem::take(&mut select.projection) {
            let Some((options, names)) = asked(&item, &merged) else {
                select.projection.push(item);
                continue;
            };
            let unknown = |column: &&String| !columns.iter().any(|(_, known)| known == *column);
            if let Some(unknown) = names.iter().find(unknown) {
                return Err(wrong(SqlError::unknown(format!("there is no column `{unknown}`"))));
            }
            let made = all(&merged, &options, &columns, &named, &mut written).map_err(wrong)?;
            select.projection.extend(made);
        }
        Err(Stop::Again)
    }

    /// Writes a `NATURAL` join by `USING`.
    fn natural(&mut self, select: &mut Select, tables: &[ObjectName; 2]) -> Result<(), Stop> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(());
        }
        let Some(columns) = self.columns.take() else {
            let mut crossed = select.clone();
            for join in crossed.from.iter_mut().flat_map(|from| &mut from.joins) {
                join.join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
            }
            return Err(Stop::Probe(Box::new(self.probe(&crossed, tables))));
        };
        let [left, right] = tables.each_ref().map(|table| {
            let own = table.0.last().and_then(|part| part.as_ident()).map(name).unwrap_or_default();
            let own = columns.iter().filter(move |(table, _)| *table == own);
            own.map(|(_, column)| column.as_str()).collect::<Vec<&str>>()
        });
        let both = left.into_iter().filter(|column| right.contains(column));
        let both: Vec<ObjectName> = both.map(|column| ObjectName::from(vec![quoted(column)])).collect();
        if both.is_empty() {
            let why = "the tables of NATURAL JOIN have no column in common".to_owned();
            return Err(Stop::Wrong(Box::new(SqlError::invalid(why).hint("write ON or USING"))));
        }
        let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
        if let Some(on) = joins.map(|join| &mut join.join_operator).find_map(constraint) {
            *on = JoinConstraint::Using(both);
        }
        Err(Stop::Again)
    }

    /// A query for all columns of the tables of another.
    fn probe(&self, select: &Select, tables: &[ObjectName]) -> Statement {
        let of_table = |table| of_table(table, WildcardAdditionalOptions::default());
        let all = of_from(select, tables.iter().map(of_table).collect());
        let query = Query {
            with: self.with(),
            body: Box::new(SetExpr::Select(Box::new(all))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        };
        Statement::Statement(Box::new(Sql::Query(Box::new(query))))
    }

    /// The table expressions that a query can name: those of a query around it end before the one that it is in.
    fn with(&self) -> Option<With> {
        let mut cte_tables: Vec<Cte> = Vec::new();
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            let before = if depth == 0 { scope.tables.len() } else { scope.entered.saturating_sub(1) };
            let hidden =
                |table: &Cte| cte_tables.iter().any(|own| name(&own.alias.name) == name(&table.alias.name));
            let known: Vec<Cte> =
                scope.tables.iter().take(before).filter(|table| !hidden(table)).cloned().collect();
            drop(cte_tables.splice(0..0, known));
        }
        let recursive = self.scopes.iter().any(|scope| scope.recursive);
        (!cte_tables.is_empty()).then(|| With { with_token: AttachedToken::empty(), recursive, cte_tables })
    }
}

/// The tables of an only join that is `NATURAL`, where the engine would take columns from the wrong one: its `*` has a
/// column of both in the place of the table whose name comes first in the alphabet.
fn natural(select: &Select) -> Option<[ObjectName; 2]> {
    let [from] = select.from.as_slice() else { return None };
    let [join] = from.joins.as_slice() else { return None };
    let has_all = || select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    match Joined::of(&join.join_operator) {
        Joined { side, by: By::Natural } if side > Side::Left || side != Side::Alone && has_all() => {
            let tables = [table(&from.relation)?, table(&join.relation)?];
            // Which of two tables of one name a column is of is not known.
            let [left, right] = tables.each_ref().map(|table| table.0.last().map(ToString::to_string));
            (left != right).then_some(tables)
        }
        _ => None,
    }
}

/// What a `*` has behind it, and the names of that which may be columns of any table, if there are some.
fn asked(item: &SelectItem, merged: &Merged) -> Option<(Options, Vec<String>)> {
    let SelectItem::Wildcard(options) = item else { return None };
    let options = Options::of(options)?;
    let names = options.of_tables(merged);
    (!names.is_empty()).then_some((options, names))
}

impl VisitorMut for Known {
    type Break = Stop;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Stop> {
        if let Some(around) = self.scopes.last_mut() {
            around.entered += 1;
        }
        let (recursive, tables) = match &query.with {
            Some(with) => (with.recursive, with.cte_tables.clone()),
            None => (false, Vec::new()),
        };
        self.scopes.push(Scope { recursive, tables, entered: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Stop> {
        let done = self.body(&mut query.body);
        self.scopes.pop();
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => ControlFlow::Break(stop),
        }
    }
}
