//! Limits on the expansion of WITH and of views: the size of a statement once they stand wherever they are
//! named.
//!
//! The engine plans a table expression of WITH, and so a view, once for each time that it is named: twenty
//! that name the one before twice make a million of the first. All sizes here are those after that, by
//! arithmetic that stops at the largest number.
//!
//! Invariants
//! - nothing is planned of a statement that is larger than the limits
//! - a statement that names each of its table expressions once is limited by its text alone

use std::collections::{HashMap, HashSet};
use std::iter;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement as Sql, TableAlias, TableFactor, TableWithJoins, Value,
    Visitor, WildcardAdditionalOptions,
};

use super::error::SqlError;
use crate::names::is_aggregate;
use crate::walk::{Visit, break_on_error, error_of, visit_own_expressions};

/// Most tables of a statement whose table expressions stand wherever they are named.
const MAX_TABLES: usize = 300;
/// Most expressions that it has more than its text, because a table expression is named more than once.
pub(super) const MAX_EXPRESSIONS: usize = 50_000;
/// Most columns of one SELECT that are not plain columns of its tables.
const MAX_COMPUTED: usize = 2000;
/// Most sets of columns that one GROUP BY groups by.
const MAX_SETS: usize = 1024;
/// Most columns of a GROUP BY that has such sets: the engine numbers a set by 64 bits, one for each column and
/// the others for how often the set came before, which takes at most ten.
const MAX_SET_COLUMNS: usize = 54;

/// Refuses a statement that is short and would be planned as a long one; says how many expressions are
/// planned.
pub(super) fn check(sql: &Sql) -> Result<usize, SqlError> {
    let mut sizes = ExpandedSizes::default();
    error_of(sql.visit(&mut sizes))?;
    Ok(sizes.all)
}

/// What a query has, with what it names.
#[derive(Clone, Copy, Default)]
struct QuerySize {
    tables: usize,
    expressions: usize,
}

impl QuerySize {
    fn add(&mut self, other: Self) {
        self.tables = self.tables.saturating_add(other.tables);
        self.expressions = self.expressions.saturating_add(other.expressions);
    }
}

/// A query that is being walked through.
#[derive(Default)]
struct OpenQuery {
    size: QuerySize,
    /// The queries of its own table expressions, by where they are, and their names.
    own: Vec<(*const Query, String)>,
    known: HashMap<String, QuerySize>,
}

#[derive(Default)]
struct ExpandedSizes {
    open: Vec<OpenQuery>,
    /// Expressions of the text.
    written: usize,
    /// Those of the outermost query.
    all: usize,
}

impl ExpandedSizes {
    fn bearable(&self, size: QuerySize) -> Result<(), SqlError> {
        let (tables, repeated) = (size.tables, size.expressions.saturating_sub(self.written));
        let (what, number, most) = if tables > MAX_TABLES {
            ("tables", tables, MAX_TABLES)
        } else if repeated > MAX_EXPRESSIONS {
            ("repeated expressions", repeated, MAX_EXPRESSIONS)
        } else {
            return Ok(());
        };
        let number = if number == usize::MAX { "too many".to_owned() } else { number.to_string() };
        Err(SqlError::refused(format!(
            "the statement has {number} {what} where its table expressions and views stand wherever they are named, \
             more than the {most} allowed"
        )))
    }
}

/// A name as the engine reads it.
pub(super) fn name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Whether a name needs no quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The last part of a name, as the engine reads it.
pub(super) fn last_name(object: &ObjectName) -> Option<String> {
    object.0.last()?.as_ident().map(name)
}

/// The only part of a name, as the engine reads it; none of one with a schema.
pub(super) fn unqualified(object: &ObjectName) -> Option<String> {
    match object.0.as_slice() {
        [only] => only.as_ident().map(name),
        _ => None,
    }
}

/// The column that an expression is, without its table.
pub(super) fn column(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(column) => Some(column),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    }
}

pub(super) fn number_of(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::Number(number, _) => Some(number),
        _ => None,
    }
}

/// What stands behind `*`, and the table whose columns it is.
pub(super) fn star(item: &mut SelectItem) -> Option<(Option<String>, &mut WildcardAdditionalOptions)> {
    match item {
        SelectItem::Wildcard(options) => Some((None, options)),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options) => {
            Some((last_name(table), options))
        }
        _ => None,
    }
}

/// The names behind the EXCLUDE of a `*`.
pub(super) fn excluded(options: &WildcardAdditionalOptions) -> &[ObjectName] {
    match &options.opt_exclude {
        None => &[],
        Some(ExcludeSelectItem::Single(name)) => std::slice::from_ref(name),
        Some(ExcludeSelectItem::Multiple(names)) => names.as_slice(),
    }
}

/// The names behind the EXCLUDE or EXCEPT of a `*`, to be changed.
pub(super) fn excluded_mut(options: &mut WildcardAdditionalOptions) -> impl Iterator<Item = &mut Ident> {
    let excluded: &mut [ObjectName] = match &mut options.opt_exclude {
        None => &mut [],
        Some(ExcludeSelectItem::Single(name)) => std::slice::from_mut(name),
        Some(ExcludeSelectItem::Multiple(names)) => names.as_mut_slice(),
    };
    let except = options.opt_except.iter_mut();
    let except =
        except.flat_map(|all| iter::once(&mut all.first_element).chain(&mut all.additional_elements));
    excluded.iter_mut().filter_map(last_ident).chain(except)
}

/// The last part of a name, to be changed.
pub(super) fn last_ident(object: &mut ObjectName) -> Option<&mut Ident> {
    match object.0.last_mut()? {
        ObjectNamePart::Identifier(ident) => Some(ident),
        ObjectNamePart::Function(_) => None,
    }
}

pub(super) fn of_item(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Whether an expression has a call of an aggregate function that is in no subquery.
pub(super) fn has_aggregate_call(expr: &Expr) -> bool {
    visit_own_expressions(expr, is_aggregate_call)
}

/// Whether an expression is a call of an aggregate function, and not over a window.
pub(super) fn is_aggregate_call(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if function.over.is_none() && is_aggregate(&function.name.to_string().to_lowercase()))
}

pub(super) fn is_grouped(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::Expressions(groups, _) => !groups.is_empty(),
        GroupByExpr::All(_) => true,
    }
}

pub(super) fn tables(select: &Select) -> Vec<String> {
    let mut names = Vec::new();
    select.from.iter().for_each(|from| add_tables(from, &mut names));
    names
}

fn add_tables(from: &TableWithJoins, names: &mut Vec<String>) {
    for factor in iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
        match (factor, alias(factor)) {
            (_, Some(alias)) => names.push(name(&alias.name)),
            (TableFactor::NestedJoin { table_with_joins, .. }, None) => add_tables(table_with_joins, names),
            (TableFactor::Table { name, .. } | TableFactor::Function { name, .. }, None) => {
                names.extend(last_name(name));
            }
            _ => {}
        }
    }
}

/// The alias of a table of FROM, whatever it is.
pub(super) fn alias(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::JsonTable { alias, .. }
        | TableFactor::OpenJsonTable { alias, .. }
        | TableFactor::NestedJoin { alias, .. }
        | TableFactor::Pivot { alias, .. }
        | TableFactor::Unpivot { alias, .. }
        | TableFactor::MatchRecognize { alias, .. }
        | TableFactor::XmlTable { alias, .. }
        | TableFactor::SemanticView { alias, .. } => alias.as_ref(),
    }
}

impl Visitor for ExpandedSizes {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let own = tables.map(|table| (std::ptr::from_ref(&*table.query), name(&table.alias.name))).collect();
        self.open.push(OpenQuery { own, ..OpenQuery::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let Some(OpenQuery { size, .. }) = self.open.pop() else { return ControlFlow::Continue(()) };
        self.all = size.expressions;
        if let Some(outer) = self.open.last_mut() {
            match outer.own.iter().find(|(own, _)| std::ptr::eq(*own, query)) {
                Some((_, name)) => {
                    outer.known.insert(name.clone(), size);
                }
                None => outer.size.add(size),
            }
        }
        break_on_error(self.bearable(size))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        let is_computed = |item: &&SelectItem| {
            let plain = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            !matches!(item, SelectItem::UnnamedExpr(expr) if plain(expr))
        };
        let computed = select.projection.iter().filter(is_computed).count();
        if computed > MAX_COMPUTED {
            return break_on_error(Err(SqlError::refused(format!(
                "a SELECT computes {computed} columns, more than the {MAX_COMPUTED} allowed"
            ))));
        }
        let GroupByExpr::Expressions(groups, _) = &select.group_by else { return ControlFlow::Continue(()) };
        let sets = groups.iter().map(sets).fold(1, usize::saturating_mul);
        let columns = || groups.iter().flat_map(single_keys).collect::<HashSet<&Expr>>().len();
        let (what, most) = if sets > MAX_SETS {
            ("sets of columns", MAX_SETS)
        } else if groups.iter().any(has_sets) && columns() > MAX_SET_COLUMNS {
            ("columns", MAX_SET_COLUMNS)
        } else {
            return ControlFlow::Continue(());
        };
        break_on_error(Err(SqlError::refused(format!(
            "GROUP BY has more than {most} {what}, by CUBE, ROLLUP or GROUPING SETS"
        ))))
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        let known = unqualified(relation)
            .and_then(|name| self.open.iter().rev().find_map(|open| open.known.get(&name)));
        let mut size = known.copied().unwrap_or_default();
        size.add(QuerySize { tables: 1, expressions: 0 });
        if let Some(open) = self.open.last_mut() {
            open.size.add(size);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<Self::Break> {
        self.written = self.written.saturating_add(1);
        if let Some(open) = self.open.last_mut() {
            open.size.add(QuerySize { tables: 0, expressions: 1 });
        }
        ControlFlow::Continue(())
    }
}

/// The keys that a part of GROUP BY stands for.
pub(super) fn single_keys(group: &Expr) -> Vec<&Expr> {
    match group {
        Expr::Nested(inner) => single_keys(inner),
        Expr::Tuple(keys) => keys.iter().flat_map(single_keys).collect(),
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
            sets.iter().flatten().flat_map(single_keys).collect()
        }
        other => vec![other],
    }
}

fn has_sets(group: &Expr) -> bool {
    matches!(group, Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_))
}

/// Sets of columns that a part of GROUP BY makes.
fn sets(group: &Expr) -> usize {
    let power = |n: usize| u32::try_from(n).ok().and_then(|n| 1usize.checked_shl(n)).unwrap_or(usize::MAX);
    match group {
        Expr::Cube(columns) => power(columns.len()),
        Expr::Rollup(columns) => columns.len().saturating_add(1),
        Expr::GroupingSets(sets) => sets.len(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect;
    use crate::walk::inner;

    fn checked(sql: &str) -> Result<(), String> {
        let mut statement = dialect::parse(sql).unwrap();
        check(inner(&mut statement).unwrap()).map(drop).map_err(|error| error.message().to_owned())
    }

    fn doubled(steps: usize) -> String {
        let next =
            |i: usize| format!(", c{i} AS (SELECT a.x FROM c{0} a UNION ALL SELECT b.x FROM c{0} b)", i - 1);
        let steps: String = (1..=steps).map(next).collect();
        format!("WITH c0 AS (SELECT 1 AS x){steps} SELECT 1")
    }

    #[test]
    fn tables_count_wherever_they_are_named() {
        assert_eq!(checked(&doubled(7)), Ok(()));
        let many = checked(&doubled(8)).unwrap_err();
        assert!(many.starts_with("the statement has 510 tables where"), "{many}");
        assert!(checked(&doubled(49)).is_err());
        let inside = |from: &str| {
            format!("WITH c AS (SELECT * FROM t a, t b) SELECT (SELECT count(*) FROM {from}) FROM C, \"C\"")
        };
        assert_eq!(checked(&inside(&["c"; 90].join(", "))), Ok(()));
        let own = "(WITH c AS (SELECT * FROM c a, c b, c d, c e) SELECT * FROM c, c, c, c) x";
        assert_eq!(checked(&inside(own)), Ok(()));
        let own = "(WITH c AS (SELECT * FROM c a, c b, c d, c e, c f, c g, c h, c i) \
                   SELECT * FROM c, c, c, c, c, c, c, c, c, c, c, c, c, c) x";
        assert!(checked(&inside(own)).is_err());
    }

    #[test]
    fn expressions_columns_and_sets_are_limited() {
        let ids = vec!["'a'"; 60_000].join(", ");
        let once = format!("WITH c AS (SELECT * FROM t WHERE id IN ({ids})) SELECT * FROM c");
        assert_eq!(checked(&once), Ok(()));
        let twice = checked(&format!("{once}, c AS d")).unwrap_err();
        assert!(twice.contains(" repeated expressions where"), "{twice}");
        let long = format!("WITH c AS (SELECT a FROM t) SELECT * FROM c, c AS d WHERE id IN ({ids})");
        assert_eq!(checked(&long), Ok(()));
        let mut statement =
            dialect::parse("WITH c AS (SELECT a + 1 FROM t) SELECT 1 FROM c, c AS d").unwrap();
        assert_eq!(check(inner(&mut statement).unwrap()).unwrap(), 2 * 3 + 1);
        let columns = |of: &dyn Fn(usize) -> String| {
            format!("SELECT {} FROM t", (0..2001).map(of).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(checked(&columns(&|i| format!("c{i}"))), Ok(()));
        let computed = checked(&columns(&|i| format!("0 AS c{i}"))).unwrap_err();
        assert!(computed.contains("computes 2001 columns"), "{computed}");
        let cube = |n: usize| format!("SELECT 1 FROM t GROUP BY CUBE({})", vec!["a"; n].join(", "));
        assert_eq!(checked(&cube(10)), Ok(()));
        assert!(checked(&cube(11)).is_err() && checked(&cube(63)).is_err());
        assert!(checked("SELECT 1 FROM t GROUP BY CUBE(a, b, c, d, e, f), CUBE(a, b, c, d, e)").is_err());
        let tuples = |n: usize| {
            let tuples: Vec<String> = (1..n).map(|i| format!("(c{}, c{i})", i - 1)).collect();
            format!("SELECT 1 FROM t GROUP BY x, ROLLUP({})", tuples.join(", "))
        };
        assert_eq!(checked(&tuples(53)), Ok(()));
        let many = checked(&tuples(54)).unwrap_err();
        assert!(many.starts_with("GROUP BY has more than 54 columns, by CUBE"), "{many}");
    }
}
