//! Kronfluence's folder of scores: pairwise and of samples with themselves, whole or in partitions.

use std::path::{Path, PathBuf};

use super::arguments::{DatasetNote, FactorArguments, ScoreArguments, as_texts, settle};
use super::documents;
use super::error::FactorError;
use super::tensors::{self, Tensor, Tensors, Values};
use super::{ARGUMENTS, Partition, file_name};

/// Key of scores that are summed over all modules.
pub const ALL_MODULES: &str = "all_modules";

const SCORE_ARGUMENTS: &str = "score_arguments.json";
const PAIRWISE: &str = "pairwise_scores";
const OF_ITSELF: &str = "self_scores";

/// Scores of a module, or of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreTable {
    /// The module, or `all_modules`.
    pub key: String,
    /// `[queries, samples]`, or `[queries, samples, tokens]`; of samples with themselves `[samples]`.
    pub shape: Vec<usize>,
    /// The scores.
    pub values: Vec<f32>,
}

/// Which dataset of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreSide {
    /// Of the queries.
    Query,
    /// Of the training samples.
    Train,
}

/// A folder `scores_NAME`.
#[derive(Debug, Clone)]
pub struct ScoreFolder {
    path: PathBuf,
    arguments: ScoreArguments,
}

impl ScoreFolder {
    /// Makes a folder, or goes on with one that was begun with the same arguments.
    ///
    /// # Errors
    /// Other arguments there, and what the file system refuses.
    pub fn create(
        path: &Path,
        arguments: &ScoreArguments,
        factors: &FactorArguments,
    ) -> Result<Self, FactorError> {
        fs_err::create_dir_all(path)?;
        settle(&path.join(SCORE_ARGUMENTS), arguments.values())?;
        settle(&path.join(ARGUMENTS), factors.values())?;
        Ok(Self { path: path.to_owned(), arguments: arguments.clone() })
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// A folder without arguments, and files that cannot be read.
    pub fn open(path: &Path) -> Result<Self, FactorError> {
        let missing = || FactorError::Missing { folder: path.to_owned(), what: SCORE_ARGUMENTS.to_owned() };
        let arguments = ScoreArguments::read(&path.join(SCORE_ARGUMENTS))?.ok_or_else(missing)?;
        Ok(Self { path: path.to_owned(), arguments })
    }

    /// How the scores were made.
    pub fn arguments(&self) -> &ScoreArguments {
        &self.arguments
    }

    /// Notes a dataset.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn write_dataset(&self, side: ScoreSide, note: &DatasetNote) -> Result<(), FactorError> {
        documents::write(&self.dataset(side), note)
    }

    /// The note of a dataset.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_dataset(&self, side: ScoreSide) -> Result<Option<DatasetNote>, FactorError> {
        documents::read(&self.dataset(side))
    }

    /// Writes scores of queries with samples.
    ///
    /// # Errors
    /// A table whose values are not those of its shape, and what the file system refuses.
    pub fn write_pairwise(
        &self,
        partition: Option<Partition>,
        tables: &[ScoreTable],
    ) -> Result<(), FactorError> {
        self.write(PAIRWISE, partition, tables)
    }

    /// Writes scores of samples with themselves.
    ///
    /// # Errors
    /// As [`ScoreFolder::write_pairwise`].
    pub fn write_self(&self, partition: Option<Partition>, tables: &[ScoreTable]) -> Result<(), FactorError> {
        self.write(OF_ITSELF, partition, tables)
    }

    /// Scores of queries with samples, put together from partitions where there is no whole file; none where
    /// partitions are missing.
    ///
    /// # Errors
    /// Files that cannot be read, and partitions that do not fit together.
    pub fn read_pairwise(&self) -> Result<Option<Vec<ScoreTable>>, FactorError> {
        self.whole(PAIRWISE, 1, self.arguments.sums_training())
    }

    /// Scores of samples with themselves.
    ///
    /// # Errors
    /// As [`ScoreFolder::read_pairwise`].
    pub fn read_self(&self) -> Result<Option<Vec<ScoreTable>>, FactorError> {
        self.whole(OF_ITSELF, 0, false)
    }

    fn dataset(&self, side: ScoreSide) -> PathBuf {
        self.path.join(match side {
            ScoreSide::Query => "query_dataset_metadata.json",
            ScoreSide::Train => "train_dataset_metadata.json",
        })
    }

    fn write(
        &self,
        what: &'static str,
        partition: Option<Partition>,
        tables: &[ScoreTable],
    ) -> Result<(), FactorError> {
        let path = self.path.join(file_name(what, partition));
        if let Some(torn) = tables.iter().find(|t| t.values.len() != t.shape.iter().product::<usize>()) {
            let detail = format!("{}: {} scores for {:?}", torn.key, torn.values.len(), torn.shape);
            return Err(FactorError::file(path, detail));
        }
        let tensors = tables
            .iter()
            .map(|table| Tensor {
                name: &table.key,
                shape: table.shape.clone(),
                values: Values::Singles(&table.values),
            })
            .collect();
        tensors::write(&path, tensors, &as_texts(self.arguments.values()), what)
    }

    fn read(&self, name: String) -> Result<Option<Vec<ScoreTable>>, FactorError> {
        let Some(tensors) = Tensors::open(self.path.join(name))? else { return Ok(None) };
        let table = |key: String| -> Result<ScoreTable, FactorError> {
            let values = tensors.numbers(&key)?.into_iter().map(|value| value as f32).collect();
            Ok(ScoreTable { shape: tensors.shape(&key)?, key, values })
        };
        tensors.names().into_iter().map(table).collect::<Result<Vec<ScoreTable>, _>>().map(Some)
    }

    /// The whole file; else partitions of modules added, and those of the data after each other along `axis`,
    /// or added where `summed`.
    fn whole(&self, what: &str, axis: usize, summed: bool) -> Result<Option<Vec<ScoreTable>>, FactorError> {
        if let Some(found) = self.read(file_name(what, None))? {
            return Ok(Some(found));
        }
        let (data, modules) = self.arguments.partitions_of();
        let mut all: Vec<ScoreTable> = Vec::new();
        for part in 0..data {
            let mut of_part: Vec<ScoreTable> = Vec::new();
            for group in 0..modules {
                let name = file_name(what, Some((part, group)));
                let Some(tables) = self.read(name)? else { return Ok(None) };
                tables.into_iter().try_for_each(|table| self.join(&mut of_part, table, None))?;
            }
            let along = (!summed).then_some(axis);
            of_part.into_iter().try_for_each(|table| self.join(&mut all, table, along))?;
        }
        Ok((!all.is_empty()).then_some(all))
    }

    /// Adds a table to that of its key, or puts it behind it along an axis.
    fn join(
        &self,
        all: &mut Vec<ScoreTable>,
        table: ScoreTable,
        along: Option<usize>,
    ) -> Result<(), FactorError> {
        let Some(known) = all.iter_mut().find(|known| known.key == table.key) else {
            all.push(table);
            return Ok(());
        };
        let fits = known.shape.len() == table.shape.len()
            && along.is_none_or(|axis| axis < table.shape.len())
            && (0..table.shape.len()).all(|at| Some(at) == along || known.shape[at] == table.shape[at]);
        if !fits {
            let detail =
                format!("partitions of {} have shapes {:?} and {:?}", table.key, known.shape, table.shape);
            return Err(FactorError::file(&self.path, detail));
        }
        let Some(axis) = along else {
            known.values.iter_mut().zip(&table.values).for_each(|(sum, value)| *sum += value);
            return Ok(());
        };
        let row = |shape: &[usize]| shape[axis..].iter().product::<usize>();
        let (first, second) = (row(&known.shape), row(&table.shape));
        let rows: usize = table.shape[..axis].iter().product();
        let mut values = Vec::with_capacity(known.values.len() + table.values.len());
        for at in 0..rows {
            values.extend_from_slice(&known.values[at * first..(at + 1) * first]);
            values.extend_from_slice(&table.values[at * second..(at + 1) * second]);
        }
        known.values = values;
        known.shape[axis] += table.shape[axis];
        Ok(())
    }
}
