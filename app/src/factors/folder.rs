//! Kronfluence's folder of factors: sums of covariances, eigenbases and squares of gradients in its formats.
//!
//! Invariants
//! - a file appears when it is whole, and a quantity is there when all of its files are; counts are the last
//! - sums and counts are kept, not means, so that partitions and later data add up
//! - what is read is checked against the shapes that belong to it; values may be F64, F32, BF16 or F16
//!
//! Files do not say whether a module has a bias, so that modules that are read have none: their inputs count
//! the constant as any other.

mod arguments;
mod documents;
mod error;
mod scores;
mod tensors;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use gstore_curvature::{Covariance, Eigen, Module, ModuleFactors, Squares, Strategy};
use serde_json::Map;

pub(super) use documents::{PART, write as write_document};

pub use arguments::{DatasetNote, FactorArguments, FactorStage, ScoreArguments};
pub use error::FactorError;
pub use scores::{ALL_MODULES, ScoreFolder, ScoreSide, ScoreTable};
use tensors::{Tensor, Tensors, Values};

/// A partition: of the data, and of the modules.
pub type Partition = (usize, usize);

/// Sums of inputs and of gradients of outputs, by name of their module.
pub type NamedCovariances = Vec<(String, Covariance, Covariance)>;

/// Eigenbases of inputs and of gradients of outputs, by name of their module.
pub type NamedEigen = Vec<(String, Eigen, Eigen)>;

const ARGUMENTS: &str = "factor_arguments.json";
const COVARIANCES: [&str; 2] = ["activation_covariance", "gradient_covariance"];
const COVARIANCE_COUNTS: [&str; 2] =
    ["num_activation_covariance_processed", "num_gradient_covariance_processed"];
const EIGENVECTORS: [&str; 2] = ["activation_eigenvectors", "gradient_eigenvectors"];
const EIGENVALUES: [&str; 2] = ["activation_eigenvalues", "gradient_eigenvalues"];
const LAMBDA: &str = "lambda_matrix";
const LAMBDA_COUNT: &str = "num_lambda_processed";

/// Arguments that name the dtypes of covariances.
const COVARIANCE_DTYPES: [&str; 2] = ["activation_covariance_dtype", "gradient_covariance_dtype"];

/// A folder `factors_NAME`.
#[derive(Debug, Clone)]
pub struct FactorFolder {
    path: PathBuf,
    arguments: FactorArguments,
}

impl FactorFolder {
    /// Makes a folder, or goes on with one that was begun with the same arguments.
    ///
    /// # Errors
    /// Other arguments there, and what the file system refuses.
    pub fn create(path: &Path, arguments: &FactorArguments) -> Result<Self, FactorError> {
        fs_err::create_dir_all(path)?;
        arguments::settle(&path.join(ARGUMENTS), arguments.values())?;
        Ok(Self { path: path.to_owned(), arguments: arguments.clone() })
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// A folder without arguments, a strategy that is not known, and files that cannot be read.
    pub fn open(path: &Path) -> Result<Self, FactorError> {
        let missing = || FactorError::Missing { folder: path.to_owned(), what: ARGUMENTS.to_owned() };
        let arguments = FactorArguments::read(&path.join(ARGUMENTS))?.ok_or_else(missing)?;
        Ok(Self { path: path.to_owned(), arguments })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the factors were fitted.
    pub fn arguments(&self) -> &FactorArguments {
        &self.arguments
    }

    /// Notes a dataset that was fitted on.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn write_dataset(&self, stage: FactorStage, note: &DatasetNote) -> Result<(), FactorError> {
        documents::write(&self.dataset(stage), note)
    }

    /// The note of a dataset.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_dataset(&self, stage: FactorStage) -> Result<Option<DatasetNote>, FactorError> {
        documents::read(&self.dataset(stage))
    }

    /// Writes sums of covariances, of inputs and of gradients of outputs, in the dtypes of the arguments.
    ///
    /// # Errors
    /// Sums of another size or that are not finite, and what the file system refuses.
    pub fn write_covariances(
        &self,
        partition: Option<Partition>,
        modules: &[Module],
        sums: &[(Covariance, Covariance)],
    ) -> Result<(), FactorError> {
        self.same_length(modules, sums.len())?;
        for side in 0..2 {
            let double = self.arguments.is_double(COVARIANCE_DTYPES[side]);
            let tensors = modules.iter().zip(sums).map(|(module, (a, g))| {
                let (sum, size) = if side == 0 { (a, module.input) } else { (g, module.out) };
                self.matrix(&module.name, (size, size), &sum.sums, double)
            });
            let tensors = tensors.collect::<Result<Vec<Tensor<'_>>, FactorError>>()?;
            self.write(COVARIANCES[side], partition, tensors)?;
        }
        for side in 0..2 {
            let counts = modules
                .iter()
                .zip(sums)
                .map(|(module, (a, g))| counted(&module.name, if side == 0 { a.count } else { g.count }));
            self.write(COVARIANCE_COUNTS[side], partition, counts.collect())?;
        }
        Ok(())
    }

    /// Sums of covariances, by name of their module; none where they are not there.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together.
    pub fn read_covariances(
        &self,
        partition: Option<Partition>,
    ) -> Result<Option<NamedCovariances>, FactorError> {
        let Some(files) = Pair::open(self, COVARIANCES, COVARIANCE_COUNTS, partition)? else {
            return Ok(None);
        };
        let of = |name: String| -> Result<_, FactorError> {
            let [activation, gradient] = [0, 1].map(|side| files.covariance(side, &name));
            Ok((name, activation?, gradient?))
        };
        files.names().into_iter().map(of).collect::<Result<NamedCovariances, FactorError>>().map(Some)
    }

    /// Writes eigenbases of the covariances, of inputs and of gradients of outputs, in the dtypes of the
    /// arguments.
    ///
    /// # Errors
    /// Bases of another size or with values that are not finite, and what the file system refuses.
    pub fn write_eigen(&self, modules: &[Module], bases: &[(Eigen, Eigen)]) -> Result<(), FactorError> {
        self.same_length(modules, bases.len())?;
        for names in [EIGENVECTORS, EIGENVALUES] {
            for side in 0..2 {
                let double = self.arguments.is_double(COVARIANCE_DTYPES[side]);
                let tensors = modules.iter().zip(bases).map(|(module, (a, g))| -> Result<_, FactorError> {
                    let (eigen, size) = if side == 0 { (a, module.input) } else { (g, module.out) };
                    let mut values = self.matrix(&module.name, (size, 1), &eigen.values, double)?;
                    values.shape = vec![size];
                    let vectors = self.matrix(&module.name, (size, size), &eigen.vectors, double)?;
                    Ok(if names == EIGENVALUES { values } else { vectors })
                });
                let tensors = tensors.collect::<Result<Vec<Tensor<'_>>, FactorError>>()?;
                self.write(names[side], None, tensors)?;
            }
        }
        Ok(())
    }

    /// Eigenbases, by name of their module; none where they are not there.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together.
    pub fn read_eigen(&self) -> Result<Option<NamedEigen>, FactorError> {
        let Some(files) = Pair::open(self, EIGENVECTORS, EIGENVALUES, None)? else { return Ok(None) };
        let of = |name: String| -> Result<_, FactorError> {
            let [activation, gradient] = [0, 1].map(|side| files.eigen(side, &name));
            Ok((name, activation?, gradient?))
        };
        files.names().into_iter().map(of).collect::<Result<NamedEigen, FactorError>>().map(Some)
    }

    /// Writes sums of squares of gradients, `[out, input]`: in the eigenbasis, or as they are of the strategy
    /// that has none; in the dtype of the arguments.
    ///
    /// # Errors
    /// Sums of another size or that are not finite, and what the file system refuses.
    pub fn write_lambda(
        &self,
        partition: Option<Partition>,
        modules: &[Module],
        sums: &[Squares],
    ) -> Result<(), FactorError> {
        self.same_length(modules, sums.len())?;
        let double = self.arguments.is_double("lambda_dtype");
        let tensors = modules
            .iter()
            .zip(sums)
            .map(|(module, sum)| self.matrix(&module.name, (module.out, module.input), &sum.sums, double));
        self.write(LAMBDA, partition, tensors.collect::<Result<Vec<Tensor<'_>>, FactorError>>()?)?;
        let counts = modules.iter().zip(sums).map(|(module, sum)| counted(&module.name, sum.count));
        self.write(LAMBDA_COUNT, partition, counts.collect())
    }

    /// Sums of squares of gradients, by name of their module; none where they are not there.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together.
    pub fn read_lambda(
        &self,
        partition: Option<Partition>,
    ) -> Result<Option<Vec<(String, Squares)>>, FactorError> {
        let Some((sums, counts)) = self.lambda_files(partition)? else { return Ok(None) };
        let of = |name: String| -> Result<_, FactorError> {
            let squares = Squares { sums: sums.numbers(&name)?, count: counts.count(&name)? };
            Ok((name, squares))
        };
        sums.names().into_iter().map(of).collect::<Result<Vec<_>, FactorError>>().map(Some)
    }

    /// Hands on what there is of the modules that are named, or of all, once their partitions are put
    /// together: one module at a time, in the order of the numbers in their names.
    ///
    /// # Errors
    /// Names that the folder does not have, files that cannot be read or do not fit together.
    pub fn each_factors(
        &self,
        modules: Option<&[String]>,
        each: &mut dyn FnMut(Module, ModuleFactors) -> Result<(), FactorError>,
    ) -> Result<(), FactorError> {
        let covariances = Pair::open(self, COVARIANCES, COVARIANCE_COUNTS, None)?;
        let eigen = Pair::open(self, EIGENVECTORS, EIGENVALUES, None)?;
        let lambda = self.lambda_files(None)?;
        let known = [covariances.as_ref(), eigen.as_ref()].into_iter().flatten().map(Pair::names);
        let of_lambda = lambda.as_ref().map(|(sums, _)| sums.names());
        let mut names = known.chain(of_lambda).max_by_key(Vec::len).unwrap_or_default();
        names.sort_by_cached_key(|name| natural(name));
        if let Some(wanted) = modules {
            if let Some(none) = wanted.iter().find(|name| !names.contains(name)) {
                let what = format!("factors of module `{none}`; it has {}", shown(&names));
                return Err(FactorError::Missing { folder: self.path.clone(), what });
            }
            names.retain(|name| wanted.contains(name));
        }
        for name in names {
            let mut factors = ModuleFactors::default();
            if let Some(files) = &covariances {
                factors.activation = Some(files.covariance(0, &name)?);
                factors.gradient = Some(files.covariance(1, &name)?);
            }
            if let Some(files) = &eigen {
                factors.activation_eigen = Some(files.eigen(0, &name)?);
                factors.gradient_eigen = Some(files.eigen(1, &name)?);
            }
            let mut shape = None;
            if let Some((sums, counts)) = &lambda {
                let found = sums.shape(&name)?;
                let [out, input] = found[..] else {
                    return Err(sums.wrong(&name, &format!("a lambda matrix has two sizes, not {found:?}")));
                };
                shape = Some((out, input));
                let squares = Squares { sums: sums.numbers(&name)?, count: counts.count(&name)? };
                match self.arguments.strategy() {
                    Strategy::Diagonal => factors.diagonal = Some(squares),
                    _ => factors.lambda = Some(squares),
                }
            }
            each(self.module(name, shape, &factors)?, factors)?;
        }
        Ok(())
    }

    /// All of [`FactorFolder::each_factors`] at once.
    ///
    /// # Errors
    /// As there.
    pub fn factors(&self, modules: Option<&[String]>) -> Result<Vec<(Module, ModuleFactors)>, FactorError> {
        let mut all = Vec::new();
        self.each_factors(modules, &mut |module, factors| {
            all.push((module, factors));
            Ok(())
        })?;
        Ok(all)
    }

    /// The module that factors are of, whose parts have to agree on its sizes.
    fn module(
        &self,
        name: String,
        shape: Option<(usize, usize)>,
        factors: &ModuleFactors,
    ) -> Result<Module, FactorError> {
        let size = |covariance: &Option<Covariance>| covariance.as_ref().map(|sums| sums.size);
        let of_sums = size(&factors.gradient).zip(size(&factors.activation));
        let of_bases = factors
            .gradient_eigen
            .as_ref()
            .map(Eigen::size)
            .zip(factors.activation_eigen.as_ref().map(Eigen::size));
        let known: Vec<(usize, usize)> = [shape, of_sums, of_bases].into_iter().flatten().collect();
        match known[..] {
            [(out, input), ref others @ ..] if others.iter().all(|other| *other == (out, input)) => {
                Ok(Module { name, out, input, bias: false })
            }
            _ => Err(FactorError::file(
                &self.path,
                format!("module `{name}`: its factors have sizes {known:?}"),
            )),
        }
    }

    fn lambda_files(&self, partition: Option<Partition>) -> Result<Option<(Tensors, Tensors)>, FactorError> {
        let sums = Tensors::open(self.file(LAMBDA, partition))?;
        let counts = Tensors::open(self.file(LAMBDA_COUNT, partition))?;
        Ok(sums.zip(counts))
    }

    fn dataset(&self, stage: FactorStage) -> PathBuf {
        self.path.join(format!("{}_dataset_metadata.json", stage.name()))
    }

    fn file(&self, what: &str, partition: Option<Partition>) -> PathBuf {
        self.path.join(file_name(what, partition))
    }

    fn write(
        &self,
        what: &'static str,
        partition: Option<Partition>,
        tensors: Vec<Tensor<'_>>,
    ) -> Result<(), FactorError> {
        // Kronfluence's sums of partitions have no arguments either; all others have.
        let partitioned = match what {
            LAMBDA | LAMBDA_COUNT => self.arguments.partitions_of(FactorStage::Lambda) != (1, 1),
            name if EIGENVECTORS.contains(&name) || EIGENVALUES.contains(&name) => false,
            _ => self.arguments.partitions_of(FactorStage::Covariance) != (1, 1),
        };
        let texts = match partition.is_none() && partitioned {
            true => Map::new(),
            false => arguments::as_texts(self.arguments.values()),
        };
        tensors::write(&self.file(what, partition), tensors, &texts, what)
    }

    /// A matrix whose values have to be those of its sizes.
    fn matrix<'a>(
        &self,
        name: &'a str,
        (rows, cols): (usize, usize),
        values: &'a [f64],
        double: bool,
    ) -> Result<Tensor<'a>, FactorError> {
        if values.len() != rows * cols {
            let detail = format!("module `{name}`: {} values for a matrix of {rows} x {cols}", values.len());
            return Err(FactorError::file(&self.path, detail));
        }
        Ok(Tensor { name, shape: vec![rows, cols], values: Values::Numbers { values, double } })
    }

    fn same_length(&self, modules: &[Module], found: usize) -> Result<(), FactorError> {
        match modules.len() == found {
            true => Ok(()),
            false => {
                let detail = format!("factors of {found} modules, {} are meant", modules.len());
                Err(FactorError::file(&self.path, detail))
            }
        }
    }
}

/// Files of two quantities, each of inputs and of gradients of outputs.
struct Pair {
    first: [Tensors; 2],
    second: [Tensors; 2],
}

impl Pair {
    /// Opens them; none where one of them is not there.
    fn open(
        folder: &FactorFolder,
        first: [&str; 2],
        second: [&str; 2],
        partition: Option<Partition>,
    ) -> Result<Option<Self>, FactorError> {
        let open = |name: &str| Tensors::open(folder.file(name, partition));
        let [a, b, c, d] = [open(first[0])?, open(first[1])?, open(second[0])?, open(second[1])?];
        Ok(a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| Self { first: [a, b], second: [c, d] }))
    }

    /// Names of the modules, in byte order.
    fn names(&self) -> Vec<String> {
        self.first[0].names()
    }

    /// Size of a square matrix.
    fn size(&self, side: usize, name: &str) -> Result<usize, FactorError> {
        let file = &self.first[side];
        match file.shape(name)?[..] {
            [rows, cols] if rows == cols => Ok(rows),
            ref shape => Err(file.wrong(name, &format!("a square matrix is due, not one of {shape:?}"))),
        }
    }

    fn covariance(&self, side: usize, name: &str) -> Result<Covariance, FactorError> {
        let size = self.size(side, name)?;
        Ok(Covariance { size, sums: self.first[side].numbers(name)?, count: self.second[side].count(name)? })
    }

    fn eigen(&self, side: usize, name: &str) -> Result<Eigen, FactorError> {
        let size = self.size(side, name)?;
        let values = self.second[side].numbers(name)?;
        if values.len() != size {
            let detail = format!("{} eigenvalues for {size} eigenvectors", values.len());
            return Err(self.second[side].wrong(name, &detail));
        }
        // Rounding may have made some negative.
        let values = values.into_iter().map(|value| value.max(0.0)).collect();
        Ok(Eigen { values, vectors: self.first[side].numbers(name)? })
    }
}

fn counted(name: &str, count: u64) -> Tensor<'_> {
    Tensor { name, shape: vec![1], values: Values::Count(count) }
}

/// Name of the file of a quantity.
fn file_name(what: &str, partition: Option<Partition>) -> String {
    match partition {
        None => format!("{what}.safetensors"),
        Some((data, modules)) => {
            format!("{what}_data_partition{data}_module_partition{modules}.safetensors")
        }
    }
}

/// A name whose numbers are compared as numbers: layer 2 comes before layer 10.
fn natural(name: &str) -> Vec<(u64, String)> {
    let part = |part: &str| match part.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => (u64::MAX, part.to_owned()),
    };
    name.split('.').map(part).collect()
}

/// A few of some names.
fn shown(names: &[String]) -> String {
    let few: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > 3 => format!("{}, ... ({n} in all)", few.join(", ")),
        _ => few.join(", "),
    }
}
