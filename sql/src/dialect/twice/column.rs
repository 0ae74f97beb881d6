//! A column of a result, and which columns before it the engine takes it for.

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, CeilFloorKind, DateTimeField, Expr, Function, Ident, ObjectName, SelectItem,
    Subscript, TrimWhereField, TypedString, Value,
};

use super::all::StarColumns;
use crate::dialect::exprs::{call, is_many, plain_args, taken, text, text_of};
use crate::expanded::name;
use crate::names::called;
use crate::walk::visit_expressions_mut;

pub(super) struct ResultColumn {
    pub(super) name: String,
    /// What the engine calls it: casts have the names of what they are of.
    key: String,
    /// What it is, where a column of a table is one with its table and without.
    value: String,
    kind: ColumnKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    /// A column of a table that is named.
    Qualified,
    /// A column alone, or with a name of its own.
    Plain,
    Expression,
}

impl ResultColumn {
    pub(super) fn of(item: &SelectItem, all: &StarColumns) -> Option<Self> {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(name(alias))),
            _ => return None,
        };
        if is_many(expr) {
            return None;
        }
        let alias_free = alias.is_none();
        let (own, kind) = match (alias, expr) {
            (Some(alias), _) => (alias, ColumnKind::Plain),
            (None, Expr::Identifier(column)) => (name(column), ColumnKind::Plain),
            (None, Expr::CompoundIdentifier(parts)) if all.is_of_table(parts) => {
                (parts.last().map(name)?, ColumnKind::Qualified)
            }
            (None, _) => (expr.to_string(), ColumnKind::Expression),
        };
        let (key, means) = (key(expr, true), key(expr, false));
        let is_column = alias_free && (kind == ColumnKind::Qualified || matches!(expr, Expr::Identifier(_)));
        let value = if is_column { Ident::with_quote('"', &own).to_string() } else { means };
        Some(Self { name: own, key, value, kind })
    }
}

/// The columns of a result before another.
#[derive(Default)]
pub(super) struct EarlierColumns {
    /// Names of columns that have no table before them.
    plain: HashSet<String>,
    /// Names of the others.
    qualified: HashSet<String>,
    /// What stands there without a name of its own.
    keys: HashSet<String>,
    /// What the first column of each name is.
    first: HashMap<String, String>,
}

impl EarlierColumns {
    /// Whether the engine takes a column for one of these.
    pub(super) fn has(&self, column: &ResultColumn) -> bool {
        match column.kind {
            ColumnKind::Expression => self.keys.contains(&column.key),
            ColumnKind::Qualified => self.plain.contains(&column.name) || self.keys.contains(&column.key),
            ColumnKind::Plain => self.plain.contains(&column.name) || self.qualified.contains(&column.name),
        }
    }

    pub(super) fn has_other(&self, column: &ResultColumn) -> bool {
        self.first.get(&column.name).is_some_and(|first| *first != column.value)
    }

    pub(super) fn add(&mut self, column: &ResultColumn) {
        self.first.entry(column.name.clone()).or_insert_with(|| column.value.clone());
        match column.kind {
            ColumnKind::Plain => self.plain.insert(column.name.clone()),
            ColumnKind::Qualified => {
                self.qualified.insert(column.name.clone());
                self.keys.insert(column.key.clone())
            }
            ColumnKind::Expression => self.keys.insert(column.key.clone()),
        };
    }
}

/// What an expression is, whatever the case of its names, and of the forms that mean the same; or what the
/// engine calls it, `without_casts`.
pub(in crate::dialect) fn key(expr: &Expr, without_casts: bool) -> String {
    let mut expr = expr.clone();
    visit_expressions_mut(&mut expr, |part: &mut Expr| match part {
        Expr::Identifier(column) => *column = Ident::with_quote('"', name(column)),
        Expr::CompoundIdentifier(parts) => {
            parts.iter_mut().for_each(|part| *part = Ident::with_quote('"', name(part)));
        }
        Expr::Cast { expr: of, .. } if without_casts => *part = taken(of),
        Expr::TypedString(TypedString { value, .. }) if without_casts => {
            *part = Expr::Value(value.clone());
        }
        Expr::Exists { negated, .. } if without_casts => {
            let called = if *negated { "NOT EXISTS" } else { "EXISTS" };
            *part = Expr::Identifier(Ident::new(called));
        }
        Expr::Nested(of) if without_casts && is_simple(of) => {
            *part = taken(of);
        }
        Expr::Value(value) if without_casts => {
            if let Value::Number(number, _) = &mut value.value
                && number.contains(['.', 'e', 'E'])
                && let Ok(double) = number.parse::<f64>()
            {
                *number = format!("{double:?}");
            }
        }
        Expr::Cast { kind: kind @ CastKind::DoubleColon, .. } => *kind = CastKind::Cast,
        Expr::Array(array) => *part = call("make_array", std::mem::take(&mut array.elem)),
        Expr::Function(function) => {
            if let [only] = function.name.0.as_slice()
                && let Some(only) = only.as_ident()
            {
                function.name = ObjectName::from(vec![Ident::new(called(&name(only)))]);
            }
            if let Some(field) = extracted(function) {
                *part = field;
            }
        }
        other => {
            if let Some(call) = form(other) {
                *other = call;
            }
        }
    });
    while let Expr::Nested(inner) = expr {
        expr = *inner;
    }
    expr.to_string()
}

/// The call, or the field of a struct, that a form which the parser has for itself stands for.
fn form(expr: &mut Expr) -> Option<Expr> {
    Some(match expr {
        Expr::Ceil { expr: of, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("ceil", vec![taken(of)])
        }
        Expr::Floor { expr: of, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("floor", vec![taken(of)])
        }
        Expr::Trim { trim_where, trim_what, expr: of, trim_characters } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "btrim",
            };
            let mut args = vec![taken(of)];
            args.extend(trim_what.as_deref_mut().map(taken));
            args.extend(trim_characters.take().unwrap_or_default());
            call(name, args)
        }
        Expr::Position { expr: of, r#in } => call("strpos", vec![taken(r#in), taken(of)]),
        Expr::Extract { field, expr: of, .. } => call("date_part", vec![text(&field.to_string()), taken(of)]),
        Expr::CompoundFieldAccess { root, access_chain } => field(root, access_chain)?,
        _ => return None,
    })
}

/// `s['a']` as `s.a`, and `{'a': 1}.a` as a call.
fn field(root: &Expr, access: &[AccessExpr]) -> Option<Expr> {
    access.iter().try_fold(root.clone(), |of, access| match access {
        AccessExpr::Dot(Expr::Identifier(field)) => Some(field_of(of, name(field))),
        AccessExpr::Subscript(Subscript::Index { index }) => Some(field_of(of, text_of(index)?.to_owned())),
        _ => None,
    })
}

/// `struct_extract(s, 'a')`, which the engine calls `get_field`, as `s.a`.
fn extracted(function: &Function) -> Option<Expr> {
    let args = plain_args(function)?;
    let &[of, field] = args.as_slice() else { return None };
    let field = text_of(field).filter(|_| function.name.to_string() == GET_FIELD)?;
    Some(field_of(of.clone(), field.to_owned()))
}

/// A field of a struct: of a column its name with that of the column before it.
fn field_of(of: Expr, field: String) -> Expr {
    let column = match of {
        Expr::Nested(inner) => return field_of(*inner, field),
        Expr::Identifier(column) => vec![column],
        Expr::CompoundIdentifier(parts) => parts,
        other => return call(GET_FIELD, vec![other, text(&field)]),
    };
    let field = Ident::with_quote('"', field);
    Expr::CompoundIdentifier(column.into_iter().chain([field]).collect())
}

/// The function that gives a field of a struct.
const GET_FIELD: &str = "get_field";

/// Whether parentheses around an expression change nothing.
fn is_simple(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Function(_)
            | Expr::Nested(_)
    )
}
