//! Eigenbases on a backend, in which gradients are formed from turned factors.

use gstore_curvature::{CurvatureError, Eigen, Module, ModuleFactors};
use gstore_model::{Backend, BackendError, LinearWeights};

use super::error::PassError;

/// The bases of one module.
pub(super) struct Basis<B: Backend> {
    /// That of its inputs, by number: modules with the same inputs have it in common.
    pub input: usize,
    output: B::Linear,
}

impl<B: Backend> Basis<B> {
    /// Gradients of outputs in the basis: `e Q_S`.
    pub fn gradients(&self, backend: &B, grad: &B::Tensor) -> Result<B::Tensor, BackendError> {
        backend.linear(&self.output, grad, None)
    }
}

/// The bases of modules, in the precision in which the backend holds weights.
pub(super) struct Bases<B: Backend> {
    inputs: Vec<B::Linear>,
    of: Vec<Option<Basis<B>>>,
}

impl<B: Backend> Bases<B> {
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
            let (Some(activation), Some(gradient)) =
                (&factors_of.activation_eigen, &factors_of.gradient_eigen)
            else {
                bases.of.push(None);
                continue;
            };
            check(module, activation, module.input, "activation eigenvectors")?;
            check(module, gradient, module.out, "gradient eigenvectors")?;
            let same = |other: usize| {
                let eigen = factors[other].activation_eigen.as_ref();
                modules[other].bias == module.bias && eigen.is_some_and(|e| e.vectors == activation.vectors)
            };
            let known = (0..index).find(|other| same(*other)).and_then(|other| bases.of[other].as_ref());
            let input = match known.map(|basis| basis.input) {
                Some(input) => input,
                None => {
                    bases.inputs.push(backend.pack(turn(activation, module.width()))?);
                    bases.inputs.len() - 1
                }
            };
            let output = backend.pack(turn(gradient, module.out))?;
            bases.of.push(Some(Basis { input, output }));
        }
        Ok(bases)
    }

    /// The bases of a module.
    pub fn of(&self, module: &Module, index: usize) -> Result<&Basis<B>, PassError> {
        self.of.get(index).and_then(Option::as_ref).ok_or_else(|| {
            let (module, what) = (module.name.clone(), "eigenvectors");
            CurvatureError::Missing { module, what, strategy: "a rotated gradient" }.into()
        })
    }

    /// Inputs, without the constant of a bias, in a basis, to which the constant goes: `[x, 1] Q_A`.
    pub fn inputs(&self, backend: &B, input: usize, x: &B::Tensor) -> Result<B::Tensor, BackendError> {
        backend.linear(&self.inputs[input], x, None)
    }
}

fn check(module: &Module, eigen: &Eigen, size: usize, what: &'static str) -> Result<(), CurvatureError> {
    match eigen.size() == size && eigen.vectors.len() == size * size {
        true => Ok(()),
        false => {
            let (found, expected) = (eigen.vectors.len(), size * size);
            Err(CurvatureError::Size { module: module.name.clone(), what, found, expected })
        }
    }
}

/// The map of rows of `width` values to their coordinates; what the vectors have behind them is that of a
/// constant 1.
fn turn(eigen: &Eigen, width: usize) -> LinearWeights {
    let size = eigen.size();
    let (vectors, constant) = eigen.vectors.split_at(width * size);
    let weight = (0..size).flat_map(|to| (0..width).map(move |from| vectors[from * size + to] as f32));
    let bias = (!constant.is_empty()).then(|| constant.iter().map(|value| *value as f32).collect());
    LinearWeights { weight: weight.collect(), out: size, input: width, bias }
}
