//! `x IN [1, 2]` and `x IN list`: whether a list has a value.
//!
//! The parser reads parentheses alone behind IN: among the tokens a list becomes a call in parentheses, and
//! in the parsed statement the values of a written list, or a call of `list_contains()` with any other. To
//! that call a NULL in the list is like any value that is not the one; a column of the list may have one.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, Ident, ObjectName, Value, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::arrows::tighten;
use super::exprs::{arguments, binary, denied, is_null, nested, null, plain_args};
use super::tokens::{BEFORE_NAMES, Replacement, is_any, is_word, made, next, outside};
use crate::walk::{VisitMut, inner, visit_expressions};

/// The call that a list is until the statement is parsed, which no statement makes by chance.
const LIST: &str = "in list";

/// What is no list behind IN: a call, and what goes on with a statement behind a column called `in`.
const NO_LIST: [&str; 11] =
    ["UNNEST", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "AS", "ASC", "DESC"];

/// Such a call in the place of a list.
pub(super) fn list(tokens: &[TokenWithSpan], at: usize) -> Option<Replacement> {
    let within = tokens.get(at).filter(|token| is_word(token, "IN"))?;
    let (begin, first) = next(tokens, at + 1).filter(|(begin, _)| is_list(tokens, *begin))?;
    let end = end_of_list(tokens, begin)?;
    let quoted = format!("\"{LIST}\"");
    let mut all = vec![within.clone()];
    all.extend(made(&["(", quoted.as_str(), "("], first.span));
    all.extend(tokens.get(begin..=end).into_iter().flatten().cloned());
    all.extend(made(&[")", ")"], first.span));
    Some((all, end))
}

/// The last token of a list that begins at a place: brackets, a name or a parameter, with what is called,
/// taken and cast of it.
fn end_of_list(tokens: &[TokenWithSpan], begin: usize) -> Option<usize> {
    let closing = |open: usize| {
        let closes = |token: &TokenWithSpan| matches!(token.token, Token::RParen | Token::RBracket);
        outside(tokens, open + 1).find(|(_, token)| closes(token)).map(|(place, _)| place)
    };
    let mut end = match tokens.get(begin)?.token {
        Token::LBracket => closing(begin)?,
        _ => begin,
    };
    loop {
        let Some((place, token)) = next(tokens, end + 1) else { return Some(end) };
        end = match token.token {
            Token::LBracket | Token::LParen => closing(place)?,
            Token::Period | Token::DoubleColon => next(tokens, place + 1)?.0,
            _ => return Some(end),
        };
    }
}

/// Whether a token behind IN begins a list: none in the call of `position(a IN b)`, in SHOW, and where `in`
/// is a column.
fn is_list(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    let is_shown = next(tokens, 0).is_some_and(|(_, first)| is_word(first, "SHOW"));
    let is_value = matches!(token.token, Token::Word(_) | Token::LBracket | Token::Placeholder(_));
    if is_shown || !is_value || is_any(token, &NO_LIST) {
        return false;
    }
    let mut open = 0usize;
    let before = tokens.get(..at).unwrap_or_default();
    let mut outer = before.iter().rev().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    // Behind IN itself.
    let Some(value) = outer.clone().nth(1) else { return false };
    if matches!(value.token, Token::Period | Token::Comma | Token::LParen) || is_any(value, &BEFORE_NAMES) {
        return false;
    }
    while let Some(token) = outer.next() {
        match token.token {
            Token::RParen => open += 1,
            Token::LParen if open == 0 => {
                return !outer.next().is_some_and(|name| is_word(name, "POSITION"));
            }
            Token::LParen => open -= 1,
            _ => {}
        }
    }
    true
}

/// Puts conditions in the place of such calls of a parsed statement.
pub(super) fn put(statement: &mut Statement) {
    if let Some(sql) = inner(statement) {
        let _ = sql.visit(&mut Conditions);
    }
}

struct Conditions;

impl VisitorMut for Conditions {
    type Break = ();

    /// What is read as a part of a key, `'a' IN list` of `record->>'a' IN list`, is asked of the whole.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { op: BinaryOperator::Arrow | BinaryOperator::LongArrow, right, .. } = expr
            && condition(right).is_some()
        {
            tighten(expr);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(condition) = condition(expr) {
            *expr = condition;
        }
        ControlFlow::Continue(())
    }
}

fn condition(expr: &Expr) -> Option<Expr> {
    let Expr::InList { expr: value, list, negated } = expr else { return None };
    let [Expr::Function(function)] = list.as_slice() else { return None };
    let name = function.name.0.first()?.as_ident().filter(|name| name.value == LIST)?;
    let args = plain_args(function)?;
    let &[list] = args.as_slice() else { return None };
    if let Expr::Array(array) = list
        && !array.elem.iter().any(is_computed)
    {
        // No value is that of a NULL, which is no answer either.
        let list: Vec<Expr> = array.elem.iter().filter(|element| !is_null(element)).cloned().collect();
        if list.is_empty() {
            // Nothing is in an empty list, not even a value that is not known.
            let other = if array.elem.is_empty() { Expr::value(Value::Boolean(false)) } else { null() };
            let condition = binary(Expr::IsNull(value.clone()), BinaryOperator::And, other);
            return Some(denied(*nested(condition), *negated));
        }
        return Some(Expr::InList { expr: value.clone(), list, negated: *negated });
    }
    let called = Ident { value: "list_contains".to_owned(), quote_style: None, span: name.span };
    let mut contains = Function { name: ObjectName::from(vec![called]), ..function.clone() };
    if let FunctionArguments::List(args) = &mut contains.args {
        args.args = arguments(vec![list.clone(), (**value).clone()]);
    }
    Some(denied(Expr::Function(contains), *negated))
}

/// Whether an element of a list depends on columns.
fn is_computed(element: &Expr) -> bool {
    visit_expressions(element, |part: &Expr| {
        matches!(
            part,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) | Expr::Subquery(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn lists_behind_in_are_values_or_asked() {
        for (sql, expected) in [
            ("a IN [1, 2]", "a IN (1, 2)"),
            ("a NOT IN [1, NULL, 2] AND b", "a NOT IN (1, 2) AND b"),
            ("a IN t.l AND b IN (1)", "list_contains(t.l, a) AND b IN (1)"),
            ("a NOT IN l", "(NOT list_contains(l, a))"),
            ("a IN tags::VARCHAR[] OR b", "list_contains(tags::VARCHAR[], a) OR b"),
            ("lower(a) IN string_split(x, ',')[1:2]", "list_contains(string_split(x, ',')[1:2], lower(a))"),
            ("a IN []", "(a IS NULL AND false)"),
            ("a IN [NULL]", "(a IS NULL AND NULL)"),
            ("a NOT IN [NULL, NULL]", "(NOT (a IS NULL AND NULL))"),
            ("a IN $r AND b NOT IN $1", "list_contains($r, a) AND (NOT list_contains($1, b))"),
            ("a IN ? AND b IN ($r)", "list_contains(?, a) AND b IN ($r)"),
            ("a NOT IN [1, b]", "(NOT list_contains([1, b], a))"),
            ("r->>'a' IN l AND r->'b' NOT IN [1]", "list_contains(l, r ->> 'a') AND r -> 'b' NOT IN (1)"),
            ("position('a' IN b) > 1 AND a IN (SELECT 1)", "position('a' IN b) > 1 AND a IN (SELECT 1)"),
        ] {
            let parsed = parse(&format!("SELECT 1 FROM t WHERE {sql}")).unwrap().to_string();
            let condition = parsed.split_once(" WHERE ").unwrap().1;
            assert!(condition.eq_ignore_ascii_case(expected), "{condition}");
        }
    }
}
