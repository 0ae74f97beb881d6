//! Places of names in the text of a statement.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Spanned};

use super::walk::{Visit, visit_expressions};

/// Line and column in the statement.
pub(super) type TextPosition = (u64, u64);

/// The only one of some places; none of several.
pub(super) fn only(places: &[TextPosition]) -> Option<TextPosition> {
    match places {
        [only] => Some(*only),
        _ => None,
    }
}

/// Where a part of a statement begins.
pub(super) fn start(of: &impl Spanned) -> TextPosition {
    let start = of.span().start;
    (start.line, start.column)
}

pub(super) fn begin(expr: &Expr) -> Option<TextPosition> {
    match expr {
        Expr::Identifier(name) => Some(place(name)),
        Expr::CompoundIdentifier(parts) => parts.first().map(place),
        _ => None,
    }
}

pub(super) fn place(name: &Ident) -> TextPosition {
    (name.span.start.line, name.span.start.column)
}

/// Whether a name begins at a place in a part of a statement.
pub(super) fn is_named_at(of: &impl Visit, place: TextPosition) -> bool {
    visit_expressions(of, |part| begin(part) == Some(place))
}
