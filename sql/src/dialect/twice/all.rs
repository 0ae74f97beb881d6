//! The `*` of a SELECT, and whether a column next to it is one of its columns.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};

use crate::dialect::using::joins_by_names;
use crate::expanded::{column, excluded, last_name, name, tables};
use crate::virtuals::is_virtual;

/// The `*` of a SELECT, with their tables where these are named, and all tables.
pub(super) struct StarColumns {
    stars: Vec<(Option<String>, WildcardAdditionalOptions)>,
    tables: Vec<String>,
    joins_by_names: bool,
}

impl StarColumns {
    pub(super) fn of(select: &Select) -> Self {
        let star = |item: &SelectItem| match item {
            SelectItem::Wildcard(options) => Some((None, options.clone())),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options) => {
                Some((Some(last_name(table)?), options.clone()))
            }
            _ => None,
        };
        let stars: Vec<_> = select.projection.iter().filter_map(star).collect();
        Self { joins_by_names: !stars.is_empty() && joins_by_names(select), stars, tables: tables(select) }
    }

    /// Whether the parts of a name are those of a table and its column, and not of a struct and its field.
    pub(super) fn is_of_table(&self, parts: &[Ident]) -> bool {
        let table = parts.iter().rev().nth(1).map(name);
        table.is_some_and(|table| self.tables.contains(&table))
    }

    /// Whether an item is a column that a `*` next to it has.
    pub(super) fn has(&self, item: &SelectItem) -> bool {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) => expr,
            // The engine takes `a AS a` for `a`.
            SelectItem::ExprWithAlias { expr, alias } if is_own(expr, alias) => expr,
            _ => return false,
        };
        if self.stars.is_empty() || is_virtual(expr) {
            return false;
        }
        let (of, column) = match expr {
            Expr::Identifier(column) => (None, name(column)),
            // A field of a struct has a name of its own, and of USING `*` has another column.
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [of, column] if self.is_of_table(parts) && !self.joins_by_names => {
                    (Some(name(of)), name(column))
                }
                _ => return false,
            },
            _ => return false,
        };
        let is_it = |table: &Option<String>| match (table, &of) {
            (None, _) => true,
            (Some(_), None) => self.tables.len() == 1,
            (table, of) => table == of,
        };
        self.stars.iter().any(|(table, options)| is_it(table) && has(options, &column))
    }
}

/// Whether a column is given the name that it has.
fn is_own(expr: &Expr, alias: &Ident) -> bool {
    column(expr).is_some_and(|own| name(own) == name(alias))
}

/// Whether `*` with these options has a column of its tables.
fn has(options: &WildcardAdditionalOptions, column: &str) -> bool {
    if options.opt_ilike.is_some() || options.opt_rename.is_some() || options.opt_alias.is_some() {
        return false;
    }
    let mut except = options
        .opt_except
        .iter()
        .flat_map(|except| except.additional_elements.iter().chain([&except.first_element]));
    !excluded(options).iter().any(|excluded| last_name(excluded).as_deref() == Some(column))
        && !except.any(|except| name(except) == column)
}
