//! The parts of a large answer: ranges of its rows, each with its own ticket, which can be read in parallel.

use std::ops::Range;

use gstore_sql::quoted;
use gstore_store::{Granularity, Snapshot};
use tonic::Status;

use super::plain::PlainRequest;
use super::vectors;
use crate::handle::{Question, Statement, Vectors};

/// Bytes that one part of a large answer has, about.
const PART_BYTES: u64 = 64 << 20;
const MOST_PARTS: u64 = 16;

/// An answer in parts that can be read in parallel, in the order of their rows.
pub(crate) struct AnswerParts {
    pub(crate) questions: Vec<Question>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl AnswerParts {
    /// An answer in one part, of which nothing is known before.
    pub(crate) fn one(question: Question) -> Self {
        Self { questions: vec![question], rows: None, bytes: None }
    }
}

/// The questions whose answers, one after the other, are what is wanted.
pub(crate) fn of(snapshot: &Snapshot, wanted: &PlainRequest) -> Result<AnswerParts, Status> {
    match wanted {
        PlainRequest::Statement(statement) => Ok(AnswerParts::one(Question::Statement(statement.clone()))),
        PlainRequest::Matrix(wanted) => Ok(AnswerParts::one(Question::Matrix(wanted.clone()))),
        PlainRequest::Dataset { name, rows } => {
            let part = snapshot.dataset(name).map_err(|e| Status::not_found(e.to_string()))?;
            let bytes = part.files.iter().map(|f| f.len).sum();
            let table = quoted(name);
            let question = |rows: Range<u64>, whole: bool| rows_of(&table, &rows, whole);
            let questions = cut(rows.as_ref(), part.next_row, bytes, question);
            let counted = rows.is_none();
            Ok(AnswerParts { questions, rows: counted.then_some(part.rows), bytes: counted.then_some(bytes) })
        }
        PlainRequest::Vectors { dataset, feature, rows, stored } => {
            let part = vectors::find(snapshot, dataset, feature)?;
            let next = snapshot.dataset(dataset).map_err(|e| Status::not_found(e.to_string()))?.next_row;
            let number = part.number.to_string();
            let question = |rows: Range<u64>, whole: bool| match stored {
                true => Question::Vectors(Vectors {
                    dataset: dataset.clone(),
                    feature: number.clone(),
                    first: rows.start,
                    end: rows.end,
                }),
                false => {
                    let call = format!("vectors('{}', '{number}')", dataset.replace('\'', "''"));
                    rows_of(&call, &rows, whole)
                }
            };
            let questions = cut(rows.as_ref(), next, part.bytes(), question);
            let bytes = rows.is_none().then(|| part.bytes());
            // How many tokens there are is in the files alone.
            let is_counted = rows.is_none() && part.desc.granularity == Granularity::Sample;
            let rows = is_counted.then(|| snapshot.coverage(part).ok().map(|c| c.rows)).flatten();
            Ok(AnswerParts { questions, rows, bytes })
        }
    }
}

/// The rows of a relation, all or those of a range.
fn rows_of(relation: &str, rows: &Range<u64>, whole: bool) -> Question {
    let all = format!("SELECT * FROM {relation}");
    let sql = match whole {
        true => all,
        false => format!("{all} WHERE \"row\" >= {} AND \"row\" < {}", rows.start, rows.end),
    };
    Question::Statement(Statement { sql, made: true, ..Statement::default() })
}

/// Cuts all rows into ranges of like size, as many as there are parts of a good length; a range that is asked
/// for stays one.
fn cut(
    asked: Option<&Range<u64>>,
    next_row: u64,
    bytes: u64,
    question: impl Fn(Range<u64>, bool) -> Question,
) -> Vec<Question> {
    if let Some(rows) = asked {
        return vec![question(rows.clone(), false)];
    }
    let parts = (bytes / PART_BYTES).clamp(1, MOST_PARTS).min(next_row.max(1));
    let at = |i: u64| (u128::from(next_row) * u128::from(i) / u128::from(parts)) as u64;
    match parts {
        1 => vec![question(0..u64::MAX, true)],
        parts => (0..parts).map(|i| question(at(i)..at(i + 1), false)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_cut_into_ranges_without_gaps() {
        let rows = |asked: Option<&Range<u64>>, next, bytes| {
            let question = |rows: Range<u64>, _| {
                let (first, end) = (rows.start, rows.end);
                Question::Vectors(Vectors { dataset: String::new(), feature: String::new(), first, end })
            };
            let ranges = cut(asked, next, bytes, question).into_iter().map(|q| match q {
                Question::Vectors(v) => v.first..v.end,
                _ => unreachable!(),
            });
            ranges.collect::<Vec<_>>()
        };
        assert_eq!(rows(None, 1000, 1 << 20), vec![0..u64::MAX]);
        assert_eq!(rows(Some(&(3..7)), 1000, 1 << 40), vec![3..7]);
        assert_eq!(rows(None, 10, 200 << 20), vec![0..3, 3..6, 6..10]);
        let many = rows(None, 1001, 1 << 40);
        assert_eq!((many.len(), many[0].start, many[15].end), (16, 0, 1001));
        assert!(many.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(rows(None, 0, 1 << 40), vec![0..u64::MAX]);
    }
}
