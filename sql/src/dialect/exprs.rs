//! Small expressions and queries that rewriting a statement makes and reads: calls, operations, texts,
//! parentheses, columns.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, ObjectName, OneOrManyWithParens, OrderByExpr, Query, SelectItem,
    SetExpr, TableFactor, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

pub(super) use crate::expanded::of_item;

use crate::expanded::name;
use crate::walk::visit_own_expressions;

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    call_at(name, args, Span::empty())
}

/// A call of a function whose errors name a place.
pub(super) fn call_at(name: &str, args: Vec<Expr>, span: Span) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args: arguments(args), clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(super) fn arguments(args: Vec<Expr>) -> Vec<FunctionArg> {
    args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect()
}

/// The arguments of a call, if they are nothing but expressions.
pub(super) fn plain_args(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    args.collect()
}

pub(super) fn is_distinct(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
}

/// The order that a call gives its rows, in its brackets.
pub(super) fn order_of(function: &Function) -> Option<&[OrderByExpr]> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(keys) => Some(keys.as_slice()),
        _ => None,
    })
}

/// The same, which the call is without then.
pub(super) fn take_order(function: &mut Function) -> Option<Vec<OrderByExpr>> {
    let keys = order_of(function)?.to_vec();
    if let FunctionArguments::List(list) = &mut function.args {
        list.clauses.retain(|clause| !matches!(clause, FunctionArgumentClause::OrderBy(_)));
    }
    Some(keys)
}

/// `parameter -> body`
pub(super) fn lambda(parameter: Ident, body: Expr) -> Expr {
    let parameter = LambdaFunctionParameter { name: parameter, data_type: None };
    let params = OneOrManyWithParens::One(parameter);
    Expr::Lambda(LambdaFunction { params, body: Box::new(body), syntax: LambdaSyntax::Arrow })
}

/// An operation of two expressions.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

pub(super) fn nested(expr: Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(expr)))
}

/// What is in parentheses, if an expression is.
pub(super) fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

/// A condition, or in parentheses what denies it.
pub(super) fn denied(condition: Expr, is_denied: bool) -> Expr {
    match is_denied {
        true => *nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(condition) }),
        false => condition,
    }
}

/// `CASE WHEN condition THEN result ELSE other END`
pub(super) fn case(condition: Expr, result: Expr, other: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: other.map(Box::new),
    }
}

pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

pub(super) fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

pub(super) fn number(number: impl ToString) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// An expression, which leaves NULL in its place.
pub(super) fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

pub(super) fn alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(name(alias)),
        _ => None,
    }
}

/// The query of a text that is written here, without operators.
pub(super) fn query(text: &str) -> Option<Box<Query>> {
    Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_query()).ok()
}

/// The subquery that is the first table of a query.
pub(super) fn subquery(query: &mut Query) -> Option<&mut Query> {
    let SetExpr::Select(select) = &mut *query.body else { return None };
    match &mut select.from.first_mut()?.relation {
        TableFactor::Derived { subquery, .. } => Some(subquery),
        _ => None,
    }
}

/// Puts in the place of a query one that selects all of its rows, as a table of this name.
pub(super) fn wrap(inner: &mut Query, name: &str) {
    if let Some(mut outer) = query(&format!("SELECT * FROM (SELECT 1) AS \"{name}\""))
        && let Some(within) = subquery(&mut outer)
    {
        std::mem::swap(within, inner);
        *inner = *outer;
    }
}

pub(super) fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

pub(super) fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// Whether an expression takes lists apart: it may stand for several rows, and for several columns.
pub(super) fn has_unnest(expr: &Expr) -> bool {
    has_call(expr, &["unnest"])
}

/// Whether an expression stands for the columns that a pattern fits.
pub(super) fn has_columns(expr: &Expr) -> bool {
    has_call(expr, &["columns"])
}

/// Whether an expression may stand for several columns.
pub(super) fn is_many(expr: &Expr) -> bool {
    has_call(expr, &["unnest", "columns"])
}

/// Whether an expression is a call of a function, and nothing around it.
pub(super) fn is_call_of(expr: &Expr, function: &str) -> bool {
    matches!(expr, Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case(function))
}

/// Whether an expression has a call of one of some functions that is in no subquery.
fn has_call(expr: &Expr, functions: &[&str]) -> bool {
    visit_own_expressions(expr, |part| functions.iter().any(|function| is_call_of(part, function)))
}
