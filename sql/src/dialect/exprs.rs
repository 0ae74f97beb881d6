//! Small expressions that rewriting a statement makes and reads: calls, operations, texts, parentheses.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Value,
};

/// A call of a function.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args: arguments(args), clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Arguments without names.
pub(super) fn arguments(args: Vec<Expr>) -> Vec<FunctionArg> {
    args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect()
}

/// An operation of two expressions.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// An expression in parentheses.
pub(super) fn nested(expr: Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(expr)))
}

/// The text that an expression is.
pub(super) fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// A text as an expression.
pub(super) fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// Whether an expression takes lists apart: it may stand for several rows, and for several columns.
pub(super) fn has_unnest(expr: &Expr) -> bool {
    has_call(expr, &["unnest("])
}

/// Whether an expression stands for the columns that a pattern fits.
pub(super) fn has_columns(expr: &Expr) -> bool {
    has_call(expr, &["columns("])
}

/// Whether an expression may stand for several columns.
pub(super) fn is_many(expr: &Expr) -> bool {
    has_call(expr, &["unnest(", "columns("])
}

/// Whether the text of an expression has one of these in any case.
fn has_call(expr: &Expr, begins: &[&str]) -> bool {
    let text = expr.to_string().to_ascii_lowercase();
    begins.iter().any(|begin| text.contains(begin))
}
