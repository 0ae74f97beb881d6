//! The columns of `USING` as the SQL standard has them: one for all tables of the join, which is written
//! without a table.
//!
//! Invariants
//! - such a column has a value wherever one of the joined rows has: of `RIGHT JOIN` it is that of the table on
//!   the right, of `FULL JOIN` the first that is there
//! - a name is left to the engine unless each table of its `FROM` has it by `USING`: it might be a column of
//!   another

mod joined;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, JoinConstraint, ObjectName, OrderByKind, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use self::joined::{Joined, Side, column, constraint, quoted, table};
use super::calls::call;
use crate::expanded::name;
use crate::parameters::inner;

/// Puts columns of tables in the place of those of `USING`.
pub(crate) fn merge(statement: &mut Statement) {
    if let Some(sql) = inner(statement) {
        let _ = sql.visit(&mut Selects);
    }
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Query { body, order_by: Some(order), .. } = query else { return ControlFlow::Continue(()) };
        let (SetExpr::Select(select), OrderByKind::Expressions(by)) = (&**body, &mut order.kind) else {
            return ControlFlow::Continue(());
        };
        if let Some(merged) = Merged::of(select) {
            // A column of the result goes first.
            let outputs: Option<Vec<String>> = select.projection.iter().map(output).collect();
            let Some(outputs) = outputs else { return ControlFlow::Continue(()) };
            let but = |key: &&Key| !outputs.contains(&key.name);
            let keys: Vec<&Key> = merged.keys.iter().filter(but).collect();
            by.iter_mut().for_each(|by| put(&mut by.expr, &keys));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(merged) = Merged::of(select) {
            merged.resolve(select);
        }
        ControlFlow::Continue(())
    }
}

/// The name of an item of the result; empty where it has none of its own, none if it may stand for several.
fn output(item: &SelectItem) -> Option<String> {
    Some(match item {
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => name(column),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map_or(String::new(), name),
        SelectItem::ExprWithAlias { alias, .. } => name(alias),
        SelectItem::UnnamedExpr(_) => String::new(),
        _ => return None,
    })
}

/// A column of all tables of a join.
struct Key {
    name: String,
    value: Expr,
}

/// Whether `*` has more behind it.
fn has_options(options: &WildcardAdditionalOptions) -> bool {
    *options != WildcardAdditionalOptions::default()
}

/// What the `USING` of a query joins.
struct Merged {
    tables: Vec<ObjectName>,
    keys: Vec<Key>,
    side: Side,
    /// Whether these are all columns of `USING`.
    whole: bool,
    /// The conditions of the joins behind the first, where the engine would not find the column on the left.
    conditions: Vec<Expr>,
}

impl Merged {
    fn of(select: &Select) -> Option<Self> {
        let [TableWithJoins { relation, joins }] = select.from.as_slice() else { return None };
        let joins: Vec<Joined> = joins.iter().map(Joined::of).collect::<Option<_>>()?;
        let first = table(relation)?;
        let mut names = joins.iter().find(|join| join.side != Side::Alone)?.names.clone();
        names.retain(|name| joins.iter().all(|join| join.names.contains(name)));
        let whole = joins.iter().all(|join| join.names.len() == names.len());
        let side = joins.iter().map(|join| join.side).max()?;
        let several = joins.len() > 1;
        let mut items = select.projection.iter();
        let options = items.any(|item| matches!(item, SelectItem::Wildcard(options) if has_options(options)));
        if several && side > Side::Left && (!whole || options) {
            return None;
        }
        let mut keys: Vec<Key> = Vec::new();
        for name in names {
            keys.push(Key { value: column(&first, &name)?, name });
        }
        let (mut tables, mut conditions) = (vec![first], Vec::new());
        for join in joins {
            let mut compared: Option<Expr> = None;
            for key in &mut keys {
                let other = column(&join.table, &key.name)?;
                let equal = binary(key.value.clone(), BinaryOperator::Eq, other.clone());
                compared = Some(match compared {
                    Some(before) => binary(before, BinaryOperator::And, equal),
                    None => equal,
                });
                match join.side {
                    Side::Any | Side::Alone | Side::Left => {}
                    Side::Right => key.value = other,
                    Side::Either => key.value = call("coalesce", vec![key.value.clone(), other]),
                }
            }
            conditions.extend(compared);
            if join.side != Side::Alone {
                tables.push(join.table);
            }
        }
        if !(several && whole) || options {
            conditions.clear();
        }
        Some(Self { tables, keys, side, whole, conditions })
    }

    fn resolve(&self, select: &mut Select) {
        let keys: Vec<&Key> = self.keys.iter().collect();
        let named = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(name(alias)),
            _ => None,
        };
        let aliases: Vec<String> = select.projection.iter().filter_map(named).collect();
        let unnamed: Vec<&Key> = self.keys.iter().filter(|key| !aliases.contains(&key.name)).collect();
        for item in std::mem::take(&mut select.projection) {
            self.item(item, &keys, &mut select.projection);
        }
        let conditions = select.selection.iter_mut().map(|condition| (condition, &keys));
        let named =
            select.having.iter_mut().chain(&mut select.qualify).map(|condition| (condition, &unnamed));
        conditions.chain(named).for_each(|(condition, keys)| put(condition, keys));
        put(&mut select.group_by, &keys);
        put(&mut select.distinct, &keys);
        put(&mut select.named_window, &keys);
        let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
        for (join, condition) in joins.zip(&self.conditions).skip(1) {
            if let Some(constraint) = constraint(&mut join.join_operator) {
                *constraint = JoinConstraint::On(condition.clone());
            }
        }
    }

    /// An item of the result.
    fn item(&self, item: SelectItem, keys: &[&Key], made: &mut Vec<SelectItem>) {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(column)) => {
                let key = keys.iter().find(|key| key.name == name(&column));
                made.push(match key {
                    None => SelectItem::UnnamedExpr(Expr::Identifier(column)),
                    Some(key) => result(key.value.clone(), column),
                });
            }
            SelectItem::Wildcard(options) if self.whole => self.all(options, made),
            mut item => {
                put(&mut item, keys);
                made.push(item);
            }
        }
    }

    /// `*`: the columns of all tables, and each key once.
    fn all(&self, mut options: WildcardAdditionalOptions, made: &mut Vec<SelectItem>) {
        if has_options(&options) {
            // The engine has the key of the table whose name is the first by the alphabet.
            if self.side > Side::Alone {
                let replaced =
                    options.opt_replace.get_or_insert_with(|| ReplaceSelectItem { items: Vec::new() });
                let given: Vec<String> = replaced.items.iter().map(|item| name(&item.column_name)).collect();
                let keys = self.keys.iter().filter(|key| !given.contains(&key.name));
                replaced.items.extend(keys.map(|key| {
                    let (expr, column_name) = (key.value.clone(), quoted(&key.name));
                    Box::new(ReplaceSelectElement { expr, column_name, as_keyword: true })
                }));
            }
            made.push(SelectItem::Wildcard(options));
            return;
        }
        let is_of_first = self.side <= Side::Left;
        if !is_of_first {
            made.extend(self.keys.iter().map(|key| result(key.value.clone(), quoted(&key.name))));
        }
        for (place, table) in self.tables.iter().enumerate() {
            let of = SelectItemQualifiedWildcardKind::ObjectName(table.clone());
            let mut options = WildcardAdditionalOptions::default();
            if place > 0 || !is_of_first {
                let keys = self.keys.iter().map(|key| ObjectName::from(vec![quoted(&key.name)]));
                options.opt_exclude = Some(ExcludeSelectItem::Multiple(keys.collect()));
            }
            made.push(SelectItem::QualifiedWildcard(of, options));
        }
    }
}

/// An item of the result under the name of a column.
fn result(value: Expr, column: Ident) -> SelectItem {
    match value {
        Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(value),
        expr => SelectItem::ExprWithAlias { expr, alias: column },
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Puts the values of keys in the place of their names, but for those in subqueries: there a name may be a
/// column of another table.
fn put(part: &mut impl VisitMut, keys: &[&Key]) {
    let _ = part.visit(&mut Put { keys, depth: 0 });
}

struct Put<'a> {
    keys: &'a [&'a Key],
    depth: usize,
}

impl VisitorMut for Put<'_> {
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
        if self.depth == 0
            && let Expr::Identifier(column) = expr
            && let Some(key) = self.keys.iter().find(|key| key.name == name(column))
        {
            *expr = key.value.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
