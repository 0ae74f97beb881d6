//! A runner for files of statements and what they give, in the manner of sqllogictest.
//!
//! ```text
//! # a comment
//! query
//! SELECT row, score FROM influence('pool', 'target')
//! ----
//! row | score
//! 0 | 0.5
//!
//! error
//! SELECT nothing FROM pool
//! ----
//! there is no column `nothing` (line 1, column 8)
//! ```
//!
//! `query rowsort` sorts the rows first; `query plan` shows the physical plan alone, `query shape` how many
//! rows there are. `GSTORE_SLT_UPDATE=1` writes what the statements give into the file.

use std::fmt::Write as _;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use gstore_sql::{SqlError, SqlSession};

/// A statement with what it should give; or lines between statements.
enum Piece {
    Text(String),
    Statement { kind: String, sql: String, expected: String },
}

/// Runs a file, and gives each difference; none is an empty text.
pub async fn differences(path: &Path, session: &SqlSession) -> String {
    let text = fs_err::read_to_string(path).unwrap();
    let update = std::env::var_os("GSTORE_SLT_UPDATE").is_some();
    let mut wrong = String::new();
    let mut rewritten = String::new();
    for piece in parse(&text) {
        match piece {
            Piece::Text(text) => rewritten.push_str(&text),
            Piece::Statement { kind, sql, expected } => {
                let found = answer(session, &kind, &sql).await;
                if found.trim() != expected.trim() {
                    let _ = write!(wrong, "\n{sql}\n---- expected\n{expected}\n---- found\n{found}\n");
                }
                let _ = write!(rewritten, "{kind}\n{sql}\n----\n{found}\n");
            }
        }
    }
    if update {
        fs_err::write(path, rewritten.trim_end().to_string() + "\n").unwrap();
    } else if !wrong.is_empty() {
        return format!("\n{}:{wrong}", path.display());
    }
    String::new()
}

fn parse(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("query") && !line.starts_with("error") {
            pieces.push(Piece::Text(format!("{line}\n")));
            continue;
        }
        let mut take = |end: &str| {
            let mut block = Vec::new();
            for line in lines.by_ref() {
                if line == end {
                    break;
                }
                block.push(line);
            }
            block.join("\n")
        };
        let (sql, expected) = (take("----"), take(""));
        pieces.push(Piece::Statement { kind: line.to_string(), sql, expected });
        pieces.push(Piece::Text("\n".into()));
    }
    pieces
}

async fn answer(session: &SqlSession, kind: &str, sql: &str) -> String {
    match (kind, run(session, sql).await) {
        ("error", Err(e)) => e.to_string(),
        ("error", Ok((_, rows))) => format!("no error, {} rows", rows.len()),
        (_, Err(e)) => format!("error: {e}"),
        ("query plan", Ok((_, rows))) => {
            let physical = rows.iter().filter_map(|r| r.strip_prefix("physical_plan | "));
            physical.map(str::trim_end).collect::<Vec<_>>().join("\n")
        }
        ("query shape", Ok((header, rows))) => format!("{header}\n{} rows", rows.len()),
        (kind, Ok((header, mut rows))) => {
            if kind == "query rowsort" {
                rows.sort();
            }
            rows.insert(0, header);
            rows.join("\n")
        }
    }
}

/// The rows of a statement as lines.
pub async fn rows(session: &SqlSession, sql: &str) -> Vec<String> {
    run(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).1
}

/// Why a statement is refused.
pub async fn refused(session: &SqlSession, sql: &str) -> String {
    run(session, sql).await.expect_err(sql).to_string()
}

/// Header and rows as lines.
pub async fn run(session: &SqlSession, sql: &str) -> Result<(String, Vec<String>), SqlError> {
    let result = session.run(sql).await?;
    let names: Vec<&str> = result.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let header = names.join(" | ");
    let batches: Vec<RecordBatch> = result.stream.try_collect().await?;
    Ok((header, batches.iter().flat_map(lines).collect()))
}

/// The rows of a batch as lines; floats to six digits.
pub fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    let cell = |column: usize, row: usize| {
        let text = formatters[column].value(row).to_string();
        let float = batch.column(column).data_type().is_floating() && !batch.column(column).is_null(row);
        match (float, text.parse::<f64>()) {
            (true, Ok(value)) => format!("{}", (value * 1e6).round() / 1e6),
            _ if text.is_empty() => "(empty)".to_string(),
            _ => text,
        }
    };
    (0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|c| cell(c, row)).collect::<Vec<_>>().join(" | "))
        .collect()
}
