//! A sample as it is written, put behind the table that it is of.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::dialect::tokens::{is, is_word, last_before, made, next};
use crate::error::{SqlError, SqlErrorKind};
use crate::guard::{MAX_RELATIONS, check_count};

/// Words that end the FROM of a query.
const AFTER_FROM: [Keyword; 14] = [
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::WINDOW,
    Keyword::QUALIFY,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::SELECT,
    Keyword::USING,
];

/// A sample as it was written: how much, and from which number on.
struct SampleClause {
    amount: String,
    percent: bool,
    seed: Option<String>,
    /// One past its last token.
    end: usize,
}

/// The tokens with each sample as `TABLESAMPLE (n ROWS|PERCENT) REPEATABLE (seed)` behind the table that it
/// is of.
///
/// # Errors
/// A sample that is written in another way, and more of them than a statement may have tables.
pub(in crate::dialect) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let (mut from, mut samples) = (0, 0);
    while let Some((at, token)) = next(&tokens, from) {
        from = at + 1;
        let (span, is_behind_table) = (token.span, is(token, Keyword::TABLESAMPLE));
        let using =
            next(&tokens, from).filter(|(_, word)| is(token, Keyword::USING) && is_word(word, "SAMPLE"));
        let using = using.map(|(sample, _)| sample + 1);
        let Some(begin) = using.or_else(|| is_behind_table.then_some(from)) else { continue };
        // Each is of a table, and moves all that follows it.
        samples += 1;
        check_count(samples, MAX_RELATIONS, "samples")?;
        let clause = clause(&tokens, begin, span)?;
        let made = written(&clause, span);
        from = at + made.len();
        if is_behind_table {
            drop(tokens.splice(at..clause.end, made));
        } else {
            let table = table(&tokens, at, span)?;
            drop(tokens.drain(at..clause.end));
            drop(tokens.splice(table..table, made));
        }
    }
    Ok(tokens)
}

fn written(clause: &SampleClause, span: Span) -> Vec<TokenWithSpan> {
    let unit = if clause.percent { "PERCENT" } else { "ROWS" };
    let mut words = vec!["TABLESAMPLE", "(", clause.amount.as_str(), unit, ")"];
    if let Some(seed) = &clause.seed {
        words.extend(["REPEATABLE", "(", seed.as_str(), ")"]);
    }
    let mut made = made(&words, span);
    let space = Token::Whitespace(datafusion::sql::sqlparser::tokenizer::Whitespace::Space);
    made.insert(0, TokenWithSpan { token: space, span });
    made
}

/// Where the only table of the query that `USING SAMPLE` ends stands: one past its last token.
fn table(tokens: &[TokenWithSpan], using: usize, span: Span) -> Result<usize, SqlError> {
    let mut depth = 0i64;
    let begun = (0..using).rev().find(|i| {
        let Some(token) = tokens.get(*i) else { return false };
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        let differs = || last_before(tokens, *i).is_some_and(|before| is(before, Keyword::DISTINCT));
        depth == 0 && is(token, Keyword::FROM) && !differs()
    });
    let begun = begun.ok_or_else(|| wrong("USING SAMPLE must follow the tables of a query", span))?;
    let (mut depth, mut end) = (0i64, begun + 1);
    for (i, token) in tokens.iter().enumerate().take(using).skip(begun + 1) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Whitespace(_) => continue,
            _ => {}
        }
        if depth == 0 && AFTER_FROM.iter().any(|word| is(token, *word)) {
            break;
        }
        if depth == 0 && (token.token == Token::Comma || is(token, Keyword::JOIN)) {
            let why =
                "USING SAMPLE of several tables: write TABLESAMPLE (n ROWS) after the one that is meant";
            return Err(wrong(why, span));
        }
        end = i + 1;
    }
    Ok(end)
}

/// `10`, `10 ROWS`, `10%`, `10 PERCENT`, in parentheses or not, after the name of a method or not, and then
/// `(method, seed)` or `REPEATABLE (seed)`.
fn clause(tokens: &[TokenWithSpan], from: usize, span: Span) -> Result<SampleClause, SqlError> {
    let no_amount = || wrong("write a sample as 10 ROWS, 10% or reservoir(10 ROWS) REPEATABLE (42)", span);
    let mut at = TokenReader { tokens, at: from };
    // These two take each row with a probability, so a number alone is that.
    let by_row = ["BERNOULLI", "SYSTEM"].into_iter().any(|method| at.word(method));
    if !by_row {
        at.word("RESERVOIR");
    }
    let inside = at.sign(&Token::LParen);
    let amount = at.number().ok_or_else(no_amount)?;
    let rows = at.word("ROWS") || at.word("ROW");
    let percent = at.sign(&Token::Mod) || at.word("PERCENT") || (by_row && !rows);
    let mut seed = if inside && at.sign(&Token::Comma) { at.number() } else { None };
    if inside && !at.sign(&Token::RParen) {
        return Err(no_amount());
    }
    let before = at.at;
    if !inside && at.sign(&Token::LParen) {
        at.skip_word();
        if at.sign(&Token::Comma) {
            seed = at.number();
        }
        if !at.sign(&Token::RParen) {
            at.at = before;
        }
    }
    if at.word("REPEATABLE") || at.word("SEED") {
        let opened = at.sign(&Token::LParen);
        seed = at.number();
        if seed.is_none() || (opened && !at.sign(&Token::RParen)) {
            return Err(wrong("write the seed of a sample as REPEATABLE (42)", span));
        }
    }
    Ok(SampleClause { amount, percent, seed, end: at.at })
}

/// Reads tokens one after the other, past white space.
struct TokenReader<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl TokenReader<'_> {
    fn take(&mut self, fits: impl Fn(&TokenWithSpan) -> bool) -> bool {
        match next(self.tokens, self.at).filter(|(_, token)| fits(token)) {
            Some((i, _)) => {
                self.at = i + 1;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.take(|token| is_word(token, word))
    }

    fn sign(&mut self, sign: &Token) -> bool {
        self.take(|token| token.token == *sign)
    }

    fn skip_word(&mut self) {
        self.take(|token| matches!(token.token, Token::Word(_)));
    }

    fn number(&mut self) -> Option<String> {
        let (i, token) = next(self.tokens, self.at)?;
        let Token::Number(digits, _) = &token.token else { return None };
        self.at = i + 1;
        Some(digits.to_string())
    }
}

fn wrong(why: &str, span: Span) -> SqlError {
    SqlError::new(SqlErrorKind::Syntax, why.to_owned()).at((span.start.line, span.start.column))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::dialect::grammar::Grammar;

    fn rewritten(sql: &str) -> Result<String, SqlError> {
        let found = Tokenizer::new(&Grammar, sql).tokenize_with_location().unwrap();
        let text: String = tokens(found)?.iter().map(|token| token.token.to_string()).collect();
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn samples_go_behind_their_tables() {
        for (sql, expected) in [
            ("SELECT * FROM t USING SAMPLE 5", "SELECT * FROM t TABLESAMPLE ( 5 ROWS )"),
            (
                "SELECT a FROM t x WHERE a > 1 USING SAMPLE 10%",
                "SELECT a FROM t x TABLESAMPLE ( 10 PERCENT ) WHERE a > 1",
            ),
            (
                "FROM f('a', k => 2) USING SAMPLE reservoir(5 ROWS) REPEATABLE (7)",
                "FROM f('a', k => 2) TABLESAMPLE ( 5 ROWS ) REPEATABLE ( 7 )",
            ),
            (
                "SELECT * FROM t TABLESAMPLE BERNOULLI (20) LIMIT 3",
                "SELECT * FROM t TABLESAMPLE ( 20 PERCENT ) LIMIT 3",
            ),
            ("SELECT * FROM t TABLESAMPLE 1.5%", "SELECT * FROM t TABLESAMPLE ( 1.5 PERCENT )"),
            (
                "SELECT * FROM t USING SAMPLE 10 PERCENT (bernoulli, 42)",
                "SELECT * FROM t TABLESAMPLE ( 10 PERCENT ) REPEATABLE ( 42 )",
            ),
            (
                "SELECT (SELECT 1 FROM u) FROM t USING SAMPLE 1",
                "SELECT (SELECT 1 FROM u) FROM t TABLESAMPLE ( 1 ROWS )",
            ),
            (
                "SELECT * FROM t WHERE a IS DISTINCT FROM b USING SAMPLE 1",
                "SELECT * FROM t TABLESAMPLE ( 1 ROWS ) WHERE a IS DISTINCT FROM b",
            ),
            ("SELECT * FROM a JOIN b USING (row)", "SELECT * FROM a JOIN b USING (row)"),
        ] {
            assert_eq!(rewritten(sql).unwrap(), expected, "{sql}");
        }
        for sql in
            ["SELECT * FROM a, b USING SAMPLE 5", "SELECT * FROM t USING SAMPLE x", "SELECT 1 USING SAMPLE 1"]
        {
            assert!(rewritten(sql).is_err(), "{sql}");
        }
    }
}
