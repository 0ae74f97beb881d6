//! Labelled rows of a cascade: their scores, and the columns of each stage.

use std::sync::Arc;

use gstore_core::{first_of, many, many_of};
use gstore_learn::{FeatureSet, FitOptions, Labelled, Matrix};
use gstore_store::{RowSet, Snapshot};

use super::CascadeRequest;
use super::fit::ScoredSample;
use super::known::{OpenStageColumns, StageColumns, labels_of};
use super::source::CascadeSource;
use super::stages::Stage;
use crate::answer::{AnswerError, ids_of};
use crate::work::JobContext;

/// Names in a message.
const MOST_NAMES: usize = 5;

pub(super) struct LabelledSample {
    /// Those that have a score and all columns.
    pub(super) data: Labelled,
    /// Those that have a score.
    pub(super) sampled: ScoredSample,
    pub(super) columns: Vec<StageColumns>,
    /// The share of the labelled rows that have a score.
    pub(super) scored: f64,
    /// What a reader should know of the others.
    pub(super) notes: Vec<String>,
}

impl LabelledSample {
    /// Reads scores and columns. `inputs`: names of each stage's, its gradients aside.
    pub(super) fn read(
        snapshot: &Arc<Snapshot>,
        source: &CascadeSource,
        (stages, inputs): (&[Stage], &[Vec<String>]),
        labelled: &RowSet,
        request: &CascadeRequest,
        work: &JobContext<'_>,
    ) -> Result<Self, AnswerError> {
        let rows: Vec<u64> = labelled.iter().collect();
        let mut columns = Vec::with_capacity(stages.len());
        for (stage, inputs) in stages.iter().zip(inputs) {
            let set = match inputs.is_empty() {
                true => None,
                false => Some(learned_set(snapshot, source, (stage, inputs), &rows)?),
            };
            columns.push(StageColumns { set, checkpoints: stage.checkpoints });
        }
        let x = OpenStageColumns::open(snapshot, source, columns.iter())?.read(&rows, work)?;
        let scores = labels_of(snapshot, (&source.spec, request.order), &rows, work)?;
        let scored: Vec<usize> = (0..rows.len()).filter(|row| scores[*row].is_finite()).collect();
        let (share, unscored) =
            (scored.len() as f64 / rows.len().max(1) as f64, (rows.len() - scored.len()) as u64);
        let rows: Vec<u64> = scored.iter().map(|row| rows[*row]).collect();
        let sampled =
            ScoredSample { x: x.select(&scored), scores: scored.iter().map(|row| scores[*row]).collect() };
        let names: Vec<String> = columns.iter().flat_map(StageColumns::names).collect();
        let mut notes: Vec<String> = missing_values_note(&names, &sampled.x).into_iter().collect();
        if unscored > 0 {
            notes.push(format!("{} no score", many_of(unscored, "labelled row has", "labelled rows have")));
        }
        let targets = vec![request.spec.target_names().join(", ")];
        let ids = ids_of(snapshot, source.pool(), &rows)?;
        let y = Matrix::new(1, sampled.scores.clone());
        let least = FitOptions::default().least_rows();
        let data = Labelled::new(ids, (names, &sampled.x), (targets, &y), least)?;
        Ok(Self { data, sampled, columns, scored: share, notes })
    }
}

/// Refuses metadata columns of which too few of the rows that will be labelled have a value, and a stage of
/// such columns in which all of these rows are the same: what is computed of them would be of no use.
pub(super) fn check_columns(
    snapshot: &Snapshot,
    source: &CascadeSource,
    stages: &[Stage],
    labelled: &RowSet,
    request: &CascadeRequest,
) -> Result<(), AnswerError> {
    let rows: Vec<u64> = labelled.iter().collect();
    let mut is_whole = vec![true; rows.len()];
    let mut lacking: Vec<(usize, String)> = Vec::new();
    for stage in stages {
        let columns: Vec<String> =
            stage.columns.iter().filter(|name| input_name(name) != name.as_str()).cloned().collect();
        if columns.is_empty() {
            continue;
        }
        let open = learned_set(snapshot, source, (stage, &columns), &rows)?.open(snapshot, source.pool())?;
        let x = open.read(&rows)?;
        if !stage.computes() && !stage.has_counts() && (0..x.cols()).all(|column| is_same(&x, column)) {
            let names: Vec<&str> = columns.iter().map(|name| input_name(name)).collect();
            return Err(AnswerError::Refused(format!(
                "nothing was computed: cascade stage `{}` tells no rows apart: the {} to be labelled have the same value of {}, or values that f64 does not tell apart",
                stage.name,
                many(rows.len() as u64, "row"),
                names.join(", ")
            )));
        }
        is_whole.iter_mut().enumerate().for_each(|(row, is_whole)| *is_whole &= x.is_finite(row));
        let there = open.with_value(&x).into_iter().filter(|(_, there)| *there < rows.len());
        lacking.extend(there.map(|(name, there)| (there, input_name(name).to_owned())));
    }
    let options = FitOptions { learner: request.learner.clone(), ..FitOptions::default() };
    let (needed, why) = options.needed_rows();
    let whole = is_whole.into_iter().filter(|is_whole| *is_whole).count();
    if lacking.is_empty() || whole >= needed {
        return Ok(());
    }
    lacking.sort_unstable();
    Err(AnswerError::Refused(format!(
        "nothing was computed: of the {} to be labelled {whole} have a value of every column, and {needed} are needed: {why}; \
         there is a value of {}",
        many(rows.len() as u64, "row"),
        first_of(lacking.iter().map(|(rows, name)| format!("{name} in {rows}")), MOST_NAMES)
    )))
}

/// Whether all rows that have a value of a column have the same one.
fn is_same(x: &Matrix, column: usize) -> bool {
    let mut values = (0..x.rows()).map(|row| x.row(row)[column]).filter(|value| value.is_finite());
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// The stored columns of a stage, with the values of its texts.
fn learned_set(
    snapshot: &Snapshot,
    source: &CascadeSource,
    (stage, inputs): (&Stage, &[String]),
    rows: &[u64],
) -> Result<FeatureSet, AnswerError> {
    let mut open = FeatureSet::resolve(snapshot, source.pool(), inputs)?.open(snapshot, source.pool())?;
    open.learn_values(rows)?;
    let known = open.read(rows)?;
    let without: Vec<&str> = open.without_value(&known).into_iter().map(input_name).collect();
    if !without.is_empty() {
        return Err(AnswerError::Refused(format!(
            "cascade stage `{}`: none of the {} to be labelled has a value of {}",
            stage.name,
            many(rows.len() as u64, "row"),
            without.join(", ")
        )));
    }
    Ok(open.set().clone())
}

/// What is said of rows of which a value is missing, with the names of these columns.
fn missing_values_note(names: &[String], x: &Matrix) -> Option<String> {
    let rows: Vec<usize> = (0..x.rows()).filter(|row| !x.is_finite(*row)).collect();
    let lacks = |column: usize| rows.iter().any(|row| !x.row(*row)[column].is_finite());
    let columns = names.iter().enumerate().filter(|(column, _)| lacks(*column));
    // A vector is one thing.
    let mut found: Vec<&str> =
        columns.map(|(_, name)| input_name(name).split('[').next().unwrap_or(name)).collect();
    found.dedup();
    (!rows.is_empty()).then(|| {
        format!(
            "{} a finite value of {}: nothing is learned from such rows, and they are kept",
            many_of(rows.len() as u64, "labelled row lacks", "labelled rows lack"),
            first_of(found, MOST_NAMES)
        )
    })
}

/// The name of an input as it stands in a stage.
fn input_name(input: &str) -> &str {
    input.split_once(':').filter(|(of, _)| ["column", "feature"].contains(of)).map_or(input, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_a_value_are_named() {
        let names = ["tokens", "column:hint", "feature:embed@base[0]", "feature:embed@base[1]"];
        let names = names.map(str::to_owned);
        let of = |missing: &[usize]| {
            let row = |lacks: bool| (0..4).map(move |col| (lacks, col));
            let value = |(lacks, col)| if lacks && missing.contains(&col) { f64::NAN } else { 1.0 };
            missing_values_note(&names, &Matrix::new(4, row(false).chain(row(true)).map(value).collect()))
        };
        assert_eq!(of(&[]), None);
        let told = of(&[1, 2, 3]).unwrap();
        assert!(
            told.starts_with("1 labelled row lacks a finite value of hint, embed@base: nothing"),
            "{told}"
        );
    }
}
