//! Outputs of the scores of a pass: lines of a table, Kronfluence's files, sums, or the best rows.

use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::cast::AsArray;
use gstore_core::Cancel;
use gstore_model::architectures::transformers_name;

use super::lines::{ScoreTableWriter, number};
use super::pass::RowScores;
use super::plan::ScorePlan;
use super::request::{ScorePer, ScoreRequest};
use crate::factors::error::FactorJobError;
use crate::factors::folder::{
    ALL_MODULES, DatasetNote, ScoreArguments, ScoreFolder, ScoreKind, ScoreSide, ScoreTable,
};
use crate::work::JobContext;

/// What takes the scores of a group of queries.
pub(super) struct ScoreSinks<'a, 'b> {
    pub lines: Option<&'a mut ScoreTableWriter<'b>>,
    pub held: Option<&'a mut HeldScores>,
    /// Sums over the pool, of each column.
    pub sums: Option<Vec<f64>>,
    pub best: Option<TopRows>,
    /// The first query of the group.
    pub first: usize,
    pub queries: usize,
}

impl ScoreSinks<'_, '_> {
    /// Takes the scores of some rows. Those without a scored token are in no table, and only held.
    pub fn take(&mut self, mut rows: Vec<RowScores>) -> Result<(), FactorJobError> {
        if let Some(sums) = &mut self.sums {
            for row in &rows {
                sums.iter_mut().zip(&row.values).for_each(|(sum, value)| *sum += value);
            }
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            held.take(&rows, self.first, self.queries)?;
        }
        rows.retain(|row| row.is_scored);
        match (&mut self.best, &mut self.lines) {
            (Some(best), _) => rows.iter().for_each(|row| best.push(row)),
            (None, Some(lines)) => lines.write(&rows, self.first, self.queries)?,
            (None, None) => {}
        }
        Ok(())
    }

    /// Writes what had to wait for all rows.
    pub fn finish(self) -> Result<(), FactorJobError> {
        let Self { mut lines, mut held, sums, best, first, queries } = self;
        if let Some(values) = sums {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let why = format!(
                    "the sum of the scores of all rows is {value}: use a larger damping or another filter"
                );
                return Err(FactorJobError::Refused(why));
            }
            let row = [RowScores { row: 0, is_scored: true, values }];
            if let Some(held) = &mut held {
                held.take(&row, first, queries)?;
            }
            if let Some(lines) = &mut lines {
                lines.write(&row, first, queries)?;
            }
        }
        if let (Some(best), Some(lines)) = (best, lines) {
            for (column, rows) in best.sorted().into_iter().enumerate() {
                lines.write_best(first + column % queries, column / queries, &rows)?;
            }
        }
        if let Some(held) = held {
            held.row = 0;
        }
        Ok(())
    }
}

/// The rows with the highest scores of each column; of equal ones the first.
pub(super) struct TopRows {
    most: usize,
    columns: Vec<Vec<(f64, u64)>>,
}

impl TopRows {
    pub fn new(most: usize, columns: usize) -> Self {
        Self { most, columns: vec![Vec::new(); columns] }
    }

    fn push(&mut self, row: &RowScores) {
        for (best, score) in self.columns.iter_mut().zip(&row.values) {
            best.push((*score, row.row));
            if best.len() >= self.most.max(1).saturating_mul(2) {
                cut(best, self.most);
            }
        }
    }

    fn sorted(mut self) -> Vec<Vec<(f64, u64)>> {
        self.columns.iter_mut().for_each(|best| cut(best, self.most));
        self.columns
    }
}

fn cut(best: &mut Vec<(f64, u64)>, most: usize) {
    best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    best.truncate(most);
}

/// All scores of a question with one filter, 4 bytes each.
pub(super) struct HeldScores {
    /// Names of the tables, and the scores of each: `[queries, rows]`.
    pub tables: Vec<(String, Vec<f32>)>,
    queries: usize,
    rows: usize,
    /// Rows of the pass that were taken.
    row: usize,
    own: bool,
    /// Places of queries that have no scores.
    pub without: BTreeSet<usize>,
    /// Places of rows without a scored token: their scores of 0 are in Kronfluence's files, which have all
    /// rows, and in no report.
    pub unscored: BTreeSet<usize>,
}

impl HeldScores {
    pub fn new(plan: &ScorePlan, request: &ScoreRequest) -> Self {
        let own = request.target.is_own();
        let rows = match request.form.summed {
            true => 1,
            false => usize::try_from(plan.rows.len()).unwrap_or(usize::MAX),
        };
        let queries = if own || plan.how.sum_queries { 1 } else { plan.queries.len() };
        let names: Vec<String> = match request.form.per {
            ScorePer::Module => plan.engine.modules().iter().map(|module| module.name.clone()).collect(),
            _ => vec![ALL_MODULES.to_owned()],
        };
        let tables = names.into_iter().map(|name| (name, vec![0.0; queries.saturating_mul(rows)])).collect();
        Self { tables, queries, rows, row: 0, own, without: BTreeSet::new(), unscored: BTreeSet::new() }
    }

    /// Notes that a query has no scores.
    pub fn leave_out(&mut self, query: usize) {
        self.without.insert(query);
    }

    /// Takes the scores of rows with queries from `first` on.
    fn take(&mut self, rows: &[RowScores], first: usize, queries: usize) -> Result<(), FactorJobError> {
        for row in rows {
            for ((_, table), values) in self.tables.iter_mut().zip(row.values.chunks_exact(queries.max(1))) {
                for (query, value) in values.iter().enumerate() {
                    if !(*value as f32).is_finite() {
                        return Err(FactorJobError::Refused(format!(
                            "row {}: reports and Kronfluence's files have scores in f32, which cannot hold {value:e}: use a larger damping or another filter",
                            row.row
                        )));
                    }
                    if let Some(place) = table.get_mut((first + query) * self.rows + self.row) {
                        *place = *value as f32;
                    }
                }
            }
            if !row.is_scored {
                self.unscored.insert(self.row);
            }
            self.row += 1;
        }
        Ok(())
    }
}

/// Begins a folder of Kronfluence's, or goes on with one of the same arguments.
pub(super) fn kronfluence(
    path: &Path,
    plan: &ScorePlan,
    request: &ScoreRequest,
    work: &JobContext<'_>,
) -> Result<ScoreFolder, FactorJobError> {
    let Some(damping) = plan.how.filters.first().and_then(|filter| filter.damping()) else {
        let text = "Kronfluence's files have scores of the damped inverse, and of no other filter";
        return Err(FactorJobError::Option(text.to_owned()));
    };
    if request.solve.is_some() {
        let text = "Kronfluence's files have scores of its factors, and not of an iterative solve";
        return Err(FactorJobError::Option(text.to_owned()));
    }
    let arguments = ScoreArguments::default()
        .damping(number(damping))
        .low_rank(plan.how.rank)
        .apart(request.form.per == ScorePer::Module, false)
        .aggregated(plan.how.sum_queries, request.form.summed)
        .self_influence_of(request.target.measures_rows());
    let folder = ScoreFolder::create(path, &arguments, &plan.arguments())?;
    // A sum over rows, or over queries, has no id.
    if !request.form.summed {
        folder.settle_ids(ScoreSide::Train, &row_ids(plan, work.cancel)?)?;
    }
    if !request.target.is_own() && !plan.how.sum_queries {
        folder.settle_ids(ScoreSide::Query, &plan.names.ids)?;
    }
    let note = |size: u64| DatasetNote { kind: "Dataset".to_owned(), dataset_size: size, indices: None };
    folder.write_dataset(ScoreSide::Train, &note(plan.rows.len()))?;
    if !request.target.is_own() {
        let queries = note(plan.queries.len() as u64);
        folder.write_dataset(ScoreSide::Query, &queries)?;
    }
    Ok(folder)
}

/// The ids of the pool's rows, in their order.
fn row_ids(plan: &ScorePlan, cancel: &Cancel) -> Result<Vec<String>, FactorJobError> {
    let mut ids = Vec::new();
    for batch in plan.batches.samples().scan_rows(&["id"], plan.rows.clone()) {
        cancel.check()?;
        let batch = batch?;
        ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// Writes the scores into a folder of Kronfluence's, of modules as transformers names them.
pub(super) fn write_kronfluence(folder: &ScoreFolder, held: HeldScores) -> Result<(), FactorJobError> {
    let HeldScores { tables, queries, rows, own, .. } = held;
    let (kind, shape) = match own {
        true => (ScoreKind::OfItself, vec![rows]),
        false => (ScoreKind::Pairwise, vec![queries, rows]),
    };
    let table = |(name, values): (String, Vec<f32>)| {
        let key = transformers_name(&name).to_owned();
        ScoreTable { key, shape: shape.clone(), values }
    };
    let tables: Vec<ScoreTable> = tables.into_iter().map(table).collect();
    Ok(folder.write(kind, None, &tables)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_rows_of_each_column_come_first() {
        let mut best = TopRows::new(2, 2);
        for row in 0..7u64 {
            let value = [3.0, 5.0, 1.0, 5.0, 2.0, 0.0, 4.0][row as usize];
            best.push(&RowScores { row, is_scored: true, values: vec![value, -value] });
        }
        assert_eq!(best.sorted(), [vec![(5.0, 1), (5.0, 3)], vec![(-0.0, 5), (-1.0, 2)]]);
        let mut all = TopRows::new(usize::MAX, 1);
        all.push(&RowScores { row: 4, is_scored: true, values: vec![1.0] });
        assert_eq!(all.sorted(), [vec![(1.0, 4)]]);
    }
}
