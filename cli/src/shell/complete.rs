//! Completion of SQL: what may stand where the cursor is.

use super::call::{as_value, call, options, values};
use super::lexer::{Token, TokenKind, pieces};
use super::relations::{Relation, any_column, relations, shown_table};
use super::words::{CompletionNames, KEYWORDS, is_keyword, is_one_of};

/// Keywords behind which a relation stands.
const BEFORE_RELATIONS: [&str; 4] = ["FROM", "JOIN", "DESCRIBE", "SUMMARIZE"];

/// Keywords that statements begin with.
const BEGIN: [&str; 7] = ["DESCRIBE", "EXPLAIN", "SELECT", "SHOW", "SUMMARIZE", "VALUES", "WITH"];

/// Keywords that end what they are of, as the name of a column does.
const ENDS: [&str; 8] = ["ALL", "ASC", "DESC", "END", "FALSE", "NULL", "TABLES", "TRUE"];

/// Keywords of CASE.
const OF_CASE: [&str; 4] = ["ELSE", "END", "THEN", "WHEN"];

/// Where a word begins that is being typed, and what it may become.
pub fn complete(words: &CompletionNames, line: &str, at: usize) -> (usize, Vec<String>) {
    let before = &line[..at];
    let all = pieces(before);
    let begin = all.iter().rposition(|piece| piece.kind == TokenKind::End).map_or(0, |end| end + 1);
    let mut head = &all[begin..];
    let typed = match head.split_last() {
        Some((last, _)) if last.kind == TokenKind::Comment && !last.closed => return (at, Vec::new()),
        Some((last, rest)) if !last.closed || last.to == at && last.kind == TokenKind::Word => {
            head = rest;
            Some(*last)
        }
        _ => None,
    };
    let from = typed.map_or(at, |piece| piece.from);
    if let Some(text) = typed.filter(|piece| piece.kind == TokenKind::Text) {
        // A list in one text has its names between commas.
        let inside = text.from + 1;
        let from = before[inside..].rfind(',').map_or(inside, |comma| inside + comma + 1);
        let values = call(line, head).map_or_else(Vec::new, |call| values(words, line, &call));
        return (from, matching(values, before[from..].trim_start()));
    }
    if typed.is_some_and(|piece| piece.kind == TokenKind::Name) {
        // What stands behind the cursor is not part of the name.
        let behind = &line[at..];
        let is_closed = behind.starts_with('"');
        let closed = if is_closed { line.to_owned() } else { format!("{before}\"{behind}") };
        let mut found = matching(quoted(words, &closed, head), &before[from..]);
        if is_closed {
            found.iter_mut().for_each(|name| name.truncate(name.len() - 1));
        }
        return (from, found);
    }
    let found = names(words, line, head, &before[from..]);
    (from, matching(found, &before[from..]))
}

/// What begins as typed, whatever its case and with or without its quotes, in order and once.
fn matching(mut candidates: Vec<String>, typed: &str) -> Vec<String> {
    let begins = |text: &String| {
        let quotes = ['"', '\''];
        let unquoted = text.strip_prefix(quotes).filter(|_| !typed.starts_with(quotes));
        let name = unquoted.unwrap_or(text);
        name.get(..typed.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(typed)) && text != typed
    };
    candidates.retain(begins);
    let mut seen = std::collections::HashSet::new();
    candidates.retain(|text| seen.insert(text.clone()));
    candidates
}

/// What may stand outside of a text.
fn names(words: &CompletionNames, line: &str, head: &[Token], typed: &str) -> Vec<String> {
    let texts: Vec<&str> = head.iter().map(|piece| piece.of(line)).collect();
    if let [.., of, "."] = texts.as_slice() {
        return members(words, line, of);
    }
    if let Some(call) = call(line, head) {
        let asked = values(words, line, &call);
        let mut found: Vec<String> = asked.iter().map(|value| as_value(value, &call)).collect();
        if call.option.is_none() && (call.position > 0 || !typed.is_empty()) {
            found.extend(options(&call).map(|name| format!("{name} => ")));
        }
        return found;
    }
    if is_before_relation(line, head) {
        let tables = words.tables.iter().map(|table| shown_table(&table.name));
        let functions = gstore_sql::table_functions().map(|function| format!("{}(", function.name));
        return tables.chain(functions).collect();
    }
    let lower = typed.chars().next().is_some_and(char::is_lowercase);
    let keyword = |word: &&str| if lower { word.to_lowercase() } else { (*word).to_owned() };
    if head.is_empty() {
        return BEGIN.iter().map(keyword).collect();
    }
    // Behind a value or a table stands no other one.
    if !typed.is_empty() && is_whole(line, head) {
        let in_case = texts.iter().any(|text| text.eq_ignore_ascii_case("CASE"));
        return KEYWORDS.iter().filter(|word| in_case || !OF_CASE.contains(word)).map(keyword).collect();
    }
    let mut found = columns(words, line, head);
    found.extend(words.functions.iter().map(|function| format!("{function}(")));
    found.extend(KEYWORDS.iter().map(keyword));
    found.extend(words.tables.iter().map(|table| shown_table(&table.name)));
    found
}

/// Whether a relation stands behind a text: one that ends with a keyword before relations, or with a comma
/// between them.
fn is_before_relation(line: &str, head: &[Token]) -> bool {
    let Some((last, before)) = head.split_last() else { return false };
    if last.of(line) != "," {
        return is_one_of(last.of(line), &BEFORE_RELATIONS);
    }
    let mut depth = 0usize;
    for piece in before.iter().rev() {
        match piece.of(line) {
            ")" | "]" => depth += 1,
            "(" | "[" if depth == 0 => return false,
            "(" | "[" => depth -= 1,
            word if depth == 0 && is_one_of(word, &BEFORE_RELATIONS) => return true,
            // Between the keyword and the comma stand only tables and their names.
            word if depth == 0 && !word.eq_ignore_ascii_case("AS") && is_keyword(word) => return false,
            _ => {}
        }
    }
    false
}

/// Whether a text ends with a value or a table, which only a keyword can follow, or a name of one's own.
fn is_whole(line: &str, head: &[Token]) -> bool {
    let Some((last, before)) = head.split_last() else { return false };
    match (last.kind, last.of(line)) {
        (TokenKind::Name | TokenKind::Text | TokenKind::Number, _) | (TokenKind::Sign, ")" | "]") => true,
        (TokenKind::Word, word) => !is_keyword(word) || is_one_of(word, &ENDS),
        // All columns, and not a product.
        (TokenKind::Sign, "*") => {
            before.last().is_some_and(|piece| is_one_of(piece.of(line), &["SELECT", "DISTINCT", ".", ","]))
        }
        _ => false,
    }
}

/// The columns of the statement's relations.
fn columns(words: &CompletionNames, line: &str, head: &[Token]) -> Vec<String> {
    match relations(words, line) {
        // The columns are often typed before what they are of.
        none if none.is_empty() && !head.is_empty() => any_column(words),
        some => some.into_iter().flat_map(|relation| relation.columns).collect(),
    }
}

/// The names that may stand in double quotes, all of them in quotes.
fn quoted(words: &CompletionNames, line: &str, head: &[Token]) -> Vec<String> {
    let texts: Vec<&str> = head.iter().map(|piece| piece.of(line)).collect();
    let tables = words.tables.iter().map(|table| shown_table(&table.name));
    let found: Vec<String> = match texts.as_slice() {
        [.., of, "."] => members(words, line, of),
        _ if is_before_relation(line, head) => tables.collect(),
        _ => columns(words, line, head).into_iter().chain(tables).collect(),
    };
    let in_quotes = |name: String| if name.starts_with('"') { name } else { format!("\"{name}\"") };
    // A schema has quotes of its own.
    let is_one = |name: &String| name.starts_with('"') || !name.contains('.');
    found.into_iter().filter(is_one).map(in_quotes).collect()
}

/// Columns of what stands before a dot, or the tables of a schema.
fn members(words: &CompletionNames, line: &str, of: &str) -> Vec<String> {
    let of = of.trim_matches('"');
    let schema = format!("{of}.");
    let tables = words.tables.iter().filter_map(|table| table.name.strip_prefix(&schema));
    let mut found: Vec<String> = tables.map(str::to_owned).collect();
    let named = |relation: &Relation| {
        relation.alias.as_deref().unwrap_or(&relation.name).eq_ignore_ascii_case(of) || relation.name == of
    };
    found.extend(relations(words, line).into_iter().filter(named).flat_map(|relation| relation.columns));
    found
}

#[cfg(test)]
mod tests {
    use gstore_sql::virtual_columns;

    use super::super::words::CompletionTable;
    use super::*;

    fn words() -> CompletionNames {
        let table = |name: &str, columns: &[&str]| CompletionTable {
            name: name.to_owned(),
            is_dataset: !name.contains('.'),
            columns: columns.iter().map(|name| ((*name).to_owned(), "Utf8".to_owned())).collect(),
        };
        CompletionNames {
            tables: vec![
                table("pool", &["row", "id", "source", "Topic Name", "record"]),
                table("gsm8k", &["row", "id"]),
                table("gstore.features", &["label", "state"]),
                table("gstore.columns", &["dataset"]),
            ],
            functions: vec!["avg".into(), "count".into()],
            features: vec![("pool".into(), "loss@c1".into()), ("gsm8k".into(), "grad-sgd@c1".into())],
            checkpoints: vec!["c1".into(), "c2".into()],
            runs: vec!["warmup".into()],
        }
    }

    /// The line with a bar for the cursor, what is replaced, and what is offered.
    fn check(line: &str, replaced: &str, offered: &[&str]) {
        let at = line.find('|').expect("a cursor");
        let line = line.replacen('|', "", 1);
        let (from, found) = complete(&words(), &line, at);
        assert_eq!(
            (&line[from..at], found.iter().map(String::as_str).collect::<Vec<_>>()),
            (replaced, offered.to_vec())
        );
    }

    #[test]
    fn relations_columns_and_keywords() {
        check("SELECT * FROM po|", "po", &["pool"]);
        check("SELECT * FROM infl|", "infl", &["influence("]);
        check("SELECT * FROM gstore.|", "", &["features", "columns"]);
        check("SELECT * FROM gst|", "gst", &["gstore.features", "gstore.columns"]);
        check("SELECT sou| FROM pool", "sou", &["source"]);
        check("SELECT sc| FROM influence('pool', 'gsm8k')", "sc", &["score"]);
        check("SELECT \"top| FROM pool", "\"top", &["\"Topic Name\""]);
        check("SELECT \"Top|\" FROM pool", "\"Top", &["\"Topic Name"]);
        check("SELECT p.\"Top| FROM pool AS p", "\"Top", &["\"Topic Name\""]);
        check("SELECT topic| FROM pool", "topic", &["\"Topic Name\""]);
        check("SELECT p.top| FROM pool p", "top", &["\"Topic Name\""]);
        check("SELECT \"my p\".sou| FROM pool AS \"my p\"", "sou", &["source"]);
        check("SELECT id FROM pool WHERE \"sou|", "\"sou", &["\"source\""]);
        check("SELECT * FROM \"po|", "\"po", &["\"pool\""]);
        let of_pool = ["row", "id", "source", "\"Topic Name\"", "record"];
        check("SELECT p.| FROM pool AS p", "", &[&of_pool[..], &virtual_columns()].concat());
        check("SELECT sou|", "sou", &["source"]);
        check("SELECT id, sc|", "sc", &["score"]);
        check("SELECT id, sc| FROM influence('pool', 'gsm8k')", "sc", &["score"]);
        check("SELECT * FROM pool AS p, gs|", "gs", &["gsm8k", "gstore.features", "gstore.columns"]);
        check("SELECT * FROM influence('pool', 'gsm8k') i, infl|", "infl", &["influence("]);
        check("SELECT * FROM \"pool\", \"gs|", "\"gs", &["\"gsm8k\""]);
        check("SELECT count(source, infl| FROM pool", "infl", &[]);
        check("SELECT * FROM (SELECT 1) infl|", "infl", &[]);
        check("SELECT * FROM pool ORDER BY id, sou|", "sou", &["source"]);
        check("SELECT id FROM pool WHERE comple|", "comple", &["completion"]);
        check("SELECT id FROM nearest('pool', prompt => 'x') WHERE si|", "si", &["similarity"]);
        check("SELECT id FROM daunce(pool => 'pool') WHERE sou|", "sou", &["source"]);
        check("SELECT fl| FROM vectors('pool', 'loss@c1')", "fl", &["flags"]);
        check("SELECT sou| FROM vectors('pool', 'loss@c1')", "sou", &[]);
        check(
            "SELECT i.sc| FROM influence('pool', 'gsm8k', k => 3) i JOIN pool p USING (row)",
            "sc",
            &["score"],
        );
        check("sele|", "sele", &["select"]);
        check("s|", "s", &["select", "show", "summarize"]);
        check("SELECT * fr|", "fr", &["from"]);
        check("SELECT id FROM pool wh|", "wh", &["where"]);
        check("SELECT CASE row wh|", "wh", &["when", "where"]);
        check("SELECT id FROM pool WHERE row = 1 ord|", "ord", &["order"]);
        check("SELECT count(*) FROM pool LIMIT 3 u|", "u", &["union", "using"]);
        check("SELECT 2 * sou| FROM pool", "sou", &["source"]);
        check("SELE|", "SELE", &["SELECT"]);
        check("SELECT av|", "av", &["avg("]);
        check("SELECT 1; DESCRIBE gs|", "gs", &["gsm8k", "gstore.features", "gstore.columns"]);
        check("SELECT 1 -- po|", "", &[]);
    }

    #[test]
    fn arguments_options_and_values() {
        check("SELECT * FROM influence(|", "", &["'pool'", "'gsm8k'"]);
        check("SELECT * FROM influence('p|", "p", &["pool"]);
        check("SELECT * FROM influence('pool', 'g|", "g", &["gsm8k"]);
        check("SELECT * FROM influence('pool', ['pool', 'g|", "g", &["gsm8k"]);
        check("SELECT * FROM influence(po|", "po", &["'pool'", "pool => ", "pool_kind => "]);
        check("SELECT * FROM influence('pool', gs|", "gs", &["'gsm8k'"]);
        check("SELECT * FROM influence('pool', ta|", "ta", &["target => ", "target_kind => "]);
        check("SELECT * FROM influence('pool', 'gsm8k', ta|", "ta", &["target_kind => "]);
        check("SELECT * FROM influence('pool', 'gsm8k', checkpoints => ['c1', c|", "c", &["'c1'", "'c2'"]);
        check("SELECT * FROM vectors('pool', lo|", "lo", &["'loss@c1'"]);
        check("SELECT * FROM daunce('pool', 'g|", "g", &["gsm8k"]);
        check("SELECT * FROM nearest('pool', 'g|", "g", &[]);
        check("SELECT * FROM influence('pool', 'pool,g|", "g", &["gsm8k"]);
        check("SELECT * FROM influence('pool', 'gsm8k', wit|", "wit", &["within => "]);
        check("SELECT * FROM influence('pool', 'gsm8k', sim => |", "", &["'cosine'", "'dot'"]);
        check("SELECT * FROM influence('pool', 'gsm8k', sim => 'd|", "d", &["dot"]);
        check("SELECT * FROM influence('pool', 'gsm8k', partial => t|", "t", &["true"]);
        check("SELECT * FROM influence('pool', 'gsm8k', checkpoints => ['c1', '|", "", &["c1", "c2"]);
        check("SELECT * FROM vectors('pool', '|", "", &["loss@c1"]);
        check("SELECT count(sou| FROM pool", "sou", &["source"]);
    }
}
