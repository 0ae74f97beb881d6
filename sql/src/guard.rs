//! Statement checks before planning: one statement, read-only, and small enough to plan without harm.
//!
//! Invariants
//! - only queries, SHOW, DESCRIBE and EXPLAIN of them pass; everything that could change a store, a setting
//!   or a file is refused by name
//! - a chain of operators is counted in the token stream, because the parser builds such chains without
//!   recursion and everything after it (the tree's destructor included) walks them recursively

mod begun;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement as Sql};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use gstore_core::Remedy;

pub(crate) use self::begun::check_begun;
use super::error::SqlError;
use crate::walk::visit_relations;

/// Longest statement, in bytes. Long lists of ids fit; a megabyte of text is a mistake.
pub const MAX_SQL_BYTES: usize = 1 << 20;
/// Most operators (arithmetic, comparison, AND, OR, UNION, JOIN, casts) of one statement.
pub const MAX_OPERATORS: usize = 600;
/// Most tables and table functions one statement may name.
pub const MAX_RELATIONS: usize = 100;

/// Refuses a text that is too long.
pub(crate) fn check_length(sql: &str) -> Result<(), SqlError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(SqlError::refused(format!(
            "the statement has {} bytes, more than the {MAX_SQL_BYTES} allowed",
            sql.len()
        )));
    }
    Ok(())
}

/// Refuses a text of too many operators.
pub(crate) fn check_operators(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let operators = tokens.iter().filter(|t| is_operator(&t.token)).count();
    if operators > MAX_OPERATORS {
        return Err(SqlError::refused(format!(
            "the statement has {operators} operators, more than the {MAX_OPERATORS} allowed"
        ))
        .hint("a long chain of `= .. OR = ..` is better written as `IN (..)`"));
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    use Keyword as K;
    match token {
        Token::Word(w) => matches!(
            w.keyword,
            K::AND
                | K::OR
                | K::XOR
                | K::NOT
                | K::IS
                | K::LIKE
                | K::ILIKE
                | K::BETWEEN
                | K::UNION
                | K::EXCEPT
                | K::INTERSECT
                | K::JOIN
                | K::COLLATE
        ),
        Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Comma
        | Token::Whitespace(_)
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::LBrace
        | Token::RBrace
        | Token::SemiColon
        | Token::Placeholder(_)
        | Token::RArrow
        | Token::EOF => false,
        _ => true,
    }
}

/// Refuses a statement that is no small read-only query.
pub(crate) fn check(statement: &Statement) -> Result<(), SqlError> {
    match statement {
        Statement::Statement(sql) => {
            check_sql(sql)?;
            check_relations(sql)
        }
        Statement::Explain(explain) => check(&explain.statement),
        Statement::CopyTo(_) => Err(written("COPY")),
        Statement::CreateExternalTable(_) => Err(refuse("CREATE EXTERNAL TABLE")),
        Statement::Reset(_) => Err(refuse("RESET")),
    }
}

fn check_sql(sql: &Sql) -> Result<(), SqlError> {
    match sql {
        Sql::Query(query) => check_query(query),
        Sql::Explain { statement, .. } => check_sql(statement),
        Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowViews { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowVariables { .. } => Ok(()),
        other => Err(refuse(&verb(other))),
    }
}

/// `WITH`, `SELECT`, `VALUES` pass; a query may also wrap INSERT, UPDATE or DELETE, and
/// `SELECT .. INTO` makes a table.
fn check_query(query: &Query) -> Result<(), SqlError> {
    fn body(set: &SetExpr) -> Result<(), SqlError> {
        match set {
            SetExpr::Select(select) if select.into.is_some() => Err(written("SELECT INTO")),
            SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => Ok(()),
            SetExpr::Query(query) => check_query(query),
            SetExpr::SetOperation { left, right, .. } => body(left).and_then(|()| body(right)),
            SetExpr::Insert(_) => Err(refuse("INSERT")),
            SetExpr::Update(_) => Err(refuse("UPDATE")),
            SetExpr::Delete(_) => Err(refuse("DELETE")),
            _ => Err(refuse("this kind of query")),
        }
    }
    for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
        check_query(&cte.query)?;
    }
    body(&query.body)
}

/// Refuses a statement that names too many tables.
pub(crate) fn check_relations(sql: &Sql) -> Result<(), SqlError> {
    let mut named = 0usize;
    visit_relations(sql, |_| named += 1);
    if named > MAX_RELATIONS {
        return Err(SqlError::refused(format!(
            "the statement names {named} tables, more than the {MAX_RELATIONS} allowed"
        )));
    }
    Ok(())
}

/// Refuses more of something than a statement may have.
pub(crate) fn check_count(found: usize, most: usize, what: &str) -> Result<(), SqlError> {
    match found <= most {
        true => Ok(()),
        false => Err(SqlError::refused(format!("the statement has more than {most} {what}"))),
    }
}

/// The word or two a statement starts with, for the message.
fn verb(sql: &Sql) -> String {
    let text = sql.to_string();
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or("this statement").to_uppercase();
    match (first.as_str(), words.next()) {
        ("CREATE" | "DROP" | "ALTER" | "SHOW", Some(second)) => format!("{first} {}", second.to_uppercase()),
        _ => first,
    }
}

/// The refusal, with what does what the statement asks for.
fn refuse(what: &str) -> SqlError {
    let refused = SqlError::refused(format!("{what} is not allowed: SQL only reads the store"));
    let remedy = CHANGES.contains(&what).then(|| format!("{} does that", Remedy::InsteadOf(what)));
    refused.maybe_hint(remedy)
}

/// The refusal of a statement that writes its result.
fn written(what: &str) -> SqlError {
    refuse(what).hint(format!("{} writes a result", Remedy::WriteResult))
}

/// Statements for which there is a job.
const CHANGES: [&str; 13] = [
    "INSERT",
    "UPDATE",
    "MERGE",
    "DELETE",
    "TRUNCATE",
    "CREATE TABLE",
    "CREATE EXTERNAL TABLE",
    "DROP TABLE",
    "ALTER TABLE",
    "CREATE INDEX",
    "CREATE VIEW",
    "DROP VIEW",
    "VACUUM",
];

/// Whether a plan reads the engine's settings, by their table or by SHOW. One of them is the folder of
/// temporary files.
pub(crate) fn reads_settings(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let schema = scan.table_name.schema().unwrap_or_default();
            found |= schema.eq_ignore_ascii_case("information_schema")
                && scan.table_name.table().eq_ignore_ascii_case("df_settings");
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
