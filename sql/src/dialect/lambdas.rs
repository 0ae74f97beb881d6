//! Functions of each element of a list: `list_transform(l, x -> x + 1)`, `list_filter(l, lambda x: x > 2)`.
//!
//! The parser reads no lambda in this dialect, where an arrow is that of JSON: among the tokens one becomes a
//! call with its parameter before what it computes, and in the parsed statement the lambda that the engine
//! knows.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, LambdaFunction, OneOrManyWithParens, Statement as Sql,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use gstore_query::hint::{did_you_mean, nearest};

use super::exprs::{call, lambda, plain_args};
use super::outer_fields::in_brackets;
use super::tokens::{is_any, is_word, last_before, made, next, outside};
use crate::elements::NAME;
use crate::error::SqlError;
use crate::expanded::name;
use crate::guard::check_count;
use crate::walk::{inner, visit_expressions_mut};

/// The call that a lambda is until the statement is parsed, which no statement makes by chance.
const LAMBDA: &str = "->";
/// Functions that take one.
const FUNCTIONS: [&str; 6] =
    ["array_apply", "array_filter", "array_transform", "list_apply", "list_filter", "list_transform"];

/// Names of DuckDB for two of these, where a lambda stands behind their list: FILTER begins a clause too.
const SHORT: [&str; 2] = ["apply", "filter"];

/// Functions of the engine for which there is another form: it plans what they compute before their names.
const MATCHES: [&str; 3] = ["any_match", "array_any_match", "list_any_match"];

/// Functions that say themselves what they take in its place.
const APART: [&str; 3] = ["array_reduce", "columns", "list_reduce"];

/// How functions of elements are written.
const WRITTEN: &str = "write list_transform(list, x -> x + 1), list_filter(list, x -> x > 2)";

/// Most of them in a statement.
const MOST: usize = 100;
const OF_ELEMENTS: &str = "functions of elements";

/// The tokens with such calls.
///
/// # Errors
/// A function of several parameters, a call without one, and one in the call of another function.
pub(super) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let (mut from, mut put) = (0, 0);
    let mut around: Vec<usize> = Vec::new();
    while let Some((at, token)) = next(&tokens, from) {
        from = at + 1;
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => around.push(at),
            Token::RParen | Token::RBracket | Token::RBrace => {
                around.pop();
            }
            Token::Word(_) if is_word(token, "LAMBDA") => {
                let open = around.last().copied();
                if let Some(error) = open.and_then(|open| of_other(&tokens, open, at)) {
                    return Err(error);
                }
            }
            Token::Word(_)
                if is_any(token, &MATCHES)
                    && next(&tokens, from).is_some_and(|(_, open)| open.token == Token::LParen) =>
            {
                let error = SqlError::unknown(format!("there is no function `{}`", token.token));
                let hint = "write len(list_filter(list, x -> x > 1)) > 0";
                return Err(error.at_start_of(token).hint(hint));
            }
            Token::Word(_) if is_any(token, &FUNCTIONS) || is_any(token, &SHORT) => {
                let open = next(&tokens, from).filter(|(_, open)| open.token == Token::LParen);
                if let Some((open, _)) = open {
                    put += usize::from(put_call(&mut tokens, at, open)?);
                }
            }
            _ => {}
        }
        check_count(put, MOST, OF_ELEMENTS)?;
    }
    Ok(tokens)
}

/// The error about `lambda x: ..` in the call of a function that takes none.
fn of_other(tokens: &[TokenWithSpan], open: usize, lambda: usize) -> Option<SqlError> {
    let (parameter, _) =
        next(tokens, lambda + 1).filter(|(_, token)| matches!(token.token, Token::Word(_)))?;
    next(tokens, parameter + 1).filter(|(_, token)| token.token == Token::Colon)?;
    tokens.get(open).filter(|token| token.token == Token::LParen)?;
    let called = last_before(tokens, open)?;
    let Token::Word(word) = &called.token else { return None };
    if is_any(called, &APART) {
        return None;
    }
    let meant = nearest(&word.value.to_lowercase(), FUNCTIONS);
    let hint = meant.map_or_else(|| WRITTEN.to_owned(), did_you_mean);
    let why = format!("there is no function `{}` that takes a lambda", word.value);
    Some(SqlError::unknown(why).at_start_of(called).hint(hint))
}

/// Puts the call of a lambda behind the first argument of another call, or before all of one behind a dot;
/// says whether there is one.
fn put_call(tokens: &mut Vec<TokenWithSpan>, function: usize, open: usize) -> Result<bool, SqlError> {
    let all: &[TokenWithSpan] = tokens;
    let Some(called) = all.get(function) else { return Ok(false) };
    let is_end = |token: &TokenWithSpan| {
        matches!(
            token.token,
            Token::Comma | Token::RParen | Token::RBracket | Token::RBrace | Token::SemiColon | Token::EOF
        )
    };
    let end = |from: usize| outside(all, from).find(|(_, token)| is_end(token)).map(|(end, _)| end);
    let begin = match last_before(all, function).is_some_and(|token| token.token == Token::Period) {
        true => Some(open + 1),
        false => {
            let is_comma = |end: &usize| all.get(*end).is_some_and(|token| token.token == Token::Comma);
            end(open + 1).filter(is_comma).map(|comma| comma + 1)
        }
    };
    let Some(lambda) = begin.and_then(|begin| Lambda::of(all, begin)) else {
        if is_any(called, &SHORT) {
            return Ok(false);
        }
        let why = format!("{}() takes a list and a function of one element", called.token);
        return Err(SqlError::invalid(why).at_start_of(called).hint(WRITTEN));
    };
    let (span, end) = (called.span, end(lambda.body).unwrap_or(all.len()));
    let quoted = format!("\"{LAMBDA}\"");
    let mut begin = made(&[quoted.as_str(), "("], span);
    begin.extend(all.get(lambda.parameter).cloned());
    begin.push(TokenWithSpan { token: Token::Comma, span });
    drop(tokens.splice(end..end, made(&[")"], span)));
    drop(tokens.splice(lambda.begin..lambda.body, begin));
    Ok(true)
}

/// A lambda of one parameter, by the places of its parts.
struct Lambda {
    begin: usize,
    parameter: usize,
    body: usize,
}

impl Lambda {
    /// `x -> ..`, `(x) -> ..` or `lambda x: ..`.
    fn of(tokens: &[TokenWithSpan], from: usize) -> Option<Self> {
        let (begin, first) = next(tokens, from)?;
        let (second, token) = next(tokens, begin + 1)?;
        let (parameter, last, ends) = match first.token {
            Token::Word(_) if token.token == Token::Arrow => (begin, begin, Token::Arrow),
            Token::Word(_) if is_word(first, "LAMBDA") => (second, second, Token::Colon),
            Token::LParen => {
                let (closing, _) =
                    next(tokens, second + 1).filter(|(_, token)| token.token == Token::RParen)?;
                (second, closing, Token::Arrow)
            }
            _ => return None,
        };
        tokens.get(parameter).filter(|token| matches!(token.token, Token::Word(_)))?;
        let (arrow, _) = next(tokens, last + 1).filter(|(_, token)| token.token == ends)?;
        Some(Self { begin, parameter, body: arrow + 1 })
    }
}

/// Puts lambdas in the place of such calls of a parsed statement.
///
/// # Errors
/// Too many lambdas, with those that the parser has read.
pub(super) fn put(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    let mut count = 0;
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::Function(function) = expr
            && let Some(lambda) = lambda_of(function)
        {
            *expr = lambda;
        }
        count += usize::from(matches!(expr, Expr::Lambda(_)));
    });
    check_count(count, MOST, OF_ELEMENTS)
}

fn lambda_of(function: &Function) -> Option<Expr> {
    let [called] = function.name.0.as_slice() else { return None };
    called.as_ident().filter(|called| called.value == LAMBDA)?;
    let args = plain_args(function)?;
    let &[Expr::Identifier(parameter), body] = args.as_slice() else { return None };
    Some(lambda(parameter.clone(), body.clone()))
}

/// Gives parameters names that no column has: whatever comes after takes a name in them for that of a column.
/// A field of one, `x.a`, is written in brackets, since the engine looks for tables alone before a dot, and a
/// list as a call, since it finds no parameters between brackets.
pub(super) fn rename(sql: &mut Sql) {
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::Lambda(LambdaFunction { params: OneOrManyWithParens::One(parameter), body, .. }) = expr {
            let old = name(&parameter.name);
            let new =
                Ident { quote_style: Some('"'), value: format!("{NAME}{old}"), ..parameter.name.clone() };
            parameter.name = new.clone();
            visit_expressions_mut(&mut **body, |part: &mut Expr| match part {
                Expr::Identifier(column) if name(column) == old => {
                    *column = Ident { span: column.span, ..new.clone() };
                }
                Expr::CompoundIdentifier(parts) => {
                    if let [of, fields @ ..] = parts.as_slice()
                        && name(of) == old
                    {
                        let of = Ident { span: of.span, ..new.clone() };
                        *part = in_brackets(&of, None, fields);
                    }
                }
                Expr::Array(array) => *part = call("make_array", std::mem::take(&mut array.elem)),
                _ => {}
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Result<String, String> {
        let mut statement = crate::dialect::parse(sql).map_err(|error| error.to_string())?;
        let written = statement.to_string();
        rename(inner(&mut statement).unwrap());
        Ok(format!("{written} | {statement}").replace("SELECT ", ""))
    }

    #[test]
    fn other_functions_take_no_lambda() {
        for (sql, says) in [
            (
                "SELECT list_filtr(l, lambda x: x = 'a')",
                "`list_filtr` that takes a lambda (line 1, column 8)\n  did you mean `list_filter`?",
            ),
            (
                "SELECT len(lambda x: x)",
                "`len` that takes a lambda (line 1, column 8)\n  write list_transform(",
            ),
            ("SELECT any_match(l, x -> x = 'a')", "no function `any_match` (line 1, column 8)\n  write len("),
            ("SELECT list_reduce(l, lambda x: x)", "a function of two elements"),
        ] {
            let said = read(sql).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        assert!(read("SELECT coalesce(lambda -> 'k', any_match)").is_ok());
    }

    #[test]
    fn functions_of_elements_are_those_of_the_engine() {
        for (sql, expected) in [
            (
                "SELECT list_transform(l, x -> x + 1)",
                r#"list_transform(l, x -> x + 1) | list_transform(l, "element x" -> "element x" + 1)"#,
            ),
            (
                "SELECT filter(l, lambda x: x = [x]), count(*) FILTER (a), apply(x)",
                r#"filter(l, x -> x = [x]), count(*) FILTER (WHERE a), apply(x) | filter(l, "element x" -> "element x" = make_array("element x")), count(*) FILTER (WHERE a), apply(x)"#,
            ),
            (
                "SELECT array_filter([1, 2], (X) -> f(x, y), z)",
                r#"array_filter([1, 2], X -> f(x, y), z) | array_filter([1, 2], "element x" -> f("element x", y), z)"#,
            ),
            (
                "SELECT list_filter(l, lambda s: s.a.b = s->'k')",
                r#"list_filter(l, s -> s.a.b = s -> 'k') | list_filter(l, "element s" -> "element s"['a']['b'] = "element s" -> 'k')"#,
            ),
            (
                "SELECT [[y FOR y IN x] FOR x IN l IF x <> [1]]",
                r#"list_transform(list_filter(l, x -> x <> [1]), x -> list_transform(x, y -> y)) | list_transform(list_filter(l, "element x" -> "element x" <> make_array(1)), "element x" -> list_transform("element x", "element y" -> "element y"))"#,
            ),
            ("SELECT x -> 'a', list_filter, [1]", "x -> 'a', list_filter, [1] | x -> 'a', list_filter, [1]"),
        ] {
            assert_eq!(read(sql).as_deref(), Ok(expected));
        }
        for sql in [
            "SELECT list_transform(l, (x, i) -> x + i)",
            "SELECT list_transform(l, f)",
            "SELECT list_filter(l)",
        ] {
            let error = read(sql).unwrap_err();
            assert!(
                error.contains("() takes a list and a function of one element (line 1, column 8)"),
                "{error}"
            );
        }
        let many = vec!["[x FOR x IN l]"; MOST + 1].join(", ");
        assert!(read(&format!("SELECT {many}")).unwrap_err().contains("more than 100 functions"));
    }
}
