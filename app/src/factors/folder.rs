//! Kronfluence's folder of factors: sums of covariances, eigenbases and squares of gradients in its formats.
//!
//! Invariants
//! - a file appears when it is whole, and a quantity is there when all of its files are; counts are the last
//! - sums and counts are kept, not means, so that partitions and later data add up
//! - what is read is checked against the shapes that belong to it; values may be F64, F32, BF16 or F16
//! - covariances and eigenvectors of a wide module are `[size, width]`, as `Blocks` are stored; Kronfluence
//!   reads those that are written whole
//!
//! Files do not say whether a module has a bias, so that modules that are read have none: their inputs count
//! the constant as any other.

mod arguments;
mod digests;
mod documents;
mod error;
mod reader;
mod scores;
mod tensors;
#[cfg(test)]
mod tests;
mod whole;
mod writing;

use std::path::{Path, PathBuf};

use gstore_curvature::{Module, ModuleFactors};

pub(super) use documents::{is_part, write as write_document, write_or_read};
pub(super) use whole::{check_blocks, check_room, matrices};

pub use arguments::FactorArguments;
pub(super) use arguments::{DatasetNote, FactorStage, ScoreArguments};
pub use error::FactorError;
pub(super) use reader::{FactorParts, FactorReader, some_names};
pub(crate) use scores::ALL_MODULES;
pub use scores::{ScoreFolder, ScoreKind, ScoreSide, ScoreTable};
use tensors::Tensors;
pub(super) use tensors::renamed_header;

/// A partition: of the data, and of the modules.
pub(super) type Partition = (usize, usize);

const ARGUMENTS: &str = "factor_arguments.json";
const COVARIANCES: [&str; 2] = ["activation_covariance", "gradient_covariance"];
const COVARIANCE_COUNTS: [&str; 2] =
    ["num_activation_covariance_processed", "num_gradient_covariance_processed"];
const EIGENVECTORS: [&str; 2] = ["activation_eigenvectors", "gradient_eigenvectors"];
const EIGENVALUES: [&str; 2] = ["activation_eigenvalues", "gradient_eigenvalues"];
const LAMBDA: &str = "lambda_matrix";
const LAMBDA_COUNT: &str = "num_lambda_processed";

/// A folder `factors_NAME`.
#[derive(Debug, Clone)]
pub struct FactorFolder {
    pub(super) path: PathBuf,
    /// How the factors were fitted.
    pub(super) arguments: FactorArguments,
    /// Whether digests of its files are noted and checked: of a fit, which another run may go on with.
    pub(super) has_digests: bool,
}

impl FactorFolder {
    /// Makes a folder, or goes on with one that was begun with the same arguments.
    ///
    /// # Errors
    /// Other arguments there, and what the file system refuses.
    pub fn create(path: &Path, arguments: &FactorArguments) -> Result<Self, FactorError> {
        fs_err::create_dir_all(path)?;
        arguments::settle(&path.join(ARGUMENTS), arguments.values())?;
        Ok(Self { path: path.to_owned(), arguments: arguments.clone(), has_digests: false })
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// No folder, one without arguments, a strategy that is not known, and files that cannot be read.
    pub fn open(path: &Path) -> Result<Self, FactorError> {
        if !path.exists() {
            return Err(FactorError::file(path, "there is no such folder"));
        }
        let missing = || FactorError::Missing { folder: path.to_owned(), what: ARGUMENTS.to_owned() };
        let arguments = FactorArguments::read(&path.join(ARGUMENTS))?.ok_or_else(missing)?;
        Ok(Self { path: path.to_owned(), arguments, has_digests: false })
    }

    /// Whether a fit writes files of this name, besides its stamp and locks.
    pub(super) fn is_written(name: &str) -> bool {
        let of = digests::noted_of(name);
        is_part(name)
            || [FactorStage::Covariance, FactorStage::Lambda]
                .into_iter()
                .any(|stage| dataset_name(stage) == of)
            || FactorParts::ALL.files().iter().any(|whole| whole == of || is_partition_of(whole, of))
    }

    /// Notes a dataset that was fitted on.
    pub(super) fn write_dataset(&self, stage: FactorStage, note: &DatasetNote) -> Result<(), FactorError> {
        documents::write(&self.dataset(stage), note)
    }

    /// A reader of some quantities; none unless all of their files are there.
    pub(super) fn quantities(
        &self,
        parts: FactorParts,
        partition: Option<Partition>,
    ) -> Result<Option<FactorReader>, FactorError> {
        match self.has(parts, partition) {
            true => self.reader_of(parts, partition).map(Some),
            false => Ok(None),
        }
    }

    /// Whether the files of some quantities are there.
    pub(super) fn has(&self, parts: FactorParts, partition: Option<Partition>) -> bool {
        parts.quantities().all(|what| self.file(what, partition).exists())
    }

    /// Refuses a folder without a file that its strategy needs, and one with some of the files of covariances.
    pub(crate) fn check_files(&self) -> Result<(), FactorError> {
        let strategy = self.arguments.strategy();
        let needed = FactorParts::of(strategy).files();
        if let Some(name) = self.lacked(&needed).next() {
            return Err(
                self.missing(format!("{name}, which factors of the strategy {} need", strategy.name()))
            );
        }
        let covariances = COVARIANCES.into_iter().chain(COVARIANCE_COUNTS);
        let covariances: Vec<String> = covariances.map(|what| file_name(what, None)).collect();
        let lacked: Vec<&String> = self.lacked(&covariances).collect();
        match lacked.first() {
            Some(name) if lacked.len() < covariances.len() => {
                Err(self.missing(format!("{name}, which the other covariances need")))
            }
            _ => Ok(()),
        }
    }

    /// Whether there are the sums that later rows are added to.
    pub(super) fn has_sums(&self) -> bool {
        self.lacked(&FactorParts::sums_of(self.arguments.strategy()).files()).next().is_none()
    }

    fn lacked<'a>(&'a self, files: &'a [String]) -> impl Iterator<Item = &'a String> {
        files.iter().filter(|name| !self.path.join(name).exists())
    }

    fn missing(&self, what: String) -> FactorError {
        FactorError::Missing { folder: self.path.clone(), what }
    }

    /// A reader of what there is of whole modules, once their partitions are put together.
    pub(super) fn reader(&self) -> Result<FactorReader, FactorError> {
        self.reader_of(FactorParts::ALL, None)
    }

    pub(super) fn reader_of(
        &self,
        parts: FactorParts,
        partition: Option<Partition>,
    ) -> Result<FactorReader, FactorError> {
        FactorReader::new(&self.path, self.arguments.clone(), parts, &mut self.opener(partition))
    }

    /// What there is of the modules that are named, or of all, once their partitions are put together, in the
    /// order of the numbers in their names.
    ///
    /// # Errors
    /// Names that the folder does not have, files that cannot be read or do not fit together.
    pub fn factors(&self, modules: Option<&[String]>) -> Result<Vec<(Module, ModuleFactors)>, FactorError> {
        let reader = self.reader()?;
        reader.chosen(modules)?.iter().map(|name| reader.module(name)).collect()
    }

    /// Opens the files of a partition by the names of their quantities.
    fn opener(
        &self,
        partition: Option<Partition>,
    ) -> impl FnMut(&str) -> Result<Option<Tensors>, FactorError> {
        move |what| {
            let path = self.file(what, partition);
            if self.has_digests {
                digests::check(&path)?;
            }
            Tensors::open(path)
        }
    }

    fn dataset(&self, stage: FactorStage) -> PathBuf {
        self.path.join(dataset_name(stage))
    }

    fn file(&self, what: &str, partition: Option<Partition>) -> PathBuf {
        self.path.join(file_name(what, partition))
    }
}

/// Name of the note of a stage's dataset.
fn dataset_name(stage: FactorStage) -> String {
    format!("{}_dataset_metadata.json", stage.name())
}

/// Whether a file has a partition of what another one has whole.
fn is_partition_of(whole: &str, name: &str) -> bool {
    let numbers = || -> Option<Partition> {
        let what = whole.strip_suffix(".safetensors")?;
        let numbers =
            name.strip_prefix(what)?.strip_prefix("_data_partition")?.strip_suffix(".safetensors")?;
        let (data, modules) = numbers.split_once("_module_partition")?;
        Some((data.parse().ok()?, modules.parse().ok()?))
    };
    numbers().is_some()
}

fn file_name(what: &str, partition: Option<Partition>) -> String {
    match partition {
        None => format!("{what}.safetensors"),
        Some((data, modules)) => format!("{what}_data_partition{data}_module_partition{modules}.safetensors"),
    }
}
