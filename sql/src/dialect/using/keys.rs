//! The tables of a `FROM`, and the columns that its `USING` joins them by.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, ObjectName, Select, TableFactor, TableWithJoins,
};

use super::joined::{JoinColumns, Side, TableJoin, column, constraint, table};
use super::key::MergedColumn;
use crate::dialect::exprs::binary;
use crate::error::SqlError;

/// What a join by `USING` compares, where not all tables on its left are one.
struct JoinCondition {
    on: Expr,
    keys: Vec<usize>,
}

/// What the `USING` of a query joins.
#[derive(Default)]
pub(in crate::dialect) struct UsingJoins {
    pub(in crate::dialect) tables: Vec<ObjectName>,
    pub(in crate::dialect) keys: Vec<MergedColumn>,
    side: Side,
    /// Whether there is a table without a name, or a join of other columns than those of its tables.
    has_others: bool,
    /// Whether a table that has a column of `USING` is not known by the text.
    is_open: bool,
    /// Of each join.
    conditions: Vec<Option<JoinCondition>>,
    /// Why the engine would join by another value.
    wrong: Option<SqlError>,
}

impl UsingJoins {
    /// None of a query that joins nothing by columns of one name.
    pub(in crate::dialect) fn of(select: &Select) -> Option<Self> {
        let mut merged = Self::default();
        for from in &select.from {
            merged.chain(from, merged.tables.len(), merged.keys.len());
        }
        (!merged.keys.is_empty() || merged.side > Side::Any || merged.wrong.is_some()).then_some(merged)
    }

    /// Of tables whose columns are all known.
    pub(in crate::dialect) fn known(tables: Vec<ObjectName>, keys: Vec<MergedColumn>, side: Side) -> Self {
        Self { tables, keys, side, ..Self::default() }
    }

    /// Whether the text says which columns `*` has.
    pub(in crate::dialect) fn is_whole(&self) -> bool {
        !self.has_others && !self.is_open
    }

    /// Whether a name without a table can be nothing but this.
    pub(in crate::dialect) fn is_settled(&self, key: &MergedColumn) -> bool {
        !self.has_others && (key.is_only || key.tables.len() == self.tables.len())
    }

    /// Whether a table may have a key.
    pub(in crate::dialect) fn is_of(&self, key: &MergedColumn, table: &ObjectName) -> bool {
        let mut tables = key.tables.iter().filter_map(|at| self.tables.get(*at));
        !key.is_known() || tables.any(|own| own.to_string().eq_ignore_ascii_case(&table.to_string()))
    }

    /// Whether the engine's `*` may have the value of the wrong table.
    pub(in crate::dialect) fn is_outer(&self) -> bool {
        self.side >= Side::Left
    }

    /// Adds tables that are joined, the first of which has this place, and the first key of which this one.
    fn chain(&mut self, from: &TableWithJoins, first: usize, first_key: usize) {
        match &from.relation {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.chain(table_with_joins, first, first_key);
            }
            relation => self.add(relation),
        }
        for join in &from.joins {
            let TableJoin { side, by } = TableJoin::of(&join.join_operator);
            let condition = match by {
                JoinColumns::Names(names) => self.using(&join.relation, side, &names, (first, first_key)),
                JoinColumns::Natural => {
                    self.natural(side);
                    None
                }
                JoinColumns::Condition => None,
                JoinColumns::Other => {
                    self.has_others = true;
                    None
                }
            };
            self.conditions.push(condition);
            if side != Side::Alone {
                self.add(&join.relation);
            }
        }
    }

    fn natural(&mut self, side: Side) {
        self.has_others = true;
        if side != Side::Alone {
            self.side = self.side.max(side);
        }
        if side > Side::Left {
            let why = "NATURAL RIGHT JOIN and NATURAL FULL JOIN cannot be combined with joins with ON";
            self.wrong = Some(SqlError::invalid(why.to_owned()).hint("write RIGHT JOIN b USING (k)"));
        }
    }

    fn add(&mut self, relation: &TableFactor) {
        if let Some(table) = table(relation) {
            self.tables.push(table);
            return;
        }
        self.has_others = true;
        if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
            let mut inside = Self::default();
            inside.chain(table_with_joins, 0, 0);
            self.side = self.side.max(inside.side);
            let moved = |at: &usize| inside.keys.get(*at).filter(|key| key.is_moved());
            let mut further = inside.conditions.iter().flatten().flat_map(|condition| &condition.keys);
            let wrong = inside.wrong.take().or_else(|| further.find_map(moved).map(MergedColumn::refused));
            self.wrong = self.wrong.take().or(wrong);
            inside.keys.iter_mut().for_each(|key| key.forget(Side::Any));
            self.keys.append(&mut inside.keys);
        }
    }

    /// Adds the keys of a join; its condition where several tables are on its left.
    fn using(
        &mut self,
        relation: &TableFactor,
        side: Side,
        names: &[String],
        (first, first_key): (usize, usize),
    ) -> Option<JoinCondition> {
        let (right, place) = (table(relation), self.tables.len());
        let only = self.tables.last().filter(|_| !self.has_others && place == first + 1).cloned();
        if side != Side::Alone {
            self.side = self.side.max(side);
        }
        let (mut on, mut keys, mut moved, mut known): (Option<Expr>, _, _, _) =
            (None, Vec::new(), None, true);
        for name in names {
            let at = self.keys.iter().skip(first_key).position(|key| key.name == *name);
            let at = match at {
                Some(at) => first_key + at,
                None if side == Side::Alone => {
                    known = false;
                    continue;
                }
                None => {
                    let sides: Vec<Expr> = only.iter().filter_map(|table| column(table, name)).collect();
                    let tables = sides.iter().map(|_| first).collect();
                    self.keys.push(MergedColumn::new(name, sides, tables));
                    self.keys.len() - 1
                }
            };
            let key = self.keys.get_mut(at)?;
            if key.is_moved() {
                moved = Some(key.refused());
            }
            match right.as_ref().and_then(|table| column(table, name)) {
                Some(other) if key.is_known() => {
                    let equal = binary(key.value(), BinaryOperator::Eq, other.clone());
                    on = Some(match on {
                        Some(before) => binary(before, BinaryOperator::And, equal),
                        None => equal,
                    });
                    keys.push(at);
                    key.join(side, other, place);
                }
                _ => {
                    known = false;
                    if side != Side::Alone {
                        key.forget(side);
                        self.is_open = true;
                    }
                }
            }
        }
        if !known {
            self.wrong = self.wrong.take().or(moved);
            return None;
        }
        on.filter(|_| place > first + 1).map(|on| JoinCondition { on, keys })
    }

    /// Gives joins behind the first the condition that they mean; returns how many expressions it has.
    pub(in crate::dialect) fn join(&self, select: &mut Select) -> Result<usize, SqlError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let (mut conditions, mut size) = (self.conditions.iter(), 0usize);
        for from in &mut select.from {
            size = size.saturating_add(self.join_chain(from, &mut conditions));
        }
        Ok(size)
    }

    fn join_chain(
        &self,
        from: &mut TableWithJoins,
        conditions: &mut std::slice::Iter<'_, Option<JoinCondition>>,
    ) -> usize {
        let mut size = 0;
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = &mut from.relation {
            size += self.join_chain(table_with_joins, conditions);
        }
        for join in &mut from.joins {
            let Some(condition) = conditions.next().and_then(Option::as_ref) else { continue };
            let keys: Vec<&MergedColumn> =
                condition.keys.iter().filter_map(|at| self.keys.get(*at)).collect();
            let settled = self.is_whole() && keys.iter().all(|key| self.is_settled(key));
            if let Some(constraint) = constraint(&mut join.join_operator)
                && (settled || keys.iter().any(|key| key.is_moved()))
            {
                size += keys.iter().map(|key| key.size()).sum::<usize>();
                *constraint = JoinConstraint::On(condition.on.clone());
            }
        }
        size
    }
}

/// Whether tables of a query are joined by columns of one name.
pub(in crate::dialect) fn joins_by_names(select: &Select) -> bool {
    UsingJoins::of(select).is_some()
}
