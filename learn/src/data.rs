//! Labelled rows: ids, features, true scores.

use gstore_core::correlation::{descending, is_constant};
use gstore_core::{first_of, many, many_of};

use crate::error::LearnError;
use crate::features::{MOST_VALUES, feature_of, features_of};
use crate::judge::kept_rows;
use crate::matrix::Matrix;
use crate::standard::{Standard, constant_columns};

/// Why there is a least number of rows.
pub(crate) const OF_FOLDS: &str = "each fold needs rows to learn from and rows to judge on";

const MOST_NAMES: usize = 5;

/// Rows with finite features and scores, in the order of their rows, and those that have finite scores alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Ids.
    pub ids: Vec<String>,
    /// Names of the columns.
    pub features: Vec<String>,
    /// A row of features for each id.
    pub x: Matrix,
    /// Names of the targets.
    pub targets: Vec<String>,
    /// A row of scores for each id.
    pub y: Matrix,
    /// Rows with finite scores that lack a feature: nothing is learned or predicted of them, and they are
    /// kept.
    pub lacking: ScoredRows,
    /// Rows of the pool of which these are a random sample, so that those of the true top count as found in a
    /// bound; none where nothing is known of how they were drawn.
    pub pool: Option<usize>,
}

/// Rows of which scores are known, and not all features.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoredRows {
    /// Ids.
    pub ids: Vec<String>,
    /// A row of scores for each id.
    pub y: Matrix,
}

impl Labelled {
    /// Tells the rows that are whole from those that have scores alone; leaves out those without.
    ///
    /// # Errors
    /// A target or all features that are constant, and fewer than `least` whole rows.
    pub fn new(
        ids: Vec<String>,
        (features, x): (Vec<String>, &Matrix),
        (targets, y): (Vec<String>, &Matrix),
        least: usize,
    ) -> Result<Self, LearnError> {
        let rows = 0..x.rows().min(y.rows()).min(ids.len());
        let scored = rows.filter(|row| y.is_finite(*row));
        let (whole, without): (Vec<usize>, Vec<usize>) = scored.partition(|row| x.is_finite(*row));
        if whole.len() < least {
            return Err(LearnError::TooFewRows {
                rows: whole.len(),
                needed: least,
                why: OF_FOLDS.to_owned() + &lacking(&features, x),
            });
        }
        let ids_of = |rows: &[usize]| -> Vec<String> { rows.iter().map(|row| ids[*row].clone()).collect() };
        let lacking = ScoredRows { ids: ids_of(&without), y: y.select(&without) };
        let (x, y) = (x.select(&whole), y.select(&whole));
        if let Some(target) = (0..y.cols()).find(|target| is_constant(&y.column(*target))) {
            return Err(LearnError::ConstantTarget(targets[target].clone()));
        }
        if constant_columns(&x).len() == x.cols() {
            return Err(LearnError::ConstantFeatures(named(&features)));
        }
        Ok(Self { ids: ids_of(&whole), features, x, targets, y, lacking, pool: None })
    }

    /// The same as a random sample of a pool with so many rows, of which those of the true top
    /// count as found.
    pub fn of_pool(self, rows: usize) -> Self {
        Self { pool: Some(rows), ..self }
    }

    /// The scores of all rows, those that lack a feature last.
    pub(crate) fn scores(&self) -> Matrix {
        let values = [self.y.values(), self.lacking.y.values()].concat();
        Matrix::new(self.y.cols(), values)
    }

    /// Predictions and scores of all rows, those that lack a feature last; from predictions of the whole ones.
    /// Those of the others are infinite, so that no cut leaves them out.
    pub(crate) fn with_lacking(&self, predictions: &Matrix) -> (Matrix, Matrix) {
        let lacking = vec![f64::INFINITY; self.lacking.ids.len() * predictions.cols()];
        let values = [predictions.values(), &lacking[..]].concat();
        (Matrix::new(predictions.cols(), values), self.scores())
    }

    /// What a reader should know of the labels of a top share.
    pub fn notes(&self, top: f64) -> Vec<String> {
        let mut notes = Vec::new();
        let standard = Standard::of(&self.x);
        for (columns, one, several) in [
            (
                standard.coarse(),
                "of the columns differs in the last digits of f64 alone, and little is left of what it says",
                "of the columns differ in the last digits of f64 alone, and little is left of what they say",
            ),
            (
                standard.constant,
                "of the columns is constant in f64 and says nothing",
                "of the columns are constant in f64 and say nothing",
            ),
        ] {
            if !columns.is_empty() {
                let shown = first_of(columns.iter().map(|col| &self.features[*col]), MOST_NAMES);
                notes.push(format!("{}: {shown}", many_of(columns.len() as u64, one, several)));
            }
        }
        let of_texts: Vec<&str> =
            self.features.iter().filter_map(|name| Some(name.split_once('=')?.0)).collect();
        for same in of_texts.chunk_by(|a, b| a == b).filter(|same| same.len() >= MOST_VALUES) {
            notes.push(format!(
                "{} is taken as text: its {MOST_VALUES} most frequent values count, and any others say nothing; a time or an id \
                 should be a number, or be left out",
                same[0]
            ));
        }
        let all = self.scores();
        for (target, name) in self.targets.iter().enumerate() {
            let scores = all.column(target);
            let order = descending(&scores);
            let k = kept_rows(top, scores.len()).max(1);
            if scores[order[0]] <= 0.0 {
                notes.push(format!("no labelled row has a score above 0 for {name}: none helps it"));
            }
            if let Some(next) = order.get(k)
                && scores[*next] == scores[order[k - 1]]
            {
                let same = scores.iter().filter(|score| **score == scores[*next]).count();
                notes.push(format!(
                    "{same} labels of {name} are equal at the cut of the top, which goes to the first of them"
                ));
            }
        }
        notes
    }
}

/// Names of features, those of the columns of one as one, and a few at most.
fn named(columns: &[String]) -> String {
    first_of(features_of(columns), MOST_NAMES)
}

/// What is said of features that some of the rows lack, those that most lack first.
fn lacking(columns: &[String], x: &Matrix) -> String {
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (column, name) in columns.iter().enumerate() {
        let rows = (0..x.rows()).filter(|row| x.row(*row)[column].is_finite()).count();
        let name = feature_of(name);
        match found.last_mut() {
            // A vector is one thing.
            Some((fewest, last)) if *last == name => *fewest = rows.min(*fewest),
            _ => found.push((rows, name)),
        }
    }
    found.retain(|(rows, _)| *rows < x.rows());
    found.sort_by_key(|(rows, _)| *rows);
    if found.is_empty() {
        return String::new();
    }
    let shown = first_of(found.iter().map(|(rows, name)| format!("{name} in {rows}")), MOST_NAMES);
    format!("; of {} there is a finite value of {shown}", many(x.rows() as u64, "row"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_lacking_are_named_with_their_rows() {
        let nan = f64::NAN;
        let x = Matrix::new(4, vec![1.0, nan, nan, 2.0, 1.0, nan, 3.0, 2.0, 4.0, 5.0, 3.0, nan]);
        let names = ["a", "b", "v[0]", "v[1]"].map(str::to_owned).to_vec();
        let y = Matrix::new(1, vec![1.0, 2.0, 3.0]);
        let error =
            Labelled::new(ids(3), (names, &x), (vec!["t".to_owned()], &y), 2).unwrap_err().to_string();
        assert!(error.starts_with("0 labelled rows have all features, and 2 are needed: "), "{error}");
        assert!(error.ends_with("; of 3 rows there is a finite value of b in 1, v in 2"), "{error}");
        let one = LearnError::TooFewRows { rows: 1, needed: 2, why: String::new() }.to_string();
        assert!(one.starts_with("1 labelled row has all features"), "{one}");
    }

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    fn labelled(x: Vec<f64>, y: Vec<f64>, least: usize) -> Result<Labelled, LearnError> {
        let n = y.len();
        let (x, y) = (Matrix::new(1, x), Matrix::new(1, y));
        Labelled::new(ids(n), (vec!["a".to_owned()], &x), (vec!["t".to_owned()], &y), least)
    }

    #[test]
    fn rows_without_a_score_are_left_out_and_those_that_lack_a_feature_told_apart() {
        let found = labelled(vec![1.0, f64::NAN, 3.0, 4.0], vec![1.0, 2.0, f64::INFINITY, 4.0], 2).unwrap();
        assert_eq!(found.ids, ["0", "3"]);
        assert_eq!(found.lacking, ScoredRows { ids: vec!["1".to_owned()], y: Matrix::new(1, vec![2.0]) });
        assert_eq!(found.scores().values(), [1.0, 4.0, 2.0]);
        let (predictions, scores) = found.with_lacking(&Matrix::new(1, vec![0.5, 0.25]));
        assert_eq!(predictions.values(), [0.5, 0.25, f64::INFINITY]);
        assert_eq!(scores, found.scores());
        let none = labelled(vec![f64::NAN, 1.0, 2.0], vec![f64::NAN, f64::NAN, 4.0], 2).unwrap_err();
        assert!(none.to_string().starts_with("1 labelled row has all features, and 2 are needed"), "{none}");
    }

    #[test]
    fn what_cannot_be_learned_is_refused_by_name() {
        assert!(matches!(
            labelled(vec![1.0; 3], vec![1.0, 2.0, 3.0], 2),
            Err(LearnError::ConstantFeatures(_))
        ));
        let error = labelled(vec![1.0, 2.0], vec![5.0; 2], 2).unwrap_err();
        assert!(matches!(&error, LearnError::ConstantTarget(name) if name == "t"), "{error}");
        let few = labelled(vec![1.0, 2.0], vec![1.0, 2.0], 10).unwrap_err();
        assert!(matches!(few, LearnError::TooFewRows { rows: 2, needed: 10, .. }));
    }

    #[test]
    fn a_column_on_an_extreme_scale_is_told_from_a_constant_one() {
        let scores: Vec<f64> = (0..6).map(f64::from).collect();
        let huge = labelled(scores.iter().map(|x| x * 1e300).collect(), scores.clone(), 2).unwrap();
        assert!(huge.notes(0.5).is_empty(), "{:?}", huge.notes(0.5));
        let far = scores.iter().map(|x| 2f64.powi(60) + 256.0 * x).collect();
        let notes = labelled(far, scores, 2).unwrap().notes(0.5).join("\n");
        assert!(
            notes.contains("1 of the columns differs in the last digits") && !notes.contains("constant"),
            "{notes}"
        );
    }

    #[test]
    fn whole_numbers_that_are_one_f64_are_said_to_be() {
        let far: Vec<f64> = (0..6).map(|i| ((1i64 << 60) + i) as f64).collect();
        let scores: Vec<f64> = (0..6).map(f64::from).collect();
        let error = labelled(far, scores, 2).unwrap_err().to_string();
        assert!(error.contains("all of them, or values that f64 does not tell apart (a)"), "{error}");
    }

    #[test]
    fn a_text_of_many_values_is_told() {
        let of = |values: usize| {
            let x = Matrix::new(values, (0..3 * values).map(|at| at as f64).collect());
            let names: Vec<String> =
                (0..values).map(|value| format!("added=2026-01-01T00:{value}")).collect();
            let y = Matrix::new(1, vec![1.0, 2.0, 3.0]);
            let found = Labelled::new(ids(3), (names, &x), (vec!["t".to_owned()], &y), 2).unwrap();
            found.notes(0.5).join("\n")
        };
        assert!(of(64).contains("added is taken as text") && of(63).is_empty(), "{} {}", of(64), of(63));
    }

    #[test]
    fn a_vector_is_named_once() {
        let columns: Vec<String> = (0..2048).map(|i| format!("embed-mean[{i}]")).collect();
        assert_eq!(named(&columns), "embed-mean");
        let many: Vec<String> = (0..7).map(|i| format!("c{i}")).collect();
        assert_eq!(named(&many), "c0, c1, c2, c3, c4, ...");
    }

    #[test]
    fn ties_and_targets_that_no_row_helps_are_told() {
        let found =
            labelled((0..6).map(f64::from).collect(), vec![-1.0, -1.0, -1.0, -3.0, -4.0, -5.0], 2).unwrap();
        let notes = found.notes(0.34).join("\n");
        assert!(notes.contains("none helps it") && notes.contains("3 labels of t are equal"), "{notes}");
    }
}
