//! `LIKE` without an escape but the one that it names, and replacements in which `$` is an ordinary sign.
//!
//! The engine takes a backslash for an escape, and `$1` for a group. So a pattern with another escape, or
//! none, is written with backslashes.

use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::dialect::exprs::{call, text, text_of};
use crate::error::SqlError;

/// The escape of the engine.
const ESCAPE: char = '\\';

/// Puts the escape of the engine into a pattern that has another one, or none.
pub(in crate::dialect) fn escape(
    pattern: &mut Expr,
    given: &mut Option<ValueWithSpan>,
) -> Result<(), SqlError> {
    let named = match given.as_ref().map(|given| &given.value) {
        None => None,
        Some(Value::SingleQuotedString(named)) => {
            let mut signs = named.chars();
            match (signs.next(), signs.next()) {
                (Some(ESCAPE), None) => return Ok(()),
                (sign, None) => sign,
                _ => return Err(refused("ESCAPE takes a text of one character: ESCAPE '!'", pattern)),
            }
        }
        // Left to the engine, which refuses it.
        Some(_) => return Ok(()),
    };
    let escaped = match (text_of(pattern), named) {
        (Some(written), None) if !written.contains(ESCAPE) => {
            *given = None;
            return Ok(());
        }
        (Some(written), named) => match escaped(written, named) {
            Some(escaped) => text(&escaped),
            None => return Err(refused("a pattern of LIKE ends with its ESCAPE character", pattern)),
        },
        (None, None) if matches!(pattern, Expr::Value(_)) => return Ok(()),
        (None, None) => call("replace", vec![pattern.clone(), text("\\"), text("\\\\")]),
        (None, Some(_)) => {
            let why = "a computed pattern can have only a backslash as its ESCAPE";
            return Err(refused(why, pattern).hint("write a backslash into the pattern and ESCAPE '\\'"));
        }
    };
    *pattern = escaped;
    let named = Value::SingleQuotedString(ESCAPE.to_string());
    *given = Some(ValueWithSpan { value: named, span: Span::empty() });
    Ok(())
}

/// A pattern with backslashes in the place of its own escape; `None` if nothing stands behind one.
fn escaped(pattern: &str, named: Option<char>) -> Option<String> {
    let mut escaped = String::with_capacity(pattern.len() + 4);
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        if Some(sign) == named {
            escaped.extend([ESCAPE, signs.next()?]);
        } else {
            escaped.extend((sign == ESCAPE).then_some(ESCAPE));
            escaped.push(sign);
        }
    }
    Some(escaped)
}

fn refused(why: &str, pattern: &Expr) -> SqlError {
    SqlError::invalid(why.to_owned()).at_start_of(pattern)
}

/// What `regexp_replace` is given to replace a match by, with `$` as the engine writes it; `None` if it has
/// none.
pub(in crate::dialect) fn replacement(by: &Expr) -> Option<Expr> {
    match (text_of(by), by) {
        (Some(written), _) => written.contains('$').then(|| text(&written.replace('$', "$$"))),
        (None, Expr::Value(_)) => None,
        (None, _) => Some(call("replace", vec![by.clone(), text("$"), text("$$")])),
    }
}

#[cfg(test)]
mod tests {
    fn resolved(sql: &str) -> Result<String, String> {
        crate::dialect::calls::rewritten(&format!("SELECT {sql}"))
    }

    #[test]
    fn escapes_are_those_that_are_named() {
        for (sql, expected) in [
            (r"a LIKE 'b%'", r"SELECT a LIKE 'b%'"),
            (r"a LIKE 'b\%'", r"SELECT a LIKE 'b\\%' ESCAPE '\'"),
            (r"a NOT ILIKE p", r"SELECT a NOT ILIKE replace(p, '\', '\\') ESCAPE '\'"),
            (r"a LIKE 'b\%' ESCAPE '\'", r"SELECT a LIKE 'b\%' ESCAPE '\'"),
            (r"a LIKE p ESCAPE '\'", r"SELECT a LIKE p ESCAPE '\'"),
            (r"a LIKE '!!!%\%' ESCAPE '!'", r"SELECT a LIKE '\!\%\\%' ESCAPE '\'"),
            (r"a LIKE 'b%' ESCAPE ''", r"SELECT a LIKE 'b%'"),
            (r"a LIKE NULL", r"SELECT a LIKE NULL"),
        ] {
            assert_eq!(resolved(sql).as_deref(), Ok(expected));
        }
        for (sql, says) in [
            ("a LIKE 'b!' ESCAPE '!'", "ends with its ESCAPE character"),
            ("a LIKE p ESCAPE '!'", "only a backslash as its ESCAPE"),
            ("a LIKE 'b' ESCAPE '!!'", "one character"),
        ] {
            let error = resolved(sql).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_dollar_in_a_replacement_is_one() {
        for (sql, expected) in [
            (r"regexp_replace(a, 'b', '$1')", r"SELECT regexp_replace(a, 'b', '$$1')"),
            (r"regexp_replace(a, 'b', '\1', 'g')", r"SELECT regexp_replace(a, 'b', '\1', 'g')"),
            (r"regexp_replace(a, 'b', c)", r"SELECT regexp_replace(a, 'b', replace(c, '$', '$$'))"),
        ] {
            assert_eq!(resolved(sql).as_deref(), Ok(expected));
        }
    }
}
