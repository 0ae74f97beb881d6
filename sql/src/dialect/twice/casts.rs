//! Columns that a SELECT has twice but for their casts.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, Select, SelectItem};

use crate::dialect::exprs::unnested;
use crate::expanded::{column, name};

/// The columns that a SELECT has alone, without a name of its own, and as casts: the engine calls both the
/// same.
#[derive(Default)]
pub(super) struct Casts {
    /// Whether there are columns that are not named.
    any: bool,
    plain: HashSet<String>,
    before: HashSet<String>,
}

impl Casts {
    pub(super) fn of(select: &Select) -> Self {
        let mut casts = Self::default();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => casts.plain.extend(column_name(expr)),
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => casts.any = true,
                _ => {}
            }
        }
        casts
    }

    /// Whether an item is a cast of a column that the SELECT has too, or that it has cast before. It is the
    /// item to rename, since nothing else in the statement can refer to it.
    pub(super) fn has(&mut self, item: &SelectItem) -> bool {
        let SelectItem::UnnamedExpr(expr) = item else { return false };
        let Some(of) = cast_of(expr).and_then(column_name) else { return false };
        self.any || self.plain.contains(&of) || !self.before.insert(of)
    }
}

pub(in crate::dialect) fn cast_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Nested(inner) => cast_of(inner),
        Expr::Cast { expr: of, .. } => cast_of(of).or(Some(&**of)),
        _ => None,
    }
}

/// The name of a column, with or without a table.
pub(in crate::dialect) fn column_name(expr: &Expr) -> Option<String> {
    column(unnested(expr)).map(name)
}
