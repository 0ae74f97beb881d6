//! Kronfluence's folder of scores: pairwise and of samples with themselves, whole or in partitions.

use std::io::Write;
use std::path::{Path, PathBuf};

use gstore_core::first_of;

use super::arguments::{DatasetNote, FactorArguments, ScoreArguments, python_texts, settle};
use super::documents;
use super::error::FactorError;
use super::tensors::{self, Tensor, TensorValues, Tensors};
use super::{ARGUMENTS, Partition, file_name};

/// Key of scores that are summed over all modules.
pub(crate) const ALL_MODULES: &str = "all_modules";

const SCORE_ARGUMENTS: &str = "score_arguments.json";

/// Names in a message.
const MOST_NAMES: usize = 5;

/// Which scores of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreKind {
    /// Of queries with samples.
    Pairwise,
    /// Of samples with themselves.
    OfItself,
}

impl ScoreKind {
    /// What names of files begin with.
    fn name(self) -> &'static str {
        match self {
            ScoreKind::Pairwise => "pairwise_scores",
            ScoreKind::OfItself => "self_scores",
        }
    }

    /// The axes of a score for each sequence; the last one is of samples.
    fn axes(self) -> &'static [&'static str] {
        match self {
            ScoreKind::Pairwise => &["queries", "samples"],
            ScoreKind::OfItself => &["samples"],
        }
    }
}

/// Scores of a module, or of all of them: written as f32, read as f64, which has those of all dtypes.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreTable<T = f32> {
    /// The module, or `all_modules`.
    pub key: String,
    /// `[queries, samples]`, or `[queries, samples, tokens]`; of samples with themselves `[samples]`.
    pub shape: Vec<usize>,
    /// The scores.
    pub values: Vec<T>,
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
    /// How the scores were made.
    pub(super) arguments: ScoreArguments,
}

impl ScoreFolder {
    /// Makes a folder, or goes on with one that was begun with the same arguments.
    pub(crate) fn create(
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

    /// Whether a folder is one, complete or not: it has arguments or a file of scores.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn is_at(path: &Path) -> Result<bool, FactorError> {
        let has = |kind| Self::has(path, kind);
        Ok(path.join(SCORE_ARGUMENTS).is_file() || has(ScoreKind::Pairwise)? || has(ScoreKind::OfItself)?)
    }

    pub(crate) fn write_dataset(&self, side: ScoreSide, note: &DatasetNote) -> Result<(), FactorError> {
        documents::write(&self.dataset(side), note)
    }

    /// The list of the ids of a dataset, one on each line in the order of scoring. Kronfluence has no such
    /// file, and opens its own by their names.
    pub fn ids_file(&self, side: ScoreSide) -> PathBuf {
        self.path.join(match side {
            ScoreSide::Query => "queries.txt",
            ScoreSide::Train => "rows.txt",
        })
    }

    /// Lists the ids of a dataset, or refuses them where others are listed.
    pub(crate) fn settle_ids(&self, side: ScoreSide, ids: &[String]) -> Result<(), FactorError> {
        let path = self.ids_file(side);
        if let Some(id) = ids.iter().find(|id| id.contains(['\n', '\r'])) {
            let detail =
                format!("it has an id on each line, and {id:?} has a line break: rename that sample");
            return Err(FactorError::file(path, detail));
        }
        let fill = |out: &mut dyn Write| {
            ids.iter().try_for_each(|id| writeln!(out, "{id}")).map_err(FactorError::from)
        };
        if !path.exists() && documents::place_new(&path, fill)? {
            return Ok(());
        }
        let listed = fs_err::read_to_string(&path)?;
        // A list that a user wrote may begin with a byte order mark.
        match listed.trim_start_matches('\u{feff}').lines().eq(ids.iter().map(String::as_str)) {
            true => Ok(()),
            false => {
                let detail = "it lists different ids: the folder has scores of other samples; name another, or remove it";
                Err(FactorError::file(path, detail))
            }
        }
    }

    pub(crate) fn write(
        &self,
        kind: ScoreKind,
        partition: Option<Partition>,
        tables: &[ScoreTable],
    ) -> Result<(), FactorError> {
        let path = self.path.join(file_name(kind.name(), partition));
        if let Some(torn) = tables.iter().find(|t| t.values.len() != t.shape.iter().product::<usize>()) {
            let detail = format!("{}: {} scores for {:?}", torn.key, torn.values.len(), torn.shape);
            return Err(FactorError::file(path, detail));
        }
        let tensors = tables
            .iter()
            .map(|table| Tensor {
                name: &table.key,
                shape: table.shape.clone(),
                values: TensorValues::Singles(&table.values),
            })
            .collect();
        tensors::write(&path, tensors, &python_texts(self.arguments.values()), kind.name())
    }

    /// Scores, put together from partitions where there is no whole file: those of modules added, those of
    /// the data after each other, or added where training samples are summed. None where there is neither;
    /// partitions of which some are missing are an error.
    pub(super) fn read(&self, kind: ScoreKind) -> Result<Option<Vec<ScoreTable<f64>>>, FactorError> {
        if let Some(found) = self.read_file(&file_name(kind.name(), None))? {
            return Ok(Some(found));
        }
        if !Self::has(&self.path, kind)? {
            return Ok(None);
        }
        let (data, modules) = self.arguments.partitions_of();
        let lacks = |what: String| FactorError::Missing { folder: self.path.clone(), what };
        let name = |part, group| file_name(kind.name(), Some((part, group)));
        let names = (0..data).flat_map(|part| (0..modules).map(move |group| name(part, group)));
        let missing = first_of(names.filter(|name| !self.path.join(name).exists()), MOST_NAMES);
        if !missing.is_empty() {
            return Err(lacks(missing));
        }
        let axis = match kind {
            ScoreKind::Pairwise if self.arguments.sums_training() => None,
            kind => Some(kind.axes().len() - 1),
        };
        let mut all: Vec<ScoreTable<f64>> = Vec::new();
        for part in 0..data {
            let mut of_part: Vec<ScoreTable<f64>> = Vec::new();
            for group in 0..modules {
                let file = name(part, group);
                let tables = self.read_file(&file)?.ok_or_else(|| lacks(file))?;
                tables.into_iter().try_for_each(|table| self.join(&mut of_part, table, None))?;
            }
            of_part.into_iter().try_for_each(|table| self.join(&mut all, table, axis))?;
        }
        Ok(Some(all))
    }

    /// The sum of the scores of all modules: `[queries, samples]`, or `[samples]` of samples with themselves.
    ///
    /// # Errors
    /// Files that cannot be read, partitions of which some are missing or that do not fit together; no such
    /// scores, those of tokens, those of modules that do not fit together.
    pub fn total(&self, kind: ScoreKind) -> Result<ScoreTable<f64>, FactorError> {
        let Some(tables) = self.read(kind)? else { return Err(self.none(kind)?) };
        let wrong = |detail: String| FactorError::file(&self.path, format!("{}: {detail}", kind.name()));
        if tables.len() > 1 && tables.iter().any(|table| table.key == ALL_MODULES) {
            return Err(wrong(format!(
                "it has both `{ALL_MODULES}` and single modules, whose scores would count twice"
            )));
        }
        let mut total: Option<ScoreTable<f64>> = None;
        for table in tables {
            let (key, shape, axes) = (&table.key, &table.shape, kind.axes());
            if shape.len() != axes.len() {
                let of_tokens = match shape.len() > axes.len() {
                    true => ": scores of tokens are those of samples without compute_per_token_scores",
                    false => "",
                };
                let due = axes.join(", ");
                return Err(wrong(format!("`{key}` has the shape {shape:?}, expected [{due}]{of_tokens}")));
            }
            match &mut total {
                None => total = Some(ScoreTable { key: ALL_MODULES.to_owned(), ..table }),
                Some(total) if total.shape == *shape => {
                    total.values.iter_mut().zip(&table.values).for_each(|(sum, value)| *sum += value);
                }
                Some(total) => {
                    let first = &total.shape;
                    return Err(wrong(format!(
                        "`{key}` has the shape {shape:?}, but other modules have {first:?}"
                    )));
                }
            }
        }
        total.ok_or_else(|| wrong("it has no scores".to_owned()))
    }

    /// What is said where there are no scores of a kind.
    fn none(&self, kind: ScoreKind) -> Result<FactorError, FactorError> {
        let (other, of) = match kind {
            ScoreKind::Pairwise => (ScoreKind::OfItself, "samples with themselves"),
            ScoreKind::OfItself => (ScoreKind::Pairwise, "queries with samples"),
        };
        let file = file_name(kind.name(), None);
        let what = match Self::has(&self.path, other)? {
            true => format!("{file}: its {} are of {of}", other.name()),
            false => file,
        };
        Ok(FactorError::Missing { folder: self.path.clone(), what })
    }

    /// Whether there is a file of a kind, whole or of a partition.
    fn has(path: &Path, kind: ScoreKind) -> Result<bool, FactorError> {
        for entry in fs_err::read_dir(path)? {
            let name = entry?.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(kind.name()));
            if rest.is_some_and(|rest| rest.ends_with(".safetensors")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn dataset(&self, side: ScoreSide) -> PathBuf {
        self.path.join(match side {
            ScoreSide::Query => "query_dataset_metadata.json",
            ScoreSide::Train => "train_dataset_metadata.json",
        })
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<ScoreTable<f64>>>, FactorError> {
        let Some(tensors) = Tensors::open(self.path.join(name))? else { return Ok(None) };
        let table = |key: String| -> Result<ScoreTable<f64>, FactorError> {
            Ok(ScoreTable { shape: tensors.shape(&key)?, values: tensors.numbers(&key)?, key })
        };
        tensors.names().into_iter().map(table).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// Adds a table to that of its key, or puts it behind it along an axis.
    fn join(
        &self,
        all: &mut Vec<ScoreTable<f64>>,
        table: ScoreTable<f64>,
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
