//! Eigenbases on a backend, in which gradients are formed from turned factors.

use std::ops::Range;

use gstore_curvature::{Blocks, CurvatureError, Eigen, Module, ModuleFactors};
use gstore_model::{Backend, BackendError, ColumnMap, LinearWeights};

use super::blocks::{block_columns, block_positions};
use super::error::PassError;

/// What needs bases, in errors.
const ROTATED: &str = "a rotated gradient";

pub(super) struct ModuleBasis<B: Backend> {
    /// That of its inputs, by number: modules with the same inputs have it in common.
    pub input: usize,
    output: BasisMap<B>,
}

impl<B: Backend> ModuleBasis<B> {
    /// Gradients of outputs in the basis: `e Q_S`.
    pub fn gradients(&self, backend: &B, grad: &B::Tensor) -> Result<B::Tensor, BackendError> {
        self.output.apply(backend, grad)
    }
}

/// The bases of modules, in the precision in which the backend holds weights.
pub(super) struct ModuleBases<B: Backend> {
    inputs: Vec<BasisMap<B>>,
    of: Vec<Option<ModuleBasis<B>>>,
}

impl<B: Backend> ModuleBases<B> {
    /// Those of no module.
    pub fn none() -> Self {
        Self { inputs: Vec::new(), of: Vec::new() }
    }

    /// Those of the factors that have some.
    ///
    /// # Errors
    /// Factors of other modules.
    pub fn new(backend: &B, modules: &[Module], factors: &[ModuleFactors]) -> Result<Self, PassError> {
        let mut bases = Self::none();
        if factors.len() != modules.len() {
            return Err(PassError::Factors { found: factors.len(), expected: modules.len() });
        }
        for (index, (module, factors_of)) in modules.iter().zip(factors).enumerate() {
            if factors_of.activation_eigen.is_none() || factors_of.gradient_eigen.is_none() {
                bases.of.push(None);
                continue;
            }
            let [(activation, of_inputs), (gradient, of_out)] = factors_of.bases(module, ROTATED)?;
            let same = |other: usize| {
                let eigen = factors[other].activation_eigen.as_ref();
                modules[other].bias == module.bias && eigen.is_some_and(|e| e.vectors == activation.vectors)
            };
            let known = (0..index).find(|other| same(*other)).and_then(|other| bases.of[other].as_ref());
            let input = match known.map(|basis| basis.input) {
                Some(input) => input,
                None => {
                    bases.inputs.push(BasisMap::new(backend, activation, of_inputs, module.width())?);
                    bases.inputs.len() - 1
                }
            };
            let output = BasisMap::new(backend, gradient, of_out, module.out)?;
            bases.of.push(Some(ModuleBasis { input, output }));
        }
        Ok(bases)
    }

    pub fn of(&self, module: &Module, index: usize) -> Result<&ModuleBasis<B>, PassError> {
        self.of.get(index).and_then(Option::as_ref).ok_or_else(|| {
            let (module, what) = (module.name.clone(), "eigenvectors");
            CurvatureError::Missing { module, what, strategy: ROTATED }.into()
        })
    }

    /// Inputs, without the constant of a bias, in a basis, to which the constant goes: `[x, 1] Q_A`.
    pub fn inputs(&self, backend: &B, input: usize, x: &B::Tensor) -> Result<B::Tensor, BackendError> {
        self.inputs[input].apply(backend, x)
    }
}

/// The map of rows to their coordinates in one basis.
enum BasisMap<B: Backend> {
    Whole(B::Linear),
    Cut(Vec<BasisMapBlock<B>>),
}

/// A block of a basis: its columns of a row, their map, and where the coordinates belong.
struct BasisMapBlock<B: Backend> {
    columns: ColumnMap,
    map: B::Linear,
    places: ColumnMap,
}

impl<B: Backend> BasisMap<B> {
    /// Of rows of `width` values; what the vectors have behind them is that of a constant 1.
    fn new(backend: &B, eigen: &Eigen, blocks: Blocks, width: usize) -> Result<Self, BackendError> {
        if blocks.is_whole() {
            return Ok(BasisMap::Whole(backend.pack(basis_weights(eigen, width))?));
        }
        let of = |block: Range<usize>| -> Result<BasisMapBlock<B>, BackendError> {
            let vectors = blocks.of(&eigen.vectors, &block);
            let part = Eigen { values: eigen.values[block.clone()].to_vec(), vectors };
            Ok(BasisMapBlock {
                columns: block_columns(width, &block),
                map: backend.pack(basis_weights(&part, block.len()))?,
                places: block_positions(blocks.size(), &block),
            })
        };
        blocks.ranges().map(of).collect::<Result<Vec<_>, _>>().map(BasisMap::Cut)
    }

    fn apply(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor, BackendError> {
        let blocks = match self {
            BasisMap::Whole(map) => return backend.linear(map, x, None),
            BasisMap::Cut(blocks) => blocks,
        };
        let mut all: Option<B::Tensor> = None;
        for BasisMapBlock { columns, map, places } in blocks {
            let turned = backend.linear(map, &backend.map_columns(x, columns)?, None)?;
            let turned = backend.map_columns(&turned, places)?;
            all = Some(match all {
                Some(all) => backend.add(all, &turned)?,
                None => turned,
            });
        }
        all.ok_or_else(|| BackendError::new("an eigenbasis without a block"))
    }
}

/// The map of rows of `width` values to their coordinates; what the vectors have behind them is that of a
/// constant 1.
fn basis_weights(eigen: &Eigen, width: usize) -> LinearWeights {
    let size = eigen.size();
    let (vectors, constant) = eigen.vectors.split_at(width * size);
    let weight = (0..size).flat_map(|to| (0..width).map(move |from| vectors[from * size + to] as f32));
    let bias = (!constant.is_empty()).then(|| constant.iter().map(|value| *value as f32).collect());
    LinearWeights { weight: weight.collect(), out: size, input: width, bias }
}
