//! One table of given losses, whatever its file: rows of the dataset, models, and cells.

use std::path::{Path, PathBuf};

use gstore_core::Unit;
use gstore_store::{CELL_ROWS, Snapshot};

use super::cells::CellWriter;
use super::manifest::{LossesBeside, Manifest, Signal, TableRecord};
use super::matrix::{LossMatrix, MatrixSpec, MatrixValues, is_matrix};
use super::records::{self, RecordModels};
use super::rows::SampleRows;
use crate::daunce::DaunceError;
use crate::number::NumberType;
use crate::work::JobContext;

/// Losses of samples of one dataset.
#[derive(Debug)]
pub(super) struct LossSource {
    pub dataset: String,
    pub path: PathBuf,
    pub signal: Signal,
    /// Ids of the models, in the order of the columns.
    pub models: Vec<String>,
    /// Of these, those for which a table with a column for each has none.
    pub absent: Vec<String>,
    /// Ids of the samples, in the order of the file, with their rows.
    pub rows: SampleRows,
    /// Precision of the losses.
    pub compute: String,
    matrix: LossMatrix,
    mask: Option<LossMatrix>,
    base: Option<LossMatrix>,
}

impl LossSource {
    /// Opens a table and finds its rows. With `replace`, of two records of a cell the later one counts.
    /// Temporary files are in the folder `scratch`.
    ///
    /// # Errors
    /// A file that does not fit to the manifest; ids that the dataset does not have; a disk without room.
    pub fn open(
        snapshot: &Snapshot,
        manifest: &Manifest,
        (table, scratch): (&TableRecord, &Path),
        (signal, replace): (Signal, bool),
        work: &mut JobContext<'_>,
    ) -> Result<Self, DaunceError> {
        let dataset = snapshot.dataset(&table.dataset)?;
        let known: Vec<String> = manifest.models.iter().map(|model| model.id.text()).collect();
        if let Some(twice) =
            known.iter().enumerate().find(|(at, id)| known.iter().take(*at).any(|o| o == *id))
        {
            let detail = format!("the model {:?} appears twice among the models", twice.1);
            return Err(DaunceError::file(&table.losses, detail));
        }
        let mut source = match is_matrix(&table.losses) {
            true => Self::of_matrix(table, known, signal)?,
            false => Self::of_records((table, scratch), &known, (signal, replace), work)?,
        };
        source.rows.find(snapshot, dataset, &table.losses, work.cancel)?;
        Ok(source)
    }

    fn of_matrix(table: &TableRecord, models: Vec<String>, signal: Signal) -> Result<Self, DaunceError> {
        let path = &table.losses;
        let list = table.rows.as_ref().filter(|_| !models.is_empty());
        let (Some(list), Some(orientation)) = (list, table.orientation) else {
            return Err(DaunceError::file(
                path,
                "a matrix does not say what it holds: a manifest names its `models`, the ids of its `rows`, and its `orientation` (model_major or example_major)",
            ));
        };
        let rows = SampleRows::of_list(list, path)?;
        if rows.ids.is_empty() {
            return Err(DaunceError::file(path, "it has no losses: `rows` names no sample"));
        }
        let stated = table.dtype.as_deref().map(|name| number(path, name)).transpose()?;
        let wanted = MatrixSpec {
            path,
            tensor: table.tensor.as_deref(),
            orientation,
            values: MatrixValues::Losses,
            number: stated,
            examples: rows.ids.len(),
            models: models.len(),
        };
        let matrix = LossMatrix::open(&wanted)?;
        let of_mask = MatrixSpec { values: MatrixValues::Mask, ..wanted };
        let of_base = MatrixSpec { models: 1, ..wanted };
        let mask = table.mask.as_ref().map(|beside| matrix_beside(&of_mask, ("mask", beside)));
        let base = table.base_losses.as_ref().map(|beside| matrix_beside(&of_base, ("base_losses", beside)));
        let compute = stated.unwrap_or(matrix.number).name().to_owned();
        Ok(Self {
            dataset: table.dataset.clone(),
            path: path.clone(),
            signal,
            models,
            absent: Vec::new(),
            rows,
            compute,
            matrix,
            mask: mask.transpose()?,
            base: base.transpose()?,
        })
    }

    fn of_records(
        (table, scratch): (&TableRecord, &Path),
        known: &[String],
        (signal, replace): (Signal, bool),
        work: &mut JobContext<'_>,
    ) -> Result<Self, DaunceError> {
        let path = &table.losses;
        let only_matrix = [
            ("rows", table.rows.is_some()),
            ("mask", table.mask.is_some()),
            ("tensor", table.tensor.is_some()),
        ];
        if let Some((key, _)) = only_matrix.into_iter().find(|(_, given)| *given) {
            return Err(DaunceError::file(
                path,
                format!("a table of records has its own ids and gaps; `{key}` is for a matrix"),
            ));
        }
        let stated = table.dtype.as_deref().map(|name| number(path, name)).transpose()?;
        let records::RecordTable { rows, models, absent, precision, matrix } =
            records::read((path, scratch), signal, (RecordModels::Named(known), replace), work)?;
        let base = table.base_losses.as_ref();
        let base = base.map(|beside| base_of_records((&beside.file, scratch), signal, &rows, work));
        Ok(Self {
            dataset: table.dataset.clone(),
            path: path.clone(),
            signal,
            models,
            absent,
            rows,
            compute: stated.unwrap_or(precision).name().to_owned(),
            matrix,
            mask: None,
            base: base.transpose()?,
        })
    }

    /// The losses of some examples (their places in the file), one for each model; NaN where there is none.
    ///
    /// # Errors
    /// A file that cannot be read; a loss that is no number although nothing says that it is missing.
    pub fn cells(&self, examples: &[usize], out: &mut Vec<f64>) -> Result<(), DaunceError> {
        self.matrix.read(examples, out)?;
        // Cells that a table of records does not have are no losses by intention.
        let gaps = self.matrix.number == NumberType::Inverted;
        let mut valid = Vec::new();
        if let Some(mask) = &self.mask {
            mask.read(examples, &mut valid)?;
            if let Some((at, flag)) = valid.iter().enumerate().find(|(_, flag)| ![0.0, 1.0].contains(*flag)) {
                let (id, model) = self.cell(examples, at);
                let detail = format!(
                    "the mask of {id:?} under {model:?} is {flag:?}; it must be 0 where a loss is missing, else 1"
                );
                return Err(DaunceError::file(&mask.path, detail));
            }
        }
        for (at, value) in out.iter_mut().enumerate() {
            match valid.get(at) {
                Some(0.0) => *value = f64::NAN,
                _ if gaps && value.is_nan() => {}
                _ => self.check_value(&self.path, *value, || self.cell(examples, at))?,
            }
        }
        Ok(())
    }

    /// Losses of theta_0 of some examples, if there are any; NaN where there is none.
    pub fn base(&self, examples: &[usize], out: &mut Vec<f64>) -> Result<bool, DaunceError> {
        let Some(base) = &self.base else { return Ok(false) };
        base.read(examples, out)?;
        for (at, value) in out.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            self.check_value(&base.path, *value, || (self.id_of(examples, at), "theta_0".to_owned()))?;
        }
        Ok(true)
    }

    /// Checks that a value is one of the signal and can be stored.
    fn check_value(
        &self,
        path: &Path,
        value: f64,
        cell: impl FnOnce() -> (String, String),
    ) -> Result<(), DaunceError> {
        // What is stored are differences of two losses, in single precision.
        let fits = ((2.0 * value) as f32).is_finite();
        if fits && (self.signal != Signal::Prob || (0.0..=1.0).contains(&value)) {
            return Ok(());
        }
        let (path, (id, model)) = (path.to_owned(), cell());
        Err(match fits {
            true => DaunceError::NoProbability { path, id, model, value },
            false => DaunceError::NotFinite { path, id, model, value },
        })
    }

    /// Whether losses of theta_0 are given.
    pub(crate) fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// The file with the losses of theta_0, where they are given.
    pub(crate) fn base_path(&self) -> &Path {
        self.base.as_ref().map_or(&self.path, |base| &base.path)
    }

    /// Reads all of it once.
    ///
    /// # Errors
    /// As [`LossSource::cells`]; a sample with losses that has none of theta_0, where these are given.
    pub fn check(&self, work: &mut JobContext<'_>) -> Result<(), DaunceError> {
        work.progress.start("checking losses", self.rows.ids.len() as u64, Unit::Rows);
        let all: Vec<usize> = (0..self.rows.ids.len()).collect();
        let (mut cells, mut base) = (Vec::new(), Vec::new());
        for examples in all.chunks(CELL_ROWS as usize) {
            work.cancel.check()?;
            self.cells(examples, &mut cells)?;
            self.base(examples, &mut base)?;
            self.check_base(examples, &cells, &base)?;
            work.progress.advance(examples.len() as u64);
        }
        work.progress.finish();
        Ok(())
    }

    /// Checks that each sample with losses has one of theta_0, where these are given.
    fn check_base(&self, examples: &[usize], cells: &[f64], base: &[f64]) -> Result<(), DaunceError> {
        let Some(matrix) = &self.base else { return Ok(()) };
        let mut of_rows = cells.chunks(self.models.len().max(1)).zip(base);
        let lacks = |(losses, base): (&[f64], &f64)| base.is_nan() && losses.iter().any(|x| !x.is_nan());
        let Some(at) = of_rows.position(lacks) else { return Ok(()) };
        let detail = format!(
            "the loss of {:?} under \"theta_0\" is missing or not a number, although the sample has losses under the models",
            self.id_of(examples, at)
        );
        Err(DaunceError::file(&matrix.path, detail))
    }

    fn id_of(&self, examples: &[usize], at: usize) -> String {
        examples.get(at).and_then(|place| self.rows.ids.get(*place)).cloned().unwrap_or_default()
    }

    /// Sample and model of a cell of some examples.
    fn cell(&self, examples: &[usize], at: usize) -> (String, String) {
        let count = self.models.len().max(1);
        (self.id_of(examples, at / count), self.models.get(at % count).cloned().unwrap_or_default())
    }
}

/// The losses of theta_0 that come with a table, joined by id: those of a table with one model.
fn base_of_records(
    (path, scratch): (&Path, &Path),
    signal: Signal,
    rows: &SampleRows,
    work: &mut JobContext<'_>,
) -> Result<LossMatrix, DaunceError> {
    let table = records::read((path, scratch), signal, (RecordModels::One("theta_0"), false), work)?;
    if table.models.len() != 1 {
        return Err(DaunceError::file(
            path,
            format!("it has {} models, and the losses of theta_0 have one", table.models.len()),
        ));
    }
    let mut cells = CellWriter::new(scratch, path, (rows.ids.len(), 1), false)?;
    let (all, mut values) = ((0..table.rows.ids.len()).collect::<Vec<usize>>(), Vec::new());
    for (places, ids) in all.chunks(CELL_ROWS as usize).zip(table.rows.ids.chunks(CELL_ROWS as usize)) {
        table.matrix.read(places, &mut values)?;
        for (id, value) in ids.iter().zip(&values) {
            if let Some(place) = rows.places.get(id) {
                cells.push(*place as u64, *value)?;
            }
        }
    }
    cells.flush()?;
    Ok(LossMatrix::of_own(cells.file, path, rows.ids.len(), 1))
}

/// Opens another matrix of the same examples, which a key of the manifest names.
fn matrix_beside<'a>(
    wanted: &MatrixSpec<'a>,
    (key, beside): (&str, &'a LossesBeside),
) -> Result<LossMatrix, DaunceError> {
    let LossesBeside { file, tensor } = beside;
    if !file.exists() {
        return Err(DaunceError::file(
            wanted.path,
            format!(
                "`{key}` should be in {}, which does not exist; only a .safetensors has tensors to name",
                file.display()
            ),
        ));
    }
    LossMatrix::open(&MatrixSpec { path: file, tensor: tensor.as_deref(), ..*wanted })
}

fn number(path: &Path, name: &str) -> Result<NumberType, DaunceError> {
    let number = NumberType::parse(name).filter(|number| !number.is_integer());
    number.ok_or_else(|| {
        DaunceError::file(path, format!("dtype {name:?} is not one of f64, f32, f16 and bf16"))
    })
}
