//! Matrices of wide modules as other programs read them: with the zeros outside of their blocks.

use std::path::Path;

use gstore_curvature::{Blocks, Covariance, Eigen, Module, ModuleFactors};
use gstore_model::architectures::transformers_name;
use gstore_store::{FileMap, vfs::free_space};

use super::error::FactorError;
use super::tensors::{Tensor, TensorValues, Tensors};
use super::{COVARIANCES, EIGENVECTORS, FactorFolder, file_name};

/// Quantities whose matrices may be in blocks.
const MATRICES: [&str; 4] = [COVARIANCES[0], COVARIANCES[1], EIGENVECTORS[0], EIGENVECTORS[1]];

/// The quantity of square matrices that a file of finished factors has, if one.
pub(in crate::factors) fn matrices(file: &str) -> Option<&'static str> {
    MATRICES.into_iter().find(|what| file_name(what, None) == file)
}

/// Refuses a folder whose disk has no room for whole covariances and eigenvectors of modules, in f64.
pub(in crate::factors) fn check_room(folder: &Path, modules: &[Module]) -> Result<(), FactorError> {
    let squares = |module: &Module| (module.input as u64).pow(2) + (module.out as u64).pow(2);
    let needed = 16 * modules.iter().map(squares).sum::<u64>();
    match free_space(folder) {
        Some(free) if free < needed => Err(FactorError::file(
            folder,
            format!(
                "these factors are in blocks, and Kronfluence reads whole matrices: they would take {} MB, and {} MB are free",
                needed.div_ceil(1_000_000),
                free / 1_000_000
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses factors of a module whose matrices are neither whole, as all are that are exported, nor in the
/// blocks of at most so many rows that their folder names.
pub(in crate::factors) fn check_blocks(
    folder: &Path,
    module: &str,
    factors: &ModuleFactors,
    max_block: Option<usize>,
) -> Result<(), FactorError> {
    let sums = [&factors.activation, &factors.gradient].into_iter().flatten().map(Covariance::blocks);
    let bases = [&factors.activation_eigen, &factors.gradient_eigen].into_iter().flatten().map(Eigen::blocks);
    let is_other = |found: &Blocks| {
        !found.is_whole() && max_block.is_none_or(|most| Blocks::new(found.size(), most) != *found)
    };
    let Some(found) = sums.chain(bases).flatten().find(is_other) else { return Ok(()) };
    let due = match max_block {
        Some(most) => format!("expected a square one, or one in blocks of at most {most} rows"),
        None => "expected a square one, as the folder does not say that there are blocks".to_owned(),
    };
    let (rows, cols) = (found.size(), found.width());
    Err(FactorError::file(folder, format!("module `{module}`: a matrix is {rows} x {cols}: {due}")))
}

impl FactorFolder {
    /// Writes the matrices of a file of a store, whole, of modules as transformers names them.
    ///
    /// Memory: those of the file, as they are stored.
    pub(in crate::factors) fn write_whole(
        &self,
        what: &'static str,
        map: FileMap,
    ) -> Result<(), FactorError> {
        let from = Tensors::of_map(self.file(what, None), map)?;
        let of = |name: String| -> Result<(String, Blocks, Vec<f64>), FactorError> {
            let (blocks, values) = (from.blocks(&name)?, from.numbers(&name)?);
            Ok((name, blocks, values))
        };
        let all = from.names().into_iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let tensors = all.iter().map(|(name, blocks, values)| Tensor {
            name: transformers_name(name),
            shape: vec![blocks.size(); 2],
            values: TensorValues::Cut { values, blocks: *blocks },
        });
        self.write(what, None, tensors.collect())
    }
}
