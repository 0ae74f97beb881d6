//! Eigenbases of the factors of a curvature as a projection: of each module the block with most of it.
//!
//! A module's coordinates are `(Q_S' G Q_A) / sqrt(L + d)` of the rows and columns that are kept, in the
//! order of the bases: L are the eigenvalues of the curvature, d is a tenth of their mean over the whole
//! module. So the dot product of two rows is their EK-FAC score with the damping d, as far as the blocks
//! reach.

use std::collections::HashMap;
use std::fmt;

use gstore_curvature::{CurvatureError, Damping, Eigen, Module, ModuleFactors, Strategy};
use gstore_model::architectures::{Decoder, TensorRole};
use gstore_store::sha256_hex;

use super::module::ModuleShape;
use super::side::{SideMatrices, SideMatrix};
use crate::projection::error::ProjectionError;
use crate::projection::groups::module_of;

/// Modules that a message names.
const NAMED: usize = 4;

/// What is kept of one module's eigenbasis.
#[derive(Debug, Clone, PartialEq)]
pub struct EigenBlock {
    module: Module,
    /// Directions of the gradients of outputs, `[k_out, out]`.
    out: Vec<f32>,
    /// Directions of the inputs, `[k_in, input]`.
    input: Vec<f32>,
    lambda: Vec<f64>,
    damping: f64,
    lengths: [f64; 2],
}

impl EigenBlock {
    /// The rows and columns of at most `most` coordinates that have most of the eigenvalues' sum; all of them
    /// of a module that has no more.
    ///
    /// # Errors
    /// Factors without an eigenbasis or of another size, and eigenvalues that are all 0.
    pub fn new(
        module: &Module,
        factors: &ModuleFactors,
        strategy: Strategy,
        most: u32,
    ) -> Result<Self, CurvatureError> {
        let (rows, columns) = (module.out, module.input);
        let lambda = factors.eigenvalues(module, strategy)?;
        let [(of_input, _), (of_out, _)] = factors.bases(module, "a projection")?;
        let damping = Damping::OfMean.of(&lambda);
        if damping <= 0.0 {
            return Err(CurvatureError::NoCurvature { module: module.name.clone(), all: lambda.len() });
        }
        let (kept_rows, kept_columns) = largest_block(&lambda, (rows, columns), most as usize);
        let directions = |eigen: &Eigen, kept: &[usize]| -> Vec<f32> {
            kept.iter().flat_map(|at| eigen.vector(*at)).map(|value| value as f32).collect()
        };
        let at = |row: usize| kept_columns.iter().map(move |column| row * columns + column);
        let kept: Vec<f64> = kept_rows.iter().flat_map(|row| at(*row)).map(|at| lambda[at]).collect();
        let length = |values: &[f64]| values.iter().map(|value| value / (value + damping)).sum::<f64>();
        Ok(Self {
            module: module.clone(),
            out: directions(of_out, &kept_rows),
            input: directions(of_input, &kept_columns),
            lengths: [length(&kept), length(&lambda)],
            lambda: kept,
            damping,
        })
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Eigenvalues of the curvature at its coordinates, `[k_out, k_in]`.
    pub fn lambda(&self) -> &[f64] {
        &self.lambda
    }

    /// What is added to them.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// Squared length of a row, `sum of L / (L + d)`: in its coordinates, and in all of the module's. With
    /// the eigenvalues of EK-FAC it is the mean over the samples of the fit.
    pub fn lengths(&self) -> [f64; 2] {
        self.lengths
    }

    /// Rows that are kept, and columns.
    pub fn sides(&self) -> (usize, usize) {
        (self.out.len() / self.module.out.max(1), self.input.len() / self.module.input.max(1))
    }

    /// Whether all coordinates are kept.
    pub(in crate::projection) fn is_whole(&self) -> bool {
        self.lambda.len() == self.module.len()
    }

    /// The squared length of what is kept of a gradient, from its coordinates: their squares times L + d.
    pub(in crate::projection) fn energy(&self, coordinates: &[f32]) -> f64 {
        let square = |(value, lambda): (&f32, &f64)| f64::from(*value).powi(2) * (lambda + self.damping);
        coordinates.iter().zip(&self.lambda).map(square).sum()
    }

    pub(in crate::projection) fn matrices(&self, bias: bool) -> SideMatrices {
        let (k_out, k_in) = self.sides();
        SideMatrices {
            out: SideMatrix::dense(k_out, self.module.out, self.out.clone(), false),
            input: SideMatrix::dense(k_in, self.module.input, self.input.clone(), bias),
        }
    }

    /// What each coordinate is multiplied by.
    pub(in crate::projection) fn scale(&self) -> Vec<f64> {
        self.lambda.iter().map(|lambda| 1.0 / (lambda + self.damping).sqrt()).collect()
    }

    fn digest(&self) -> String {
        let Module { name, out, input, .. } = &self.module;
        let mut bytes = Vec::with_capacity(4 * (self.out.len() + self.input.len()) + 8 * self.lambda.len());
        for size in [name.len(), *out, *input, self.out.len(), self.input.len()] {
            bytes.extend((size as u64).to_le_bytes());
        }
        bytes.extend(name.as_bytes());
        bytes.extend(self.out.iter().chain(&self.input).flat_map(|value| value.to_le_bytes()));
        bytes.extend(self.lambda.iter().chain([&self.damping]).flat_map(|value| value.to_le_bytes()));
        sha256_hex(&bytes)
    }
}

/// Rows and columns, ascending, of the block of at most `most` values that has the largest sum among those of
/// the rows and the columns with the largest sums.
fn largest_block(values: &[f64], (rows, columns): (usize, usize), most: usize) -> (Vec<usize>, Vec<usize>) {
    if values.len() <= most {
        return ((0..rows).collect(), (0..columns).collect());
    }
    let of_rows: Vec<f64> = values.chunks_exact(columns).map(|row| row.iter().sum()).collect();
    let mut of_columns = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        of_columns.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let (mut by_row, mut by_column) = (order_descending(&of_rows), order_descending(&of_columns));
    // Of the rows so far: sums of the first columns.
    let mut sums = vec![0.0; columns];
    let (mut largest, mut sides) = (f64::NEG_INFINITY, (1, 1));
    for (count, row) in (1..).zip(&by_row) {
        let width = (most / count).min(columns);
        if width == 0 {
            break;
        }
        let mut along = 0.0;
        for (sum, column) in sums.iter_mut().zip(&by_column) {
            along += values[row * columns + column];
            *sum += along;
        }
        if sums[width - 1] > largest {
            (largest, sides) = (sums[width - 1], (count, width));
        }
    }
    by_row.truncate(sides.0);
    by_column.truncate(sides.1);
    by_row.sort_unstable();
    by_column.sort_unstable();
    (by_row, by_column)
}

/// Places of values, the largest first.
fn order_descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

/// The blocks of a model's modules, and the checkpoint whose curvature they are of.
pub struct EigenBasis {
    blocks: Vec<EigenBlock>,
    places: HashMap<String, usize>,
    checkpoint: String,
    any_checkpoint: bool,
    digest: String,
}

impl EigenBasis {
    /// `checkpoint`: id of the weights at which the factors were fitted; gradients of others are refused
    /// unless `any_checkpoint`.
    pub fn new(blocks: Vec<EigenBlock>, checkpoint: String, any_checkpoint: bool) -> Self {
        let digests: String = blocks.iter().map(EigenBlock::digest).collect();
        let places = blocks.iter().enumerate().map(|(at, block)| (block.module.name.clone(), at)).collect();
        Self { places, digest: sha256_hex(digests.as_bytes()), blocks, checkpoint, any_checkpoint }
    }

    /// The blocks, in the order of the factors.
    pub fn blocks(&self) -> &[EigenBlock] {
        &self.blocks
    }

    /// SHA-256 of everything that decides a coordinate, as 64 hex digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn of(&self, tensor: &str) -> Option<&EigenBlock> {
        self.places.get(module_of(tensor)).and_then(|at| self.blocks.get(*at))
    }

    /// The tensors of a model that its modules consist of, as indices into the decoder's params.
    pub(crate) fn tracked(&self, decoder: &Decoder) -> Result<Vec<usize>, ProjectionError> {
        let is_part = |name: &str, role: &TensorRole| match (role, self.of(name)) {
            (TensorRole::Weight(_), Some(_)) => true,
            (TensorRole::Bias(_), Some(block)) => {
                let weight = decoder.param(&format!("{}.weight", block.module.name));
                weight.is_some_and(|weight| {
                    weight.shape.get(1).is_some_and(|width| *width < block.module.input)
                })
            }
            _ => false,
        };
        let params = decoder.params.iter().enumerate();
        let found: Vec<usize> =
            params.filter(|(_, param)| is_part(&param.name, &param.role)).map(|(at, _)| at).collect();
        let has = |module: &str| found.iter().any(|at| decoder.params[*at].module() == module);
        let lacking = self.blocks.iter().map(|block| block.module.name.as_str()).filter(|name| !has(name));
        match first_name_and_count(lacking) {
            None => Ok(found),
            Some(modules) => Err(ProjectionError::ModulesOfFactors { modules }),
        }
    }

    /// Refuses weights other than those of the factors, unless all are accepted.
    pub(crate) fn check_checkpoint(&self, id: &str) -> Result<(), ProjectionError> {
        match self.any_checkpoint || self.checkpoint == id {
            true => Ok(()),
            false => Err(ProjectionError::StaleFactors {
                factors: self.checkpoint.chars().take(12).collect(),
                checkpoint: id.chars().take(12).collect(),
            }),
        }
    }

    /// Refuses modules that the factors lack, or have in another size.
    pub(in crate::projection) fn check(&self, modules: &[ModuleShape]) -> Result<(), ProjectionError> {
        let lacking =
            modules.iter().map(|module| module.name.as_str()).filter(|name| self.of(name).is_none());
        if let Some(modules) = first_name_and_count(lacking) {
            return Err(ProjectionError::NoFactorsOf { modules });
        }
        for module in modules {
            let (found, of) = (module.shape.matrix(), self.of(&module.name).map(EigenBlock::module));
            let size = of.map(|of| (of.out, of.input));
            if let Some(expected) = size.filter(|size| *size != found) {
                let module = module.name.clone();
                return Err(ProjectionError::SizeOfFactors { module, found, expected });
            }
        }
        Ok(())
    }
}

/// The first of some names, and how many there are more; none without one.
fn first_name_and_count<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        n if n > NAMED => Some(format!("{shown} and {} more", n - NAMED)),
        _ => Some(shown),
    }
}

/// The same coordinates, for gradients of the same checkpoints.
impl PartialEq for EigenBasis {
    fn eq(&self, other: &Self) -> bool {
        let key = |basis: &Self| (basis.digest.clone(), basis.checkpoint.clone(), basis.any_checkpoint);
        key(self) == key(other)
    }
}

impl Eq for EigenBasis {}

impl fmt::Debug for EigenBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, any_checkpoint, digest, .. } = self;
        write!(f, "EigenBasis({digest}, of {checkpoint}, elsewhere: {any_checkpoint})")
    }
}

#[cfg(test)]
mod tests {
    use gstore_curvature::Squares;

    use super::*;

    #[test]
    fn what_a_block_keeps_of_the_length_is_known() {
        let module = Module { name: "m".into(), out: 1, input: 4, bias: false };
        let axes = |n: usize| Eigen {
            values: vec![1.0; n],
            vectors: (0..n * n).map(|at| if at % (n + 1) == 0 { 1.0 } else { 0.0 }).collect(),
        };
        let block = |sums: [f64; 4], most| {
            let factors = ModuleFactors {
                activation_eigen: Some(axes(4)),
                gradient_eigen: Some(axes(1)),
                lambda: Some(Squares { sums: sums.to_vec(), count: 1 }),
                ..ModuleFactors::default()
            };
            EigenBlock::new(&module, &factors, Strategy::Ekfac, most)
        };
        let of = |most| block([0.0, 3.0, 0.0, 1.0], most).unwrap().lengths();
        // A tenth of the mean is 0.1.
        let whole = 3.0 / 3.1 + 1.0 / 1.1;
        assert_eq!((of(1), of(4)), ([3.0 / 3.1, whole], [whole, whole]));
        // No damping is asked for, so none is advised.
        let refused = block([0.0; 4], 1).unwrap_err().to_string();
        assert!(refused.starts_with("module `m` has no curvature to project by: all 4"), "{refused}");
    }

    #[test]
    fn a_block_has_most_of_the_sum() {
        let values = [0.0, 1.0, 0.0, 9.0, 0.0, 8.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(largest_block(&values, (3, 4), 2), (vec![0, 1], vec![3]));
        assert_eq!(largest_block(&values, (3, 4), 4), (vec![0, 1], vec![1, 3]));
        assert_eq!(largest_block(&values, (3, 4), 12), (vec![0, 1, 2], vec![0, 1, 2, 3]));
        assert_eq!(largest_block(&values, (3, 4), 1).0.len(), 1);
        assert_eq!(first_name_and_count(["a", "b"].into_iter()).as_deref(), Some("a, b"));
        assert_eq!(first_name_and_count(["a"; 6].into_iter()).as_deref(), Some("a, a, a, a and 2 more"));
    }
}
