//! `*` over tables that are joined by `USING`: the columns of all tables, and each key once, in the place
//! that it has in the first of its tables.

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, ObjectName, ReplaceSelectElement, ReplaceSelectItem, SelectItem,
    SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};

use super::put::Written;
use crate::dialect::using::{MergedColumn, UsingJoins, quoted};
use crate::error::SqlError;
use crate::expanded::{excluded, last_name, name, unqualified};
use crate::translate::no_column;

/// What stands behind `*`.
#[derive(Default)]
pub(super) struct Options {
    excluded: Vec<String>,
    replaced: Vec<ReplaceSelectElement>,
}

impl Options {
    /// None if there is more than EXCLUDE, EXCEPT and REPLACE.
    pub(super) fn of(options: &WildcardAdditionalOptions) -> Option<Self> {
        if options.opt_ilike.is_some() || options.opt_rename.is_some() || options.opt_alias.is_some() {
            return None;
        }
        let mut excluded: Vec<String> = excluded(options).iter().map(unqualified).collect::<Option<_>>()?;
        if let Some(except) = &options.opt_except {
            excluded.push(name(&except.first_element));
            excluded.extend(except.additional_elements.iter().map(name));
        }
        let items = options.opt_replace.iter().flat_map(|replace| &replace.items);
        let own = |item: &ReplaceSelectElement| ReplaceSelectElement {
            column_name: quoted(&name(&item.column_name)),
            ..item.clone()
        };
        let replaced = items.map(|item| own(item)).collect();
        Some(Self { excluded, replaced })
    }

    pub(super) fn excludes(&self, column: &str) -> bool {
        self.excluded.iter().any(|excluded| excluded == column)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.excluded.iter().cloned().chain(self.replaced.iter().map(|item| name(&item.column_name)))
    }

    /// Those of its names that may be columns of any table.
    pub(super) fn of_tables(&self, merged: &UsingJoins) -> Vec<String> {
        let key =
            |column: &String| merged.keys.iter().any(|key| key.name == *column && merged.is_settled(key));
        self.names().filter(|column| !key(column)).collect()
    }
}

/// The columns of tables that the other items of a result are, by the parts of their names.
pub(super) fn named(items: &[SelectItem]) -> Vec<Vec<String>> {
    let parts = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => Some(parts.iter().map(name).collect()),
        _ => None,
    };
    items.iter().filter_map(parts).collect()
}

/// Whether one of the other items is the column that this key has its value of.
fn is_named(key: &MergedColumn, named: &[Vec<String>]) -> bool {
    let parts: Vec<String> = match key.value() {
        Expr::CompoundIdentifier(parts) => parts.iter().map(name).collect(),
        _ => Vec::new(),
    };
    named.contains(&parts)
}

/// The items that `*` stands for next to these. `columns` are those of tables by the names of both, as far as
/// the options have other names than those of keys.
pub(super) fn all(
    merged: &UsingJoins,
    options: &Options,
    columns: &[(String, String)],
    named: &[Vec<String>],
    written: &mut Written,
) -> Result<Vec<SelectItem>, SqlError> {
    let mut made = Vec::new();
    for (place, table) in merged.tables.iter().enumerate() {
        let own: Vec<&MergedColumn> = merged.keys.iter().filter(|key| key.tables.contains(&place)).collect();
        let last = last_name(table).unwrap_or_default();
        let has = |column: &String| {
            columns.iter().any(|(table, name)| *table == last && name == column)
                || own.iter().any(|key| key.name == *column)
        };
        let given: Vec<&ReplaceSelectElement> =
            options.replaced.iter().filter(|item| has(&name(&item.column_name))).collect();
        let mut without: Vec<String> = Vec::new();
        let mut replaced: Vec<ReplaceSelectElement> = Vec::new();
        for key in &own {
            let is_first = key.tables.first() == Some(&place);
            if !is_first || options.excluded.contains(&key.name) || is_named(key, named) {
                without.push(key.name.clone());
            } else if key.is_moved() && !given.iter().any(|item| name(&item.column_name) == key.name) {
                written.add(key.size())?;
                let (expr, column_name) = (key.value(), quoted(&key.name));
                replaced.push(ReplaceSelectElement { expr, column_name, as_keyword: true });
            }
        }
        for column in options.excluded.iter().filter(|column| has(column)) {
            if !without.contains(column) {
                without.push(column.clone());
            }
        }
        for item in given {
            if !without.contains(&name(&item.column_name)) {
                replaced.push(item.clone());
            }
        }
        let items: Vec<_> = replaced.into_iter().map(Box::new).collect();
        let mut options = WildcardAdditionalOptions::default();
        if !without.is_empty() {
            let without = without.iter().map(|column| ObjectName::from(vec![quoted(column)]));
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(without.collect()));
        }
        options.opt_replace = (!items.is_empty()).then_some(ReplaceSelectItem { items });
        made.push(of_table(table, options));
    }
    Ok(made)
}

/// `table.*`
pub(super) fn of_table(table: &ObjectName, options: WildcardAdditionalOptions) -> SelectItem {
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table.clone()), options)
}

/// The error about a name that no table has as a column.
pub(super) fn unknown(names: &[String], columns: &[(String, String)]) -> Option<SqlError> {
    let is_unknown = |column: &&String| !columns.iter().any(|(_, known)| known == *column);
    let unknown = names.iter().find(is_unknown)?;
    Some(no_column(unknown, columns.iter().map(|(_, known)| known)))
}
