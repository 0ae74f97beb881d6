//! Scores of a pool's rows for queries by one method, whatever they come from, joined by ids.
//!
//! Invariants
//! - a score is finite; a higher one says that training on the row lowers the query's loss more
//! - bits of sums do not depend on the order in which scores were read, or rows are listed

use std::collections::BTreeSet;

use gstore_core::correlation::descending;
use gstore_core::{Digest, many, many_of};
use gstore_generate::uniform;

use super::ids::Ids;
use super::sums::{Sum, tied};
use crate::error::EvaluateError;

/// What a row without a score means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingScores {
    /// An error.
    #[default]
    Refuse,
    /// A score of 0, as a method has it that gives its best rows alone.
    Zero,
}

/// The scores of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Name of the method.
    pub method: String,
    /// Scores that were left out: of rows that the pool does not have, and of queries that are not asked
    /// about.
    pub unknown: Unknown,
    rows: usize,
    /// By query and row.
    values: Vec<f64>,
}

/// Scores that belong to nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown {
    /// Of rows that the pool does not have.
    pub rows: u64,
    /// Of queries that are not asked about.
    pub queries: u64,
    /// Of a table with a column for each query, other columns of numbers: of queries that are not asked
    /// about, or of something else.
    pub columns: BTreeSet<String>,
}

impl Scores {
    /// Scores by query and row; for each query one for each of `rows`.
    ///
    /// # Errors
    /// Values that are no such matrix, or not finite.
    pub fn new(method: &str, rows: usize, values: Vec<f64>) -> Result<Scores, EvaluateError> {
        let bad = |what: &str| EvaluateError::Scores { method: method.to_owned(), what: what.to_owned() };
        if rows == 0 || values.is_empty() || !values.len().is_multiple_of(rows) {
            return Err(bad("they are not a matrix of queries and rows"));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(bad("one of them is not finite"));
        }
        Ok(Scores { method: method.to_owned(), unknown: Unknown::default(), rows, values })
    }

    /// Uniform numbers: what a method that knows nothing is worth. One depends on the seed, and on the ids of
    /// row and query alone.
    pub fn random(method: &str, pool: &Ids, queries: &Ids, seed: u64) -> Scores {
        let counters = |ids: &Ids| -> Vec<u64> {
            ids.iter().map(|id| Digest::of(id.as_bytes()).number() as u64).collect()
        };
        let rows = counters(pool);
        let of_query = |query: u64| rows.iter().map(move |row| uniform(seed, query, *row) - 0.5);
        let values = counters(queries).into_iter().flat_map(of_query).collect();
        Scores { method: method.to_owned(), unknown: Unknown::default(), rows: rows.len(), values }
    }

    /// The scores of the rows for a query.
    pub fn of_query(&self, query: usize) -> &[f64] {
        self.values.get(query * self.rows..(query + 1) * self.rows).unwrap_or_default()
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.values.len() / self.rows.max(1)
    }

    /// The sum over some rows: what the method predicts of them as a group.
    pub fn sum(&self, query: usize, rows: &[u32]) -> f64 {
        Sum::of(self.of_query(query), rows).total
    }

    /// The sums over several groups, for ranks: those that differ by no more than rounding are the same.
    pub fn sums<'a>(&self, query: usize, groups: impl Iterator<Item = &'a [u32]>) -> Vec<f64> {
        let scores = self.of_query(query);
        tied(&groups.map(|rows| Sum::of(scores, rows)).collect::<Vec<Sum>>())
    }

    /// The same with the other sign, for methods whose low scores are the good ones.
    pub fn negated(mut self) -> Scores {
        // Not -0, which would be written with its sign.
        self.values.iter_mut().for_each(|value| *value = 0.0 - *value);
        self
    }

    /// Rows for a query from the highest score down; of equal ones the first counts.
    pub fn ranking(&self, query: usize) -> Vec<u32> {
        descending(self.of_query(query)).into_iter().map(|row| row as u32).collect()
    }
}

/// Scores that are read one by one.
pub struct ScoresBuilder<'a> {
    method: String,
    pool: &'a Ids,
    queries: &'a Ids,
    /// NaN: none was given.
    values: Vec<f64>,
    unknown: Unknown,
}

impl<'a> ScoresBuilder<'a> {
    /// None yet. An only query whose id is empty stands for any: there is one score for each row then.
    pub fn new(method: &str, pool: &'a Ids, queries: &'a Ids) -> Self {
        Self {
            method: method.to_owned(),
            pool,
            queries,
            values: vec![f64::NAN; pool.len() * queries.len()],
            unknown: Unknown::default(),
        }
    }

    /// Whether a row has one score, and none for each query.
    pub fn is_of_rows(&self) -> bool {
        self.queries.len() == 1 && self.queries.id(0).is_empty()
    }

    pub(super) fn has_query(&self, query: &str) -> bool {
        !self.is_of_rows() && self.queries.place(query).is_some()
    }

    /// Notes a column of numbers that is no query's.
    pub(super) fn leave_out(&mut self, column: &str) {
        if !self.unknown.columns.contains(column) {
            self.unknown.columns.insert(column.to_owned());
        }
    }

    /// One score; without a query it is for all of them.
    ///
    /// # Errors
    /// A score that is not finite, and a second one for the same row and query.
    pub fn add(&mut self, row: &str, query: Option<&str>, score: f64) -> Result<(), EvaluateError> {
        if !score.is_finite() {
            return Err(self.error(&format!("row {row:?} has a score that is not finite")));
        }
        let queries = match query {
            None => 0..self.queries.len(),
            Some(_) if self.is_of_rows() => 0..1,
            Some(query) => match self.queries.place(query) {
                Some(place) => place..place + 1,
                None => {
                    self.unknown.queries += 1;
                    return Ok(());
                }
            },
        };
        let Some(row_place) = self.pool.place(row) else {
            self.unknown.rows += 1;
            return Ok(());
        };
        for query in queries {
            let known = self.values[query * self.pool.len() + row_place];
            if !known.is_nan() {
                let of = match self.is_of_rows() {
                    true => ": give one, as their mean".to_owned(),
                    false => format!(" for query {:?}", self.queries.id(query)),
                };
                return Err(self.error(&format!("row {row:?} has two scores{of}")));
            }
            self.values[query * self.pool.len() + row_place] = score;
        }
        Ok(())
    }

    /// All scores.
    ///
    /// # Errors
    /// No score for any row of the pool, or for any of the queries; rows without one, unless they count as 0.
    pub fn finish(mut self, missing: MissingScores) -> Result<Scores, EvaluateError> {
        let rows = self.pool.len();
        if self.values.iter().all(|value| value.is_nan()) {
            let what = match (self.unknown.rows, self.unknown.queries) {
                (0, 0) => format!(
                    "there are none: what was read has no row, and one for each of {} is needed",
                    many_of(rows as u64, "row of the pool", "rows of the pool")
                ),
                (0, queries) => format!(
                    "none of their queries is one of those that are asked about, as {:?} ({} left out)",
                    self.queries.id(0),
                    many(queries, "score")
                ),
                (others, _) => format!(
                    "none of their rows is in the pool, which has {:?} ({} left out): rows are joined by id",
                    self.pool.id(0),
                    many(others, "score")
                ),
            };
            return Err(self.error(&what));
        }
        let of_query = |query: usize| query * rows..(query + 1) * rows;
        // A query without a single score was left out, it has no row that counts for nothing.
        let none = |query: &usize| self.values[of_query(*query)].iter().all(|value| value.is_nan());
        if let Some(query) = (0..self.queries.len()).find(none) {
            let id = self.queries.id(query);
            return Err(
                self.error(&format!("query {id:?} has none: methods are compared over the same queries"))
            );
        }
        let lacking = self.values.iter().filter(|value| value.is_nan()).count();
        if let (MissingScores::Refuse, Some(place)) =
            (missing, self.values.iter().position(|value| value.is_nan()))
        {
            let row = self.pool.id(place % rows);
            let of_query = match self.is_of_rows() {
                true => String::new(),
                false => format!(" for query {:?}", self.queries.id(place / rows)),
            };
            return Err(self.error(&format!(
                "{} missing, the first of row {row:?}{of_query}; a method that gives its best rows alone needs {}",
                if lacking == 1 { "one is".to_owned() } else { format!("{lacking} are") },
                gstore_core::Remedy::Option("missing", "zero"),
            )));
        }
        self.values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
        Ok(Scores { method: self.method, unknown: self.unknown, rows, values: self.values })
    }

    /// What is wrong with them.
    pub(super) fn error(&self, what: &str) -> EvaluateError {
        EvaluateError::Scores { method: self.method.clone(), what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Ids {
        Ids::new(ids.iter().map(|id| (*id).to_owned()), "the test").expect("ids")
    }

    #[test]
    fn random_scores_follow_ids_and_not_places() {
        let random = |pool: &[&str], queries: &[&str]| Scores::random("r", &ids(pool), &ids(queries), 1);
        let (scores, turned) = (random(&["a", "b", "c"], &["q", "r"]), random(&["c", "b", "a"], &["r", "q"]));
        let again: Vec<f64> = turned.of_query(1).iter().rev().copied().collect();
        assert_eq!(scores.of_query(0), again);
        assert_ne!(scores.of_query(0), scores.of_query(1));
        assert_ne!(scores, Scores::random("r", &ids(&["a", "b", "c"]), &ids(&["q", "r"]), 2));
    }

    #[test]
    fn scores_are_joined_by_id() {
        let (pool, queries) = (ids(&["a", "b"]), ids(&["q", "r"]));
        let mut scores = ScoresBuilder::new("m", &pool, &queries);
        for (row, query, score) in [("b", "r", 4.0), ("a", "q", 1.0), ("b", "q", 2.0), ("a", "r", 3.0)] {
            scores.add(row, Some(query), score).expect("new");
        }
        scores.add("c", Some("q"), 9.0).expect("left out");
        scores.add("a", Some("s"), 9.0).expect("left out");
        let scores = scores.finish(MissingScores::Refuse).expect("all are there");
        assert_eq!((scores.of_query(0), scores.of_query(1)), (&[1.0, 2.0][..], &[3.0, 4.0][..]));
        assert_eq!(scores.unknown, Unknown { rows: 1, queries: 1, columns: BTreeSet::new() });
        assert_eq!((scores.sum(1, &[0, 1]), scores.ranking(0)), (7.0, vec![1, 0]));
    }

    #[test]
    fn zeros_rank_in_the_order_of_rows_whatever_their_sign() {
        let scores = Scores::new("m", 4, vec![-0.0, 0.0, 1.0, -0.0]).expect("scores");
        assert_eq!(scores.ranking(0), [2, 0, 1, 3]);
    }

    #[test]
    fn what_is_missing_is_named_or_counts_as_nothing() {
        let (pool, queries) = (ids(&["a", "b"]), ids(&["q"]));
        let partly = || {
            let mut scores = ScoresBuilder::new("m", &pool, &queries);
            scores.add("a", None, 1.0).expect("new");
            scores
        };
        let error = partly().finish(MissingScores::Refuse).unwrap_err().to_string();
        assert!(error.contains("row \"b\" for query \"q\""), "{error}");
        let scores = partly().finish(MissingScores::Zero).expect("0 for the other");
        assert_eq!(scores.of_query(0), [1.0, 0.0]);
        let mut twice = partly();
        assert!(twice.add("a", Some("q"), 2.0).unwrap_err().to_string().contains("two scores"));
        assert!(twice.add("b", None, f64::NAN).unwrap_err().to_string().contains("not finite"));
        let mut other = ScoresBuilder::new("m", &pool, &queries);
        other.add("z", None, 1.0).expect("left out");
        let error = other.finish(MissingScores::Zero).unwrap_err().to_string();
        assert!(error.contains("none of their rows is in the pool"), "{error}");
        let error =
            ScoresBuilder::new("m", &pool, &queries).finish(MissingScores::Zero).unwrap_err().to_string();
        assert!(error.contains("what was read has no row"), "{error}");
        // Of rows alone no query is named.
        let any = ids(&[""]);
        let mut of_rows = ScoresBuilder::new("m", &pool, &any);
        of_rows.add("a", None, 1.0).expect("new");
        let error = of_rows.finish(MissingScores::Refuse).unwrap_err().to_string();
        assert!(error.contains("one is missing, the first of row \"b\"; a method"), "{error}");
    }
}
