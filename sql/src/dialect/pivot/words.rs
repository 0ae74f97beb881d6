//! `PIVOT t ON ..` and `UNPIVOT t ON ..`, which begin a query, in the form behind a table that the parser
//! knows.
//!
//! That form has no keys: they stand where the parser reads a value for DEFAULT ON NULL.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::several;
use crate::dialect::exprs::plain_args;
use crate::dialect::tokens::{closes, is_any, is_word, made, next, outside};
use crate::error::SqlError;

/// Most tokens behind PIVOT and UNPIVOT: each looks for its end among them, and copies those up to it.
const MOST_PASSED: usize = 1 << 22;
/// The function whose arguments are the keys, which no statement calls by chance.
const KEYS: &str = "group by";
/// Words behind a table that is called `pivot`.
const BEHIND_NAMES: [&str; 10] =
    ["ANTI", "AS", "ASOF", "CROSS", "FULL", "INNER", "JOIN", "LEFT", "NATURAL", "RIGHT"];
/// Words behind a PIVOT or UNPIVOT.
const BEHIND: [&str; 9] =
    ["ORDER", "LIMIT", "OFFSET", "FETCH", "QUALIFY", "UNION", "EXCEPT", "INTERSECT", "WINDOW"];

/// The tokens with both behind the table that they are of.
///
/// # Errors
/// PIVOT by several columns, and more of them than are looked through in a statement of this length.
pub(in crate::dialect) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut before: Option<Token> = None;
    let (mut from, mut passed) = (0, 0);
    while let Some((at, token)) = next(&tokens, from) {
        from = at + 1;
        let (span, is_pivot) = (token.span, is_any(token, &["PIVOT", "PIVOT_WIDER"]));
        let is_unpivot = is_any(token, &["UNPIVOT", "PIVOT_LONGER"]);
        let here = token.token.clone();
        let is_first = (is_pivot || is_unpivot) && begins(&tokens, at, before.as_ref());
        let is_behind = is_pivot && next(&tokens, from).is_some_and(|(_, open)| open.token == Token::LParen);
        if is_first || is_behind {
            passed += tokens.len() - at;
            if passed > MOST_PASSED {
                let why = "the statement is too long for as many PIVOTs as it has".to_owned();
                return Err(SqlError::refused(why));
            }
            match is_first.then(|| Form::of(&tokens, at)).flatten() {
                Some(form) => {
                    let made =
                        if is_pivot { form.pivot(&tokens, span)? } else { form.unpivot(&tokens, span) };
                    drop(tokens.splice(at..form.end, made));
                }
                None if is_behind => put_keys(&mut tokens, at, span),
                None => {}
            }
        }
        before = Some(here);
    }
    Ok(tokens)
}

/// Whether a word begins a query, and is no name and not behind a table.
fn begins(tokens: &[TokenWithSpan], at: usize, before: Option<&Token>) -> bool {
    let Some((_, after)) = next(tokens, at + 1) else { return false };
    let is_table = matches!(after.token, Token::Word(_)) && !is_any(after, &BEHIND_NAMES);
    match before {
        None | Some(Token::LParen) => is_table || after.token == Token::LParen,
        // The last query of WITH.
        Some(Token::RParen) => is_table,
        Some(Token::Word(word)) => word.value.eq_ignore_ascii_case("EXPLAIN"),
        Some(_) => false,
    }
}

/// Where the parts of such a form are.
struct Form {
    table: Range<usize>,
    on: Range<usize>,
    /// The aggregate functions of a PIVOT, or the names of the columns that an UNPIVOT makes.
    made: Option<Range<usize>>,
    keys: Option<Range<usize>>,
    end: usize,
}

impl Form {
    /// The form that begins at a word; `None` where there is no ON in it.
    fn of(tokens: &[TokenWithSpan], at: usize) -> Option<Self> {
        let mut parts: Vec<(&'static str, usize, usize)> = Vec::new();
        let mut end = tokens.len();
        for (i, token) in outside(tokens, at + 1) {
            match token.token {
                Token::RParen | Token::RBracket | Token::RBrace | Token::SemiColon | Token::EOF => {
                    end = i;
                    break;
                }
                _ if parts.is_empty() && is_word(token, "ON") => parts.push(("ON", i, i + 1)),
                _ if parts.is_empty() => {}
                _ if is_any(token, &["USING", "INTO"]) => parts.push(("MADE", i, i + 1)),
                _ if is_word(token, "GROUP") => {
                    let (by, _) = next(tokens, i + 1).filter(|(_, token)| is_word(token, "BY"))?;
                    parts.push(("KEYS", i, by + 1));
                }
                _ if is_any(token, &BEHIND) => {
                    end = i;
                    break;
                }
                _ => {}
            }
        }
        let part = |name: &str| {
            let place = parts.iter().position(|(known, ..)| *known == name)?;
            let ends = parts.get(place + 1).map_or(end, |(_, ends, _)| *ends);
            parts.get(place).map(|(_, _, begins)| *begins..ends)
        };
        let (_, on, _) = *parts.first()?;
        Some(Self { table: at + 1..on, on: part("ON")?, made: part("MADE"), keys: part("KEYS"), end })
    }

    fn pivot(&self, tokens: &[TokenWithSpan], span: Span) -> Result<Vec<TokenWithSpan>, SqlError> {
        let on = part(tokens, &self.on);
        if outside(on, 0).any(|(_, token)| token.token == Token::Comma) {
            return Err(several().at((span.start.line, span.start.column)));
        }
        let mut all = self.of_table(tokens, &["PIVOT", "("], span);
        match &self.made {
            Some(functions) => all.extend_from_slice(part(tokens, functions)),
            None => all.extend(made(&["count", "(", "*", ")"], span)),
        }
        all.extend(made(&["FOR"], span));
        all.extend(value_in_brackets(on, span));
        if !outside(on, 0).any(|(_, token)| is_word(token, "IN")) {
            all.extend(made(&["IN", "(", "ANY", ")"], span));
        }
        if let Some(keys) = &self.keys {
            all.extend(as_default(part(tokens, keys), span));
        }
        all.extend(made(&[")"], span));
        Ok(all)
    }

    fn unpivot(&self, tokens: &[TokenWithSpan], span: Span) -> Vec<TokenWithSpan> {
        let names = self.made.as_ref().map_or(&[][..], |names| part(tokens, names));
        let written = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
        let names: Vec<&TokenWithSpan> = names.iter().filter(written).collect();
        let [key, value] = match names.as_slice() {
            [name, key, word, value @ ..] if is_word(name, "NAME") && is_word(word, "VALUE") => {
                [vec![(*key).clone()], value.iter().map(|token| (*token).clone()).collect()]
            }
            [] => [made(&["name"], span), made(&["value"], span)],
            // What stands there is left to the parser, which refuses it.
            other => [Vec::new(), other.iter().map(|token| (*token).clone()).collect()],
        };
        let mut all = self.of_table(tokens, &["UNPIVOT", "("], span);
        all.extend(value);
        all.extend(made(&["FOR"], span));
        all.extend(key);
        all.extend(made(&["IN", "("], span));
        all.extend_from_slice(part(tokens, &self.on));
        all.extend(made(&[")", ")"], span));
        all
    }

    fn of_table(&self, tokens: &[TokenWithSpan], words: &[&str], span: Span) -> Vec<TokenWithSpan> {
        let mut all = made(&["SELECT", "*", "FROM"], span);
        all.extend_from_slice(part(tokens, &self.table));
        all.extend(made(words, span));
        all
    }
}

/// The tokens with one more pair of brackets around a value in brackets at their beginning, which the parser
/// would read as a list of columns.
fn value_in_brackets(on: &[TokenWithSpan], span: Span) -> Vec<TokenWithSpan> {
    let mut depth = 0usize;
    for (i, token) in on.iter().enumerate() {
        match token.token {
            Token::Whitespace(_) => {}
            Token::LParen => depth += 1,
            Token::RParen if depth > 1 => depth -= 1,
            Token::RParen if depth == 1 => {
                let (value, rest) = on.split_at(i + 1);
                return [&made(&["("], span), value, &made(&[")"], span), rest].concat();
            }
            Token::Comma if depth == 1 => break,
            _ if depth == 0 => break,
            _ => {}
        }
    }
    on.to_vec()
}

fn part<'a>(tokens: &'a [TokenWithSpan], range: &Range<usize>) -> &'a [TokenWithSpan] {
    tokens.get(range.clone()).unwrap_or_default()
}

/// Puts the keys that stand within the brackets of a PIVOT behind a table where the parser reads a value.
fn put_keys(tokens: &mut Vec<TokenWithSpan>, pivot: usize, span: Span) {
    let opened = next(tokens, pivot + 1).filter(|(_, token)| token.token == Token::LParen);
    let Some((open, _)) = opened else { return };
    let close = outside(tokens, open + 1).find(|(_, token)| closes(token)).map(|(i, _)| i);
    let begins = |(group, token): (usize, &TokenWithSpan)| {
        let (by, _) =
            next(tokens, group + 1).filter(|(_, by)| is_word(token, "GROUP") && is_word(by, "BY"))?;
        Some((group, by + 1))
    };
    let keys = outside(tokens, open + 1).find_map(begins);
    if let (Some(close), Some((group, begin))) = (close, keys)
        && group < close
    {
        let made = as_default(part(tokens, &(begin..close)), span);
        drop(tokens.splice(group..close, made));
    }
}

/// Keys as the arguments of a function behind DEFAULT ON NULL.
fn as_default(keys: &[TokenWithSpan], span: Span) -> Vec<TokenWithSpan> {
    let called = format!("\"{KEYS}\"");
    let mut all = made(&["DEFAULT", "ON", "NULL", "(", &called, "("], span);
    all.extend_from_slice(keys);
    all.extend(made(&[")", ")"], span));
    all
}

/// The keys that [`tokens`] has put behind DEFAULT ON NULL.
pub(super) fn keys_of(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(function) = expr else { return None };
    let [name] = function.name.0.as_slice() else { return None };
    name.as_ident().filter(|name| name.value == KEYS)?;
    Some(plain_args(function)?.into_iter().cloned().collect())
}
