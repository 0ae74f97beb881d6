//! What becomes of the scores of a pass: lines of a table, files of Kronfluence's, sums, or the best rows.

use std::path::Path;

use super::lines::{Lines, number};
use super::pass::RowScores;
use super::plan::ScorePlan;
use super::request::{ScorePer, ScoreRequest, ScoreTarget};
use crate::factors::error::FactorJobError;
use crate::factors::folder::{DatasetNote, ScoreArguments, ScoreFolder, ScoreSide, ScoreTable};

/// What takes the scores of a group of queries.
pub(super) struct Sinks<'a, 'b> {
    pub lines: Option<&'a mut Lines<'b>>,
    pub folder: Option<&'a mut KronfluenceScores>,
    /// Sums over the pool, of each column.
    pub sums: Option<Vec<f64>>,
    pub best: Option<Best>,
    /// The first query of the group.
    pub first: usize,
    /// Queries of the group.
    pub queries: usize,
}

impl Sinks<'_, '_> {
    /// Takes the scores of some rows.
    pub fn take(&mut self, rows: Vec<RowScores>) -> Result<(), FactorJobError> {
        if let Some(sums) = &mut self.sums {
            for row in &rows {
                sums.iter_mut().zip(&row.values).for_each(|(sum, value)| *sum += value);
            }
            return Ok(());
        }
        if let Some(folder) = &mut self.folder {
            folder.take(&rows, self.first, self.queries);
        }
        match (&mut self.best, &mut self.lines) {
            (Some(best), _) => rows.iter().for_each(|row| best.push(row)),
            (None, Some(lines)) => lines.write(&rows, self.first, self.queries)?,
            (None, None) => {}
        }
        Ok(())
    }

    /// Writes what had to wait for all rows.
    pub fn finish(self) -> Result<(), FactorJobError> {
        let Self { mut lines, mut folder, sums, best, first, queries } = self;
        if let Some(values) = sums {
            let row = [RowScores { row: 0, values }];
            if let Some(folder) = &mut folder {
                folder.take(&row, first, queries);
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
        if let Some(folder) = folder {
            folder.row = 0;
        }
        Ok(())
    }
}

/// The rows with the highest scores of each column; of equal ones the first.
pub(super) struct Best {
    most: usize,
    columns: Vec<Vec<(f64, u64)>>,
}

impl Best {
    pub fn new(most: usize, columns: usize) -> Self {
        Self { most, columns: vec![Vec::new(); columns] }
    }

    fn push(&mut self, row: &RowScores) {
        for (best, score) in self.columns.iter_mut().zip(&row.values) {
            best.push((*score, row.row));
            if best.len() >= 2 * self.most.max(1) {
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

/// Scores on their way into a folder of Kronfluence's: all of them, 4 bytes each.
pub(super) struct KronfluenceScores {
    folder: ScoreFolder,
    /// Names of the tables, and the scores of each: `[queries, rows]`.
    tables: Vec<(String, Vec<f32>)>,
    queries: usize,
    rows: usize,
    /// Rows of the pass that were taken.
    row: usize,
    own: bool,
}

impl KronfluenceScores {
    pub fn new(path: &Path, plan: &ScorePlan, request: &ScoreRequest) -> Result<Self, FactorJobError> {
        let refuse = |text: &str| Err(FactorJobError::Option(text.to_owned()));
        let [damping] = &plan.how.dampings[..] else {
            return refuse("Kronfluence's files have scores of one damping");
        };
        if request.form.per == ScorePer::Token {
            return refuse(
                "Kronfluence's files have scores of tokens where all samples have as many of them",
            );
        }
        let own = matches!(request.target, ScoreTarget::Own);
        let per_module = request.form.per == ScorePer::Module;
        let arguments = ScoreArguments::default()
            .damping(number(damping))
            .low_rank(plan.how.rank)
            .apart(per_module, false)
            .aggregated(plan.how.sum_queries, request.form.summed);
        let folder =
            ScoreFolder::create(path, &arguments, &plan.arguments()).map_err(FactorJobError::other)?;
        let pool = usize::try_from(plan.rows.len()).unwrap_or(usize::MAX);
        let rows = if request.form.summed { 1 } else { pool };
        let queries = if own || plan.how.sum_queries { 1 } else { plan.queries.len() };
        let note = |size: usize| DatasetNote {
            kind: "Dataset".to_owned(),
            dataset_size: size as u64,
            indices: None,
        };
        folder.write_dataset(ScoreSide::Train, &note(pool)).map_err(FactorJobError::other)?;
        if !own {
            folder
                .write_dataset(ScoreSide::Query, &note(plan.queries.len()))
                .map_err(FactorJobError::other)?;
        }
        let names: Vec<String> = match per_module {
            true => plan.engine.modules().iter().map(|module| module.name.clone()).collect(),
            false => vec!["all_modules".to_owned()],
        };
        let tables = names.into_iter().map(|name| (name, vec![0.0; queries.saturating_mul(rows)])).collect();
        Ok(Self { folder, tables, queries, rows, row: 0, own })
    }

    /// Takes the scores of rows with queries from `first` on.
    fn take(&mut self, rows: &[RowScores], first: usize, queries: usize) {
        for row in rows {
            for ((_, table), values) in self.tables.iter_mut().zip(row.values.chunks_exact(queries.max(1))) {
                for (query, value) in values.iter().enumerate() {
                    if let Some(place) = table.get_mut((first + query) * self.rows + self.row) {
                        *place = *value as f32;
                    }
                }
            }
            self.row += 1;
        }
    }

    /// Writes the files.
    pub fn finish(self) -> Result<(), FactorJobError> {
        let Self { folder, tables, queries, rows, own, .. } = self;
        let shape = if own { vec![rows] } else { vec![queries, rows] };
        let table = |(key, values)| ScoreTable { key, shape: shape.clone(), values };
        let tables: Vec<ScoreTable> = tables.into_iter().map(table).collect();
        let written = match own {
            true => folder.write_self(None, &tables),
            false => folder.write_pairwise(None, &tables),
        };
        written.map_err(FactorJobError::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_rows_of_each_column_come_first() {
        let mut best = Best::new(2, 2);
        for row in 0..7u64 {
            let value = [3.0, 5.0, 1.0, 5.0, 2.0, 0.0, 4.0][row as usize];
            best.push(&RowScores { row, values: vec![value, -value] });
        }
        assert_eq!(best.sorted(), [vec![(5.0, 1), (5.0, 3)], vec![(-0.0, 5), (-1.0, 2)]]);
    }
}
