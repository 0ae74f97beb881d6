//! Names of casts: calls of [`AS_TYPE`].

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, Query, VisitorMut};
use gstore_functions::AS_TYPE;

use crate::dialect::exprs::{call, taken, text};
use crate::dialect::twice::key;
use crate::walk::count_subqueries;

/// Gives casts of what is unclear names.
pub(super) struct Names<'a> {
    unclear: &'a HashSet<String>,
    queries: usize,
    /// Whether what is visited next has a name already.
    has_name: bool,
    /// Of the casts around what is visited, whether they are to have names.
    open: Vec<bool>,
    pub(super) named: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(unclear: &'a HashSet<String>) -> Self {
        Self { unclear, queries: 0, has_name: false, open: Vec::new(), named: 0 }
    }
}

impl VisitorMut for Names<'_> {
    type Break = ();

    count_subqueries!(queries, &mut Query);

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries == 0 {
            let has_name = std::mem::replace(&mut self.has_name, is_named(expr));
            if matches!(expr, Expr::Cast { .. }) {
                self.open.push(!has_name && self.unclear.contains(&key(expr, true)));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries == 0
            && let Expr::Cast { kind, data_type, .. } = expr
            && self.open.pop() == Some(true)
        {
            let is_safe = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
            let of = format!("{}{}", if is_safe { "try " } else { "" }, usual(data_type));
            *expr = call(AS_TYPE, vec![taken(expr), text(&of)]);
            self.named += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Whether the first argument of a call is a cast that has a name.
fn is_named(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if function.name.to_string() == AS_TYPE)
}

/// One name for a type that has several.
fn usual(ty: &DataType) -> String {
    use DataType as D;
    match ty {
        D::Int(None) | D::Integer(None) | D::Int4(None) => "INTEGER".to_owned(),
        D::BigInt(None) | D::Int8(None) => "BIGINT".to_owned(),
        D::SmallInt(None) | D::Int2(None) => "SMALLINT".to_owned(),
        D::Varchar(None) | D::Text | D::String(None) | D::Char(None) => "VARCHAR".to_owned(),
        D::Double(_) | D::DoublePrecision | D::Float8 => "DOUBLE".to_owned(),
        D::Real | D::Float(_) | D::Float4 => "REAL".to_owned(),
        D::Boolean | D::Bool => "BOOLEAN".to_owned(),
        D::Numeric(digits) | D::Decimal(digits) | D::Dec(digits) => format!("DECIMAL{digits}"),
        other => other.to_string().to_uppercase(),
    }
}
