//! Writing factors: of each quantity a file, in the dtype of the arguments.

use gstore_curvature::{Blocks, Covariance, Eigen, Module, Squares};
use serde_json::Map;

use super::arguments::{self, FactorStage};
use super::digests;
use super::error::FactorError;
use super::tensors::{self, Tensor, TensorValues};
use super::{
    COVARIANCE_COUNTS, COVARIANCES, EIGENVALUES, EIGENVECTORS, FactorFolder, LAMBDA, LAMBDA_COUNT, Partition,
};

/// Arguments that name the dtypes of covariances.
const COVARIANCE_DTYPES: [&str; 2] = ["activation_covariance_dtype", "gradient_covariance_dtype"];

impl FactorFolder {
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
                self.matrix(&module.name, shape(sum.blocks(), size), &sum.sums, double)
            });
            let tensors = tensors.collect::<Result<Vec<Tensor<'_>>, FactorError>>()?;
            self.write(COVARIANCES[side], partition, tensors)?;
        }
        for side in 0..2 {
            let counts = modules.iter().zip(sums).map(|(module, (a, g))| {
                count_tensor(&module.name, if side == 0 { a.count } else { g.count })
            });
            self.write(COVARIANCE_COUNTS[side], partition, counts.collect())?;
        }
        Ok(())
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
                    let shape = shape(eigen.blocks(), size);
                    let vectors = self.matrix(&module.name, shape, &eigen.vectors, double)?;
                    Ok(if names == EIGENVALUES { values } else { vectors })
                });
                let tensors = tensors.collect::<Result<Vec<Tensor<'_>>, FactorError>>()?;
                self.write(names[side], None, tensors)?;
            }
        }
        Ok(())
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
        let counts = modules.iter().zip(sums).map(|(module, sum)| count_tensor(&module.name, sum.count));
        self.write(LAMBDA_COUNT, partition, counts.collect())
    }

    pub(super) fn write(
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
            false => arguments::python_texts(self.arguments.values()),
        };
        let path = self.file(what, partition);
        if self.has_digests {
            digests::forget(&path)?;
        }
        tensors::write(&path, tensors, &texts, what)?;
        match self.has_digests {
            true => digests::note(&path),
            false => Ok(()),
        }
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
        Ok(Tensor { name, shape: vec![rows, cols], values: TensorValues::Numbers { values, double } })
    }

    fn same_length(&self, modules: &[Module], found: usize) -> Result<(), FactorError> {
        match modules.len() == found {
            true => Ok(()),
            false => {
                let detail = format!("factors of {found} modules, expected {}", modules.len());
                Err(FactorError::file(&self.path, detail))
            }
        }
    }
}

/// Sizes of what is stored of a square matrix of so many rows.
fn shape(blocks: Option<Blocks>, size: usize) -> (usize, usize) {
    (size, blocks.filter(|blocks| blocks.size() == size).map_or(size, Blocks::width))
}

fn count_tensor(name: &str, count: u64) -> Tensor<'_> {
    Tensor { name, shape: vec![1], values: TensorValues::Count(count) }
}
