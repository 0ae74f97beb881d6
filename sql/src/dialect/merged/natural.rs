//! `NATURAL` joins, whose columns the engine would take from the wrong table, or find in several: alone, in
//! chains and with `USING`; and chains of `USING` whose text does not say which table on the left has a
//! column.
//!
//! Invariants
//! - the columns of all tables of the `FROM` are known, and no two of its tables have one name
//! - a join compares each column of its table with the only one of that name on its left, which several
//!   tables have if joins before it compare them

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, ObjectName, OrderBy, Select, SelectItem,
    TableWithJoins,
};

use super::put::Written;
use super::wildcard::{Options, unknown};
use super::{Selects, of_using};
use crate::dialect::exprs::binary;
use crate::dialect::using::{
    JoinColumns, MergedColumn, Side, TableJoin, UsingJoins, column, constraint, quoted, table,
};
use crate::error::SqlError;
use crate::expanded::last_name;
use crate::translate::no_column;

/// The tables of a FROM with such joins: the engine's `*` has a column of several tables in the place of the
/// one whose name comes first in the alphabet, and of `RIGHT` and `FULL` joins the value of the table on the
/// left; in `WHERE` it does not know a column of `NATURAL` joins for one.
pub(super) fn tables(select: &Select) -> Option<Vec<ObjectName>> {
    let [from] = select.from.as_slice() else { return None };
    let is_all =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(options) if Options::of(options).is_some());
    let has_all = select.projection.iter().any(is_all);
    let is_open = UsingJoins::of(select).is_some_and(|merged| !merged.is_whole());
    let (mut tables, mut is_meant) = (vec![table(&from.relation)?], false);
    for join in &from.joins {
        let TableJoin { side, by } = TableJoin::of(&join.join_operator);
        let is_taken = side > Side::Left || side != Side::Alone && has_all;
        match by {
            JoinColumns::Natural => is_meant |= side != Side::Alone,
            JoinColumns::Names(_) => is_meant |= is_taken && is_open,
            JoinColumns::Condition
                if matches!(join.join_operator, JoinOperator::CrossJoin(JoinConstraint::None)) => {}
            JoinColumns::Condition | JoinColumns::Other => return None,
        }
        tables.push(table(&join.relation)?);
    }
    let mut names = HashSet::new();
    let is_clear =
        |table: &ObjectName| table.0.iter().all(|part| part.as_ident().is_some()) && names.insert(own(table));
    (is_meant && tables.iter().all(is_clear)).then_some(tables)
}

/// Writes the joins with the columns that they compare, and puts the values of these in the place of their
/// names.
pub(super) fn put(
    select: &mut Select,
    order: Option<&mut OrderBy>,
    mut columns: Vec<(String, String)>,
    selects: &mut Selects,
) -> Result<(), SqlError> {
    let Some(from) = select.from.first_mut() else { return Ok(()) };
    let merged = join(from, &columns, &mut selects.written)?;
    let tables: HashSet<String> = merged.tables.iter().map(own).collect();
    columns.retain(|(table, _)| tables.contains(table));
    for item in &select.projection {
        if let SelectItem::Wildcard(options) = item
            && let Some(options) = Options::of(options)
            && let Some(error) = unknown(&options.of_tables(&merged), &columns)
        {
            return Err(error);
        }
    }
    if let Some(order) = order {
        selects.order_by(order, select, &merged)?;
    }
    selects.put(select, &merged, &columns)
}

fn join(
    from: &mut TableWithJoins,
    columns: &[(String, String)],
    written: &mut Written,
) -> Result<UsingJoins, SqlError> {
    let mut chain = Chain::of(table(&from.relation), columns);
    for join in &mut from.joins {
        let TableJoin { side, by } = TableJoin::of(&join.join_operator);
        let right = table(&join.relation).ok_or_else(|| SqlError::internal("a table has no name"))?;
        let names = match by {
            JoinColumns::Names(names) => names,
            JoinColumns::Natural => chain.common(&right)?,
            JoinColumns::Condition | JoinColumns::Other => Vec::new(),
        };
        let compared = chain.compare(&names, side, right, written)?;
        if let (Some(compared), Some(constraint)) = (compared, constraint(&mut join.join_operator)) {
            *constraint = compared;
        }
    }
    Ok(chain.merged())
}

/// The last part of the name of a table.
fn own(table: &ObjectName) -> String {
    last_name(table).unwrap_or_default()
}

/// The tables on the left of a join, and what they are joined by.
struct Chain<'a> {
    /// Names of tables and of their columns, in their order.
    columns: &'a [(String, String)],
    of: HashMap<&'a str, HashSet<&'a str>>,
    tables: Vec<ObjectName>,
    names: HashSet<String>,
    keys: Vec<MergedColumn>,
    side: Side,
}

impl<'a> Chain<'a> {
    fn of(first: Option<ObjectName>, columns: &'a [(String, String)]) -> Self {
        let mut of: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (table, column) in columns {
            of.entry(table).or_default().insert(column);
        }
        let tables: Vec<ObjectName> = first.into_iter().collect();
        let names = tables.iter().map(own).collect();
        Self { columns, of, tables, names, keys: Vec::new(), side: Side::Any }
    }

    fn has(&self, table: &ObjectName, column: &str) -> bool {
        self.of.get(own(table).as_str()).is_some_and(|columns| columns.contains(column))
    }

    /// Columns that a table has in common with those before it.
    fn common(&self, right: &ObjectName) -> Result<Vec<String>, SqlError> {
        let mut seen = HashSet::new();
        let both = self.columns.iter().filter(|pair| {
            let (table, column) = *pair;
            self.names.contains(table) && self.has(right, column) && seen.insert(column)
        });
        let both: Vec<String> = both.map(|(_, column)| column.clone()).collect();
        if both.is_empty() {
            let why = "the tables of NATURAL JOIN have no column in common".to_owned();
            return Err(SqlError::invalid(why).hint("write ON or USING"));
        }
        Ok(both)
    }

    /// Adds a table that is joined by columns of these names; gives the condition that they mean.
    fn compare(
        &mut self,
        names: &[String],
        side: Side,
        right: ObjectName,
        written: &mut Written,
    ) -> Result<Option<JoinConstraint>, SqlError> {
        let (place, known) = (self.tables.len(), self.keys.len());
        let mut on: Option<Expr> = None;
        for name in names {
            let other = column(&right, name).filter(|_| self.has(&right, name));
            let other = other.ok_or_else(|| missing(name, self.columns))?;
            let at = self.key(name)?;
            let key = self.keys.get_mut(at).ok_or_else(|| missing(name, self.columns))?;
            written.add(key.size())?;
            let equal = binary(key.value(), BinaryOperator::Eq, other.clone());
            on = Some(match on {
                Some(before) => binary(before, BinaryOperator::And, equal),
                None => equal,
            });
            key.join(side, other, place);
        }
        if side == Side::Alone {
            // What was compared stays a column of one table.
            self.keys.truncate(known);
        } else {
            self.side = self.side.max(side);
            self.names.insert(own(&right));
            self.tables.push(right);
        }
        Ok(match on {
            // Of two tables the engine knows which one is meant.
            Some(_) if place == 1 => {
                let names = names.iter().map(|name| ObjectName::from(vec![quoted(name)]));
                Some(JoinConstraint::Using(names.collect()))
            }
            on => on.map(JoinConstraint::On),
        })
    }

    /// The place of the key of this name; a new one of the only table that has such a column.
    fn key(&mut self, name: &str) -> Result<usize, SqlError> {
        let tables = self.tables.iter().enumerate();
        let having: Vec<usize> =
            tables.filter(|(_, table)| self.has(table, name)).map(|(at, _)| at).collect();
        let known = self.keys.iter().position(|key| key.name == name);
        match (known, having.as_slice()) {
            (_, []) => Err(missing(name, self.columns)),
            (Some(at), _) if self.keys.get(at).is_some_and(|key| key.tables == having) => Ok(at),
            (None, [only]) => {
                let side = self.tables.get(*only).and_then(|table| column(table, name));
                self.keys.push(MergedColumn::new(name, side.into_iter().collect(), vec![*only]));
                Ok(self.keys.len() - 1)
            }
            _ => {
                let why = format!("several tables on the left of a join have a column `{name}`");
                Err(SqlError::invalid(why).hint("write ON, with the name of one of them before the column"))
            }
        }
    }

    fn merged(mut self) -> UsingJoins {
        let mut keys = std::mem::take(&mut self.keys);
        for key in &mut keys {
            let having = self.tables.iter().filter(|table| self.has(table, &key.name));
            key.is_only = having.count() == key.tables.len();
        }
        UsingJoins::known(self.tables, keys, self.side)
    }
}

/// The error about a column of `USING` that one of its tables does not have.
fn missing(column: &str, columns: &[(String, String)]) -> SqlError {
    let others = columns.iter().map(|(_, known)| known).filter(|known| *known != column);
    of_using(no_column(column, others), column)
}
