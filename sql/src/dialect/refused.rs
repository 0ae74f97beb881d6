//! Forms of other databases that have no meaning here, refused in one line that says how to write them.

mod clauses;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use gstore_core::Remedy;

pub(super) use self::clauses::check as check_clauses;
use super::tokens::{is_any, is_unit, is_word, next};
use crate::error::{SqlError, SqlErrorKind};
use crate::wording;

/// Words that begin such a form, those that follow, and what is said of it.
const FORMS: [(&str, &[&str], &str); 22] = [
    ("ASOF", &["JOIN"], ASOF),
    ("ASOF", &["LEFT"], ASOF),
    ("ASOF", &["RIGHT"], ASOF),
    ("ASOF", &["FULL"], ASOF),
    ("ASOF", &["INNER"], ASOF),
    (
        "POSITIONAL",
        &["JOIN"],
        "POSITIONAL JOIN is not supported: write JOIN .. USING (row), or over row_number() of both",
    ),
    (
        "MATCH_RECOGNIZE",
        &[],
        "MATCH_RECOGNIZE is not supported; windows with lag() and lead() see the rows around one",
    ),
    ("LATERAL", &["VIEW"], "LATERAL VIEW is not supported: write SELECT .., unnest(list)"),
    ("CONNECT", &["BY"], RECURSIVE),
    ("FOR", &["SYSTEM_TIME"], OF_STATE),
    ("VERSION", &["AS", "OF"], OF_STATE),
    ("TIMESTAMP", &["AS", "OF"], OF_STATE),
    ("AS", &["OF", "TIMESTAMP"], OF_STATE),
    ("USE", &["INDEX"], HINTS),
    ("FORCE", &["INDEX"], HINTS),
    ("IGNORE", &["INDEX"], HINTS),
    ("SELECT", &["AS", "STRUCT"], "SELECT AS STRUCT is not supported: write SELECT {'a': x.a, 'b': x.b}"),
    ("SELECT", &["AS", "VALUE"], "SELECT AS VALUE is not supported: write SELECT x"),
    ("MINUS", &["SELECT"], "MINUS is not supported: write EXCEPT"),
    (
        "SHOW",
        &["ALL", "TABLES"],
        "SHOW ALL TABLES is not supported: write SHOW TABLES, or SELECT * FROM gstore.datasets",
    ),
    (
        "DESCRIBE",
        &[],
        "DESCRIBE must be at the beginning of a statement; gstore.columns has the columns of datasets as rows",
    ),
    ("SUMMARIZE", &[], "SUMMARIZE must be at the beginning of a statement"),
];

const ASOF: &str = "ASOF JOIN is not supported: write a join with `<=` and QUALIFY row_number() OVER (PARTITION BY .. ORDER BY ..) = 1";

const RECURSIVE: &str = "CONNECT BY is not supported: write WITH RECURSIVE";

const HINTS: &str = "hints for tables and indexes are not supported: leave them out";

const OF_STATE: &str = "all tables of a query are read in one state of the store";

const EXCLUDED: &str = "EXCLUDE in the frame of a window is not supported: write a difference, as sum(x) OVER (..) - x without the row itself";
const TIES: &str = "WITH TIES is not supported: write QUALIFY rank() OVER (ORDER BY x) <= n";

const SHARE: &str = "LIMIT n% is not supported: write QUALIFY row_number() OVER (ORDER BY x) <= 0.1 * count(*) OVER (), or USING SAMPLE 10% for any rows";

/// Functions over the elements of a list, which take a function of two.
const OF_TWO: [&str; 2] = ["list_reduce", "array_reduce"];

/// Parts of times that the engine does not have.
const NO_PARTS: &str = "DECADE CENTURY MILLENNIUM ERA JULIAN YEARWEEK TIMEZONE TIMEZONE_HOUR \
    TIMEZONE_MINUTE";

/// Types that casts do not have, and what is said of each.
const TYPES: [(&str, &str); 2] = [
    (
        "STRUCT",
        "a cast to STRUCT(..) is not supported: write it field by field, {'a': x.a::INT, 'b': x.b::TEXT}, of JSON {'a': (x->>'a')::INT}",
    ),
    ("MAP", "there is no type MAP(..): a key of a JSON object is x->>'key', and json_keys(x) are all keys"),
];

/// Refuses such a form where it stands.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut before: Option<&TokenWithSpan> = None;
    for (i, token) in tokens.iter().enumerate() {
        if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
            continue;
        }
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && let Some(says) = refused(tokens, i, before)
        {
            let refused = error(says, token);
            return Err(if says == OF_STATE { of_state(refused) } else { refused });
        }
        if let Some(says) = of_sign(tokens, i, before) {
            return Err(error(says, token));
        }
        if let Some(part) = no_part(tokens, i) {
            return Err(wording::no_part(part).at_start_of(token));
        }
        if is_word(token, "INTERVAL") && !has_unit(tokens, i) {
            return Err(error(
                "INTERVAL takes a number and its unit: INTERVAL 3 DAY, INTERVAL '3 days'",
                token,
            ));
        }
        if is_word(token, "LIMIT") && is_share(tokens, i) {
            return Err(error(SHARE, token));
        }
        before = Some(token);
    }
    Ok(())
}

/// The part of a time that a token asks for by its call, where there is no such part.
fn no_part(tokens: &[TokenWithSpan], call: usize) -> Option<&str> {
    let name = tokens.get(call)?;
    if !is_any(name, &["EXTRACT", "DATE_PART", "DATEPART", "DATE_TRUNC", "DATETRUNC"]) {
        return None;
    }
    let (open, _) = next(tokens, call + 1).filter(|(_, token)| token.token == Token::LParen)?;
    let (at, token) = next(tokens, open + 1)?;
    let part = match &token.token {
        Token::Word(word) if next(tokens, at + 1).is_some_and(|(_, token)| is_word(token, "FROM")) => {
            &word.value
        }
        Token::SingleQuotedString(part) => part,
        _ => return None,
    };
    NO_PARTS.split(' ').any(|known| part.eq_ignore_ascii_case(known)).then_some(part.as_str())
}

/// Whether a unit follows where INTERVAL is followed by a number. A word that is none would be a heading, and
/// the number one of seconds.
fn has_unit(tokens: &[TokenWithSpan], interval: usize) -> bool {
    let Some((number, token)) = next(tokens, interval + 1) else { return true };
    if !matches!(token.token, Token::Number(..)) {
        return true;
    }
    next(tokens, number + 1).is_some_and(|(_, unit)| is_unit(unit))
}

/// Whether LIMIT is followed by a percentage, with nothing but the end of its query behind it: else it
/// is the rest of a division.
fn is_share(tokens: &[TokenWithSpan], limit: usize) -> bool {
    let Some((number, token)) = next(tokens, limit + 1) else { return false };
    let sign = next(tokens, number + 1).filter(|_| matches!(token.token, Token::Number(..)));
    let Some((sign, token)) = sign else { return false };
    let after = next(tokens, sign + 1).map(|(_, token)| token);
    match token.token {
        Token::Mod => after.is_none_or(ends_query),
        _ => is_word(token, "PERCENT"),
    }
}

/// Whether a token behind `LIMIT` and its number ends the query.
fn ends_query(token: &TokenWithSpan) -> bool {
    let words = ["OFFSET", "UNION", "EXCEPT", "INTERSECT"];
    matches!(token.token, Token::SemiColon | Token::RParen) || is_any(token, &words)
}

fn error(says: &str, token: &TokenWithSpan) -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, says.to_owned()).at_start_of(token)
}

/// The error about one table of another state.
fn of_state(error: SqlError) -> SqlError {
    let asked = Remedy::Option("snapshot", "N");
    error.hint(format!("that state is an option of the program that asks: {asked}"))
}

fn refused(tokens: &[TokenWithSpan], at: usize, before: Option<&TokenWithSpan>) -> Option<&'static str> {
    let token = tokens.get(at)?;
    let called = next(tokens, at + 1).is_some_and(|(_, after)| after.token == Token::LParen);
    if called && is_any(token, &OF_TWO) {
        return Some(
            "a function of two elements is not supported: write SELECT id, f(x) FROM (SELECT id, unnest(list) AS x FROM pool) GROUP BY id, with an \
             aggregate function f",
        );
    }
    if called && is_word(token, "COLUMNS") && is_lambda(tokens, at) {
        return Some(
            "COLUMNS takes no function of a name: COLUMNS('^to') has the columns whose names match a regular expression",
        );
    }
    let of_place = of_frame(tokens, at, before).or_else(|| of_type(tokens, at, before));
    if of_place.is_some() {
        return of_place;
    }
    // What AS gives is a name, unless it is a query.
    if before.is_some_and(|t| is_word(t, "AS")) && !is_word(token, "SELECT") {
        return None;
    }
    let (first, follow, says) = FORMS.into_iter().find(|(first, follow, _)| {
        let mut place = at;
        is_word(token, first)
            && follow.iter().all(|word| match next(tokens, place + 1) {
                Some((i, token)) if is_word(token, word) => {
                    place = i;
                    true
                }
                _ => false,
            })
    })?;
    if !follow.is_empty() {
        return Some(says);
    }
    // A column may have such a name: the form has something after it that a column has not.
    let after = next(tokens, at + 1).map(|(_, token)| &token.token);
    let named = before.is_none_or(|t| matches!(t.token, Token::Word(_) | Token::RParen | Token::LParen));
    let clause = named && !before.is_some_and(|t| is_word(t, "SELECT") || is_word(t, "BY"));
    match first {
        "DESCRIBE" | "SUMMARIZE" => {
            let inside = before.is_some_and(|t| t.token == Token::LParen);
            let of_column = next(tokens, at + 1).is_some_and(|(_, token)| is_any(token, &BEHIND_COLUMNS));
            let table = !of_column && matches!(after, Some(Token::Word(_) | Token::LParen));
            (inside && table).then_some(says)
        }
        _ if before.is_none() => Some(says),
        _ => (clause && matches!(after, Some(Token::LParen))).then_some(says),
    }
}

/// Whether a call begins with `lambda name:`.
fn is_lambda(tokens: &[TokenWithSpan], call: usize) -> bool {
    let open = next(tokens, call + 1).map(|(open, _)| open);
    let first = open.and_then(|open| next(tokens, open + 1)).filter(|(_, first)| is_word(first, "LAMBDA"));
    let name = first.and_then(|(first, _)| next(tokens, first + 1));
    name.is_some_and(|(_, name)| matches!(name.token, Token::Word(_)))
}

/// Words behind a column.
const BEHIND_COLUMNS: [&str; 13] =
    ["IS", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "AND", "OR", "SIMILAR", "COLLATE", "AS", "ASC", "DESC"];

/// `EXCLUDE` in the frame of a window, and `WITH TIES` behind a number of rows.
fn of_frame(tokens: &[TokenWithSpan], at: usize, before: Option<&TokenWithSpan>) -> Option<&'static str> {
    let token = tokens.get(at)?;
    let (_, after) = next(tokens, at + 1)?;
    let of_rows = before.is_some_and(|token| is_any(token, &["ROW", "ROWS", "PRECEDING", "FOLLOWING"]));
    if of_rows && is_word(token, "EXCLUDE") && is_any(after, &["CURRENT", "TIES", "GROUP", "NO"]) {
        return Some(EXCLUDED);
    }
    let of_limit = before.is_some_and(|token| matches!(token.token, Token::Number(..)));
    if (of_rows || of_limit) && is_word(token, "WITH") && is_word(after, "TIES") {
        return Some(TIES);
    }
    None
}

/// What is said of a word that is the type of a cast.
fn of_type(tokens: &[TokenWithSpan], at: usize, before: Option<&TokenWithSpan>) -> Option<&'static str> {
    let is_type = before.is_some_and(|token| token.token == Token::DoubleColon || is_word(token, "AS"));
    let (_, after) = next(tokens, at + 1).filter(|_| is_type)?;
    let token = tokens.get(at).filter(|_| after.token == Token::LParen)?;
    TYPES.iter().find(|(name, _)| is_word(token, name)).map(|(_, says)| *says)
}

/// What is said of operators and clauses of others that stand behind a value or `*`.
fn of_sign(tokens: &[TokenWithSpan], at: usize, before: Option<&TokenWithSpan>) -> Option<&'static str> {
    let (token, before) = (tokens.get(at)?, before?);
    let is_at = match &token.token {
        Token::AtSign => true,
        Token::Word(word) => word.quote_style.is_none() && word.value.starts_with('@'),
        _ => false,
    };
    if is_at {
        return Some("@x is not supported: write abs(x), or $x for a parameter");
    }
    let is_factorial = matches!(before.token, Token::Number(..) | Token::RParen);
    if is_factorial && token.token == Token::ExclamationMark {
        return Some("x! is written factorial(x)");
    }
    let is_text = |token: &TokenWithSpan| matches!(token.token, Token::SingleQuotedString(_));
    if is_text(before) && is_text(token) {
        return Some("two texts follow each other: 'a' || 'b' joins them, 'a' AS b names the first");
    }
    let (_, after) = next(tokens, at + 1)?;
    let is_name_like = is_any(token, &["LIKE", "ILIKE", "GLOB"]);
    if before.token == Token::Mul && is_name_like && is_text(after) {
        return Some("* LIKE 's%' is not supported: write COLUMNS('^s'), with a regular expression");
    }
    let is_pattern = matches!(after.token, Token::SingleQuotedString(_) | Token::Placeholder(_));
    let is_operator = is_any(token, &["RLIKE", "REGEXP"]);
    (is_operator && is_pattern)
        .then_some("x RLIKE 'pattern' is not supported: write x ~ 'pattern', or x !~ 'pattern' for NOT RLIKE")
}
