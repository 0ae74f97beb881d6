//! Forms in which an error makes the parser begin again.
//!
//! `CAST(..)` may be a cast or a call of a function of that name: the parser tries the one and then the other,
//! and does so at each level within. An error that stands in twenty of them is read a million times.
//!
//! Invariants
//! - a form counts for as many tries as the parser has for it, whether or not there is an error in it
//! - where it is unclear how far a form goes, it goes further

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{closes, is_any, is_one_of, is_word};
use crate::error::SqlError;
use crate::translate::nested_too_deeply;

/// Most brackets and CASEs in one another. The parser goes down fewer levels, but goes down the brackets of types
/// without counting them.
const MAX_DEPTH: usize = 64;
/// Most tokens read, about a second of them.
const MAX_READ: u64 = 1 << 22;
/// How often each token may be read in any statement, also in one with a long list: in one of the greatest
/// length twice as many are read.
const TIMES: u64 = 1 << 3;

/// Words whose brackets are read again as those of a function, or of a list.
const TWICE: &str = "ARRAY CAST CEIL CONVERT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP EXTRACT FLOOR IN LOCALTIME \
    LOCALTIMESTAMP OVERLAY SAFE_CAST SUBSTR SUBSTRING TRY_CAST TRY_CONVERT";
/// Words behind which a bracket is a table.
const BEFORE_TABLES: [&str; 4] = ["APPLY", "FROM", "JOIN", "LATERAL"];
/// Types behind which others stand between `<` and `>`.
const TYPES_OF_TYPES: [&str; 2] = ["ARRAY", "STRUCT"];
/// Words behind which a value is still to come.
const BEFORE_VALUES: &str = "AND BETWEEN CASE COLLATE DISTINCT DIV FROM GLOB ILIKE IN INTERVAL IS LIKE MATCH NOT OF \
    OPERATOR OR OVERLAPS PRIOR REGEXP RLIKE SIMILAR TO XOR ZONE";
/// Words that end the operand of a word before them, behind a value.
const AFTER_OPERANDS: &str = "AND ELSE FROM GROUP HAVING JOIN LIMIT ON OR ORDER SELECT THEN UNION WHEN WHERE";
/// Words behind which the tables of a query end.
const AFTER_TABLES: &str = "GROUP HAVING LIMIT ORDER QUALIFY SELECT UNION VALUES WHERE";

/// What stands in one pair of brackets, or in one CASE.
struct Level<'a> {
    is_case: bool,
    /// How often it is read.
    times: u64,
    /// How many times as often the words and the dots before a token make the parser read it.
    words: u64,
    dots: u64,
    /// Words that would end an operand elsewhere, and do not here.
    held: usize,
    /// Whether a bracket behind a comma is a table.
    tables: bool,
    before: Option<&'a TokenWithSpan>,
    /// The last form around that is read again.
    form: Option<&'a TokenWithSpan>,
}

impl<'a> Level<'a> {
    fn new(is_case: bool, times: u64, form: Option<&'a TokenWithSpan>) -> Self {
        Self { is_case, times, words: 1, dots: 1, held: 0, tables: false, before: None, form }
    }

    /// How often the next token is read.
    fn read(&self) -> u64 {
        self.times.saturating_mul(self.words).saturating_mul(self.dots)
    }

    fn follows_value(&self) -> bool {
        self.before.is_some_and(ends_value)
    }

    /// Whether a bracket that opens here is a table.
    fn is_table(&self) -> bool {
        self.before.map_or(self.tables, |before| {
            is_any(before, &BEFORE_TABLES) || (self.tables && before.token == Token::Comma)
        })
    }

    /// Takes account of a token that opens nothing and closes nothing, or of what it opens.
    fn take(&mut self, token: &'a TokenWithSpan, behind: Option<&TokenWithSpan>) {
        let follows_value = self.follows_value();
        if token.token == Token::Comma {
            (self.words, self.dots, self.held) = (1, 1, 0);
        } else if follows_value && !matches!(token.token, Token::Period | Token::LParen | Token::LBracket) {
            self.dots = 1;
        }
        if !matches!(token.token, Token::Word(_) | Token::Period | Token::Assignment) {
            return;
        }
        if follows_value && is_one_of(token, AFTER_OPERANDS) {
            match self.held.checked_sub(1) {
                Some(held) => self.held = held,
                None => self.words = 1,
            }
        }
        let (words, dots) = match &token.token {
            Token::Period => (1, 2),
            // A named argument is then read as a comparison.
            Token::Assignment => (2, 1),
            _ if is_one_of(token, "NOT PRIOR") => (2, 1),
            // What follows is read as that of a type, of an interval, and of a named argument.
            _ if is_word(token, "INTERVAL") && !behind.is_some_and(is_literal) => (3, 1),
            _ => (1, 1),
        };
        self.words = self.words.saturating_mul(words);
        self.dots = self.dots.saturating_mul(dots);
        if words > 1 || dots > 1 {
            self.form = Some(token);
        }
        // What a name of an argument has is all up to the comma, and `NOT VALUE` may begin with such a name.
        let names_argument = token.token == Token::Assignment
            || (is_word(token, "VALUE") && self.before.is_some_and(|b| is_one_of(b, "NOT PRIOR INTERVAL")));
        self.held = match names_argument {
            true => usize::MAX,
            false => self.held.saturating_add(usize::from(is_one_of(token, "BETWEEN OPERATOR"))),
        };
        let is_name = self.before.is_some_and(|b| is_any(b, &BEFORE_TABLES) || b.token == Token::Comma);
        if is_word(token, "FROM") {
            self.tables = true;
        } else if !is_name && is_one_of(token, AFTER_TABLES) {
            self.tables = false;
        }
    }

    /// What a bracket opens here, which this token is.
    fn bracket(&self, token: &'a TokenWithSpan) -> Self {
        let is_table = token.token == Token::LParen && self.is_table();
        let named = self.before.filter(|_| token.token != Token::LBrace);
        let (times, form) = match named {
            _ if is_table => (2, Some(token)),
            Some(word) if is_word(word, "POSITION") => (3, Some(word)),
            Some(word) if is_one_of(word, TWICE) => (2, Some(word)),
            _ => (1, self.form),
        };
        Self { tables: is_table, ..Self::new(false, self.read().saturating_mul(times), form) }
    }

    fn case(&self, token: &'a TokenWithSpan, behind: Option<&TokenWithSpan>) -> Self {
        let (times, form) = match behind {
            Some(behind) if is_word(behind, "WHEN") => (1, self.form),
            _ => (2, Some(token)),
        };
        Self::new(true, self.read().saturating_mul(times), form)
    }
}

/// Refuses a statement whose brackets stand in one another too deeply. What puts forms into other words looks
/// for the ends of brackets from each of those around, and the parser reads what is behind `ARRAY<` as a type
/// before anything else, at each of those in one another. Only a word begins a type: `array < 1` compares a
/// column.
pub(super) fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let (mut depth, mut types) = (0usize, 0usize);
    let mut before = None;
    let written = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    let mut written = tokens.iter().filter(written).peekable();
    while let Some(token) = written.next() {
        let is_word_behind = written.peek().is_some_and(|behind| matches!(behind.token, Token::Word(_)));
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::Lt if is_word_behind && before.is_some_and(|b| is_any(b, &TYPES_OF_TYPES)) => types += 1,
            Token::Gt => types = types.saturating_sub(1),
            Token::ShiftRight => types = types.saturating_sub(2),
            _ if closes(token) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth.max(types) >= MAX_DEPTH {
            return Err(nested_too_deeply());
        }
        before = Some(token);
    }
    Ok(())
}

/// Refuses a statement that the parser would read too often.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut levels = vec![Level::new(false, 1, None)];
    let mut read = 0u64;
    let most = MAX_READ.max(TIMES.saturating_mul(tokens.len() as u64));
    let written = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    let mut written = tokens.iter().filter(written).peekable();
    while let Some(token) = written.next() {
        let behind = written.peek().copied();
        if closes(token) {
            close(&mut levels, |level| !level.is_case);
        } else if is_word(token, "END") && levels.last().is_some_and(|l| l.is_case && l.follows_value()) {
            close(&mut levels, |level| level.is_case);
        } else if let Some(level) = levels.last_mut() {
            level.take(token, behind);
        }
        let Some(level) = levels.last_mut() else { break };
        read = read.saturating_add(level.read());
        if read > most {
            return Err(refused(level.form.unwrap_or(token)));
        }
        let opened = match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => Some(level.bracket(token)),
            _ if is_word(token, "CASE") => Some(level.case(token, behind)),
            _ => None,
        };
        level.before = Some(token);
        levels.extend(opened);
        if levels.len() > MAX_DEPTH {
            return Err(nested_too_deeply());
        }
    }
    Ok(())
}

/// Closes the last level of a kind, with those in it, and never the outermost.
fn close(levels: &mut Vec<Level<'_>>, is_kind: impl Fn(&Level<'_>) -> bool) {
    while levels.len() > 1 {
        if levels.pop().is_some_and(|level| is_kind(&level)) {
            break;
        }
    }
}

fn is_literal(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Number(..) | Token::SingleQuotedString(_))
}

fn ends_value(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(_) => !is_one_of(token, BEFORE_VALUES),
        Token::RParen | Token::RBracket | Token::RBrace => true,
        _ => is_literal(token),
    }
}

fn refused(form: &TokenWithSpan) -> SqlError {
    let name = match &form.token {
        Token::Word(word) => word.value.to_uppercase(),
        Token::LParen => "tables in brackets".to_owned(),
        _ => "names with dots".to_owned(),
    };
    let place = form.span.start;
    SqlError::refused(format!(
        "the statement is nested too deeply: in {name} and around it are forms that are read again at each level"
    ))
    .hint("make what is within a column of WITH, and write its name")
    .at((place.line, place.column))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::dialect::grammar::Grammar;
    use crate::dialect::parse;

    fn checked(sql: &str) -> Result<(), SqlError> {
        let tokens = Tokenizer::new(&Grammar, sql).tokenize_with_location().unwrap();
        check_depth(&tokens)?;
        check(&tokens)
    }

    /// The beginnings and ends of forms that are read again.
    const FORMS: [(&str, &str); 34] = [
        ("CAST(", " AS INT)"),
        ("TRY_CAST(", " AS INT)"),
        ("SAFE_CAST(", " AS INT)"),
        ("convert(", ", INT)"),
        ("TRY_CONVERT(", ", INT)"),
        ("substring(", ")"),
        ("substr(", ", 1)"),
        ("overlay(", " PLACING 'a' FROM 1)"),
        ("position(", " IN 'a')"),
        ("extract(year FROM ", ")"),
        ("ceil(", ")"),
        ("floor (", ")"),
        ("current_timestamp(", ")"),
        ("ARRAY[", "]"),
        ("ARRAY(SELECT ", ")"),
        ("NOT (", ")"),
        ("NOT [", "]"),
        ("NOT -(", ")"),
        ("NOT LIKE (", ")"),
        ("NOT (1) = (", ")"),
        ("NOT (1) BETWEEN 2 AND (", ")"),
        ("NOT (1) IS DISTINCT FROM (", ")"),
        ("f(NOT VALUE -(", "))"),
        ("f(NOT VALUE -x AND (", "))"),
        ("f(a := (", "))"),
        ("f(a := 1 AND (", "))"),
        ("CASE (", ") WHEN 1 THEN 1 END"),
        ("CASE - end - (", ") WHEN 1 THEN 1 END"),
        ("INTERVAL ", ""),
        ("INTERVAL -SELECT(", ")"),
        ("a.", ""),
        ("1 IN (", ")"),
        ("(SELECT 1 FROM (SELECT ", "))"),
        ("(FROM ((SELECT ", ") a JOIN b))"),
    ];

    #[test]
    fn what_is_nested_in_forms_that_are_read_again_is_refused_or_read_at_once() {
        for (start, end) in FORMS {
            for within in ["1", "1 1", "-", "", "(SELECT", "x[1 1]"] {
                let sql = format!("SELECT {}{within}{}", start.repeat(60), end.repeat(60));
                let error = checked(&sql).expect_err(&sql).to_string();
                assert!(error.contains("nested too deeply"), "{sql}: {error}");
                assert!(parse(&sql).is_err(), "{sql}");
            }
        }
        for (start, end) in [("(", ")"), ("f(", ")"), ("[", "]"), ("trim(", ")"), ("exists(SELECT ", ")")] {
            for within in ["1", "1 1", "-", ""] {
                let sql = format!("SELECT {}{within}{}", start.repeat(60), end.repeat(60));
                assert!(parse(&sql).is_err(), "{sql}");
            }
        }
        // The brackets of types are not counted by the parser.
        for types in [
            format!("SELECT CAST(1 AS {}INT{})", "NULLABLE(".repeat(5_000), ")".repeat(5_000)),
            format!("SELECT {}INT", "ARRAY<".repeat(600)),
            format!("SELECT CAST(1 AS {}a INT", "STRUCT < ".repeat(600)),
        ] {
            assert!(parse(&types).expect_err("deep").to_string().contains("nested too deeply"), "{types}");
        }
    }

    #[test]
    fn tables_in_brackets_are_refused_or_read_at_once() {
        for (start, end) in
            [("(", ")"), ("((", ") a JOIN b)"), ("((SELECT * FROM ", ") a JOIN b)"), ("(FROM ", ")")]
        {
            for within in ["t", "t 1", "(SELECT 1 1)", ""] {
                let sql = format!("SELECT * FROM {}{within}{}", start.repeat(60), end.repeat(60));
                assert!(parse(&sql).is_err(), "{sql}");
            }
        }
    }

    #[test]
    fn what_people_write_is_read() {
        let casts = format!("SELECT {}x{} FROM t", "CAST(".repeat(10), " AS INT)".repeat(10));
        let list = vec!["1"; 250_000].join(",");
        let chain = |term: &str, by: &str| vec![term; 200].join(by);
        for sql in [
            casts.clone(),
            vec![casts; 30].join(" UNION ALL "),
            format!("SELECT x FROM t WHERE NOT (x NOT IN ({list}))"),
            format!("SELECT x FROM t WHERE {}", chain("NOT (x) = 1", " AND ")),
            format!("SELECT x FROM t WHERE {}", chain("x NOT BETWEEN 1 AND 2", " OR ")),
            format!("SELECT x FROM t WHERE {}", chain("array < 1", " OR ")),
            format!("SELECT {}", chain("NOT struct < -1", ", ")),
            format!("SELECT {}", chain("a.b.c + d.e", ", ")),
            format!("SELECT x + {}", chain("INTERVAL '1' DAY", " + ")),
            format!("SELECT {}", chain("CAST(x AS ARRAY<ARRAY<INT>>)", ", ")),
            chain("SELECT CASE WHEN NOT x THEN 1 ELSE 2 END FROM (SELECT 1) WHERE NOT x", " UNION ALL "),
            format!("SELECT {}1{}", "CASE WHEN NOT x THEN ".repeat(40), " END".repeat(40)),
            format!("SELECT * FROM (VALUES {})", chain("(1, (2))", ", ")),
        ] {
            let start: String = sql.chars().take(100).collect();
            assert!(checked(&sql).is_ok(), "{start}");
        }
    }

    #[test]
    fn the_form_and_its_place_are_told() {
        let sql = format!("SELECT\n  {}x{}", "CAST(".repeat(30), " AS INT)".repeat(30));
        let error = checked(&sql).expect_err("30 casts").to_string();
        assert!(error.contains("in CAST and around it") && error.contains("column of WITH"), "{error}");
        for (sql, name) in [
            (format!("SELECT * FROM {}t", "(".repeat(30)), "tables in brackets"),
            (format!("SELECT {}a", "a.".repeat(30)), "names with dots"),
        ] {
            let error = checked(&sql).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn each_form_multiplies_what_is_read() {
        // The last of a nesting that passes, by how much each form multiplies.
        for (start, passes) in [("CAST(", 20), ("position(", 13), ("1 IN (", 20), ("a.", 20), ("f(", 60)] {
            let nested = |levels: usize| checked(&format!("SELECT {}1", start.repeat(levels)));
            assert!(nested(passes - 2).is_ok(), "{start}");
            assert!(nested(passes + 4).is_err(), "{start}");
        }
    }
}
