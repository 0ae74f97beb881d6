//! Curvature of a module: its factors, and the filtered inverse that preconditions gradients.

use crate::blocks::Blocks;
use crate::covariance::{Covariance, Squares};
use crate::eigen::Eigen;
use crate::error::CurvatureError;
use crate::filter::{Damping, Filter};
use crate::module::Module;
use crate::rotation::{BasisParts, Rotation};

/// Relative size up to which an eigenvalue may be a rounded 0. Without damping its inverse would be noise.
const ROUNDING: f64 = 1e-13;

/// Refuses a damping of 0 if eigenvalues of `module` are 0 up to rounding.
pub(crate) fn check_damped(eigenvalues: &[f64], damping: f64, module: &str) -> Result<(), CurvatureError> {
    let least = ROUNDING * eigenvalues.iter().copied().fold(0.0, f64::max);
    let zeros = eigenvalues.iter().filter(|value| **value <= least).count();
    if zeros > 0 && damping <= 0.0 {
        let (module, all) = (module.to_owned(), eigenvalues.len());
        return Err(CurvatureError::Singular { module, damping, zeros, all });
    }
    Ok(())
}

/// How curvature is approximated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Not at all: the identity.
    Identity,
    /// Squares of the gradient, value by value.
    Diagonal,
    /// The Kronecker product of both covariances.
    Kfac,
    /// The eigenbasis of that product, with the squares of gradients in it.
    #[default]
    Ekfac,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 4] = [Strategy::Identity, Strategy::Diagonal, Strategy::Kfac, Strategy::Ekfac];

    /// Name in files, options and messages.
    pub fn name(self) -> &'static str {
        ["identity", "diagonal", "kfac", "ekfac"][self as usize]
    }

    /// The strategy with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// The strategies that its factors are sufficient for, itself first.
    pub fn includes(self) -> &'static [Strategy] {
        match self {
            Strategy::Identity => &[Strategy::Identity],
            Strategy::Diagonal => &[Strategy::Diagonal, Strategy::Identity],
            Strategy::Kfac => &[Strategy::Kfac, Strategy::Identity],
            Strategy::Ekfac => &[Strategy::Ekfac, Strategy::Kfac, Strategy::Identity],
        }
    }

    /// Whether it uses the eigenbasis of the covariances.
    pub fn rotates(self) -> bool {
        matches!(self, Strategy::Kfac | Strategy::Ekfac)
    }
}

/// What is known of a module's curvature; parts that were not fitted are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModuleFactors {
    /// Covariance of the inputs.
    pub activation: Option<Covariance>,
    /// Covariance of the gradients of the outputs.
    pub gradient: Option<Covariance>,
    /// Eigenbasis of the inputs.
    pub activation_eigen: Option<Eigen>,
    /// Eigenbasis of the gradients of the outputs.
    pub gradient_eigen: Option<Eigen>,
    /// Squares of gradients in the original coordinates: curvature of [`Strategy::Diagonal`].
    pub diagonal: Option<Squares>,
    /// Squares of gradients in the eigenbasis, `[out, input]`, in the order of both bases' values: curvature
    /// of [`Strategy::Ekfac`].
    pub lambda: Option<Squares>,
}

impl ModuleFactors {
    /// Computes eigenbases of the covariances, replacing existing ones.
    ///
    /// # Errors
    /// No covariances or those of another size, values that are not finite, and a decomposition that fails
    /// its check.
    pub fn decompose(&mut self, module: &Module) -> Result<(), CurvatureError> {
        let of = |covariance: &Option<Covariance>, size: usize, what: &'static str| {
            let (name, strategy) = (&module.name, "a decomposition");
            let missing = || CurvatureError::Missing { module: name.clone(), what, strategy };
            let covariance = covariance.as_ref().ok_or_else(missing)?;
            covariance.blocks_of(size, name, what)?;
            Eigen::of_covariance(covariance, name, what)
        };
        let activation = of(&self.activation, module.input, "activation covariance")?;
        self.gradient_eigen = Some(of(&self.gradient, module.out, "gradient covariance")?);
        self.activation_eigen = Some(activation);
        Ok(())
    }

    /// Eigenvalues of the curvature, `[out, input]`: in the eigenbasis if the strategy has one. Ones for
    /// [`Strategy::Identity`].
    ///
    /// # Errors
    /// Sums that the strategy needs and that were not fitted; values that are not finite.
    pub fn eigenvalues(&self, module: &Module, strategy: Strategy) -> Result<Vec<f64>, CurvatureError> {
        let missing =
            |what| CurvatureError::Missing { module: module.name.clone(), what, strategy: strategy.name() };
        let values = match strategy {
            Strategy::Identity => vec![1.0; module.len()],
            Strategy::Diagonal => {
                self.diagonal.as_ref().ok_or_else(|| missing("squares of gradients"))?.mean()
            }
            Strategy::Ekfac => self.lambda.as_ref().ok_or_else(|| missing("lambda matrix"))?.mean(),
            Strategy::Kfac => {
                let [(activation, _), (gradient, _)] = self.bases(module, strategy.name())?;
                gradient.values.iter().flat_map(|s| activation.values.iter().map(move |a| s * a)).collect()
            }
        };
        if values.len() != module.len() {
            let (found, expected) = (values.len(), module.len());
            let module = module.name.clone();
            return Err(CurvatureError::Size { module, what: "curvature", found, expected });
        }
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values.into_iter().map(|value| value.max(0.0)).collect()),
            false => Err(CurvatureError::NotFinite { module: module.name.clone(), what: "curvature" }),
        }
    }

    /// The damped inverse of the curvature.
    ///
    /// # Errors
    /// Those of [`ModuleFactors::eigenvalues`], bases of another size, a damping of 0 with an eigenvalue that
    /// is 0 up to rounding, and a damping so small that an inverse is not finite.
    pub fn inverse(
        &self,
        module: &Module,
        strategy: Strategy,
        damping: Damping,
    ) -> Result<Inverse, CurvatureError> {
        self.filtered(module, strategy, Filter::Inverse(damping))
    }

    /// The curvature through a spectral filter.
    ///
    /// # Errors
    /// Those of [`ModuleFactors::inverse`].
    pub fn filtered(
        &self,
        module: &Module,
        strategy: Strategy,
        filter: Filter,
    ) -> Result<Inverse, CurvatureError> {
        let (scale, damping) = self.scale(module, strategy, filter)?;
        let bases = match strategy.rotates() && scale.is_some() {
            true => {
                let [activation, gradient] = self.bases(module, strategy.name())?.map(StoredBasis::new);
                Some(BasisPair { activation, gradient })
            }
            false => None,
        };
        Ok(Inverse { out: module.out, input: module.input, damping, scale, bases })
    }

    /// What a spectral filter multiplies each coordinate in the eigenbasis by, none for the identity, and the
    /// damping in it. Of EK-FAC no eigenvectors are needed.
    ///
    /// # Errors
    /// Those of [`ModuleFactors::eigenvalues`], and those of a damping in [`ModuleFactors::inverse`].
    pub fn scale(
        &self,
        module: &Module,
        strategy: Strategy,
        filter: Filter,
    ) -> Result<(Option<Vec<f64>>, f64), CurvatureError> {
        let eigenvalues = self.eigenvalues(module, strategy)?;
        Ok(match filter {
            Filter::Identity => (None, 0.0),
            Filter::Inverse(_) if strategy == Strategy::Identity => (None, 0.0),
            Filter::Inverse(damping) => {
                let damping = damping.of(&eigenvalues);
                check_damped(&eigenvalues, damping, &module.name)?;
                let scale: Vec<f64> = eigenvalues.iter().map(|value| filter.of(*value, damping)).collect();
                if scale.iter().any(|scale| !scale.is_finite()) {
                    let (module, what) = (module.name.clone(), "the inverse of the curvature");
                    return Err(CurvatureError::NotFinite { module, what });
                }
                (Some(scale), damping)
            }
            Filter::Source { .. } | Filter::Decay { .. } => {
                (Some(eigenvalues.iter().map(|value| filter.of(*value, 0.0)).collect()), 0.0)
            }
        })
    }

    /// The bases of inputs and of gradients, and their blocks; `strategy` names what needs them in errors.
    ///
    /// # Errors
    /// No bases, or those of another size.
    pub fn bases(
        &self,
        module: &Module,
        strategy: &'static str,
    ) -> Result<[(&Eigen, Blocks); 2], CurvatureError> {
        let activation = (&self.activation_eigen, module.input, "activation eigenvectors");
        let gradient = (&self.gradient_eigen, module.out, "gradient eigenvectors");
        Ok([basis(activation, module, strategy)?, basis(gradient, module, strategy)?])
    }
}

/// An eigenbasis of this size, with its blocks.
fn basis<'a>(
    (eigen, size, what): (&'a Option<Eigen>, usize, &'static str),
    module: &Module,
    strategy: &'static str,
) -> Result<(&'a Eigen, Blocks), CurvatureError> {
    let name = || module.name.clone();
    let missing = || CurvatureError::Missing { module: name(), what, strategy };
    let eigen = eigen.as_ref().ok_or_else(missing)?;
    let blocks = eigen.blocks().filter(|blocks| blocks.size() == size).ok_or_else(|| {
        let (found, expected) = (eigen.vectors.len(), size * size);
        CurvatureError::Size { module: name(), what, found, expected }
    });
    Ok((eigen, blocks?))
}

/// A basis and its transpose, in the storage of their blocks.
#[derive(Debug, Clone, PartialEq)]
struct StoredBasis {
    blocks: Blocks,
    vectors: Vec<f64>,
    transposed: Vec<f64>,
}

impl StoredBasis {
    fn new((eigen, blocks): (&Eigen, Blocks)) -> Self {
        Self { blocks, vectors: eigen.vectors.clone(), transposed: blocks.transposed(&eigen.vectors) }
    }

    fn stored(&self) -> BasisParts<'_> {
        (self.blocks, &self.vectors, &self.transposed)
    }
}

#[derive(Debug, Clone, PartialEq)]
struct BasisPair {
    activation: StoredBasis,
    gradient: StoredBasis,
}

/// Inverse of a module's curvature through a filter f: `P(G) = Q_S [f(L) (Q_S^T G Q_A)] Q_A^T`, with `f(L) =
/// 1 / (L + damping)` by default.
#[derive(Debug, Clone, PartialEq)]
pub struct Inverse {
    out: usize,
    input: usize,
    damping: f64,
    /// `f(L)`; none for the identity.
    scale: Option<Vec<f64>>,
    bases: Option<BasisPair>,
}

impl Inverse {
    /// The damping that was added; 0 without one.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// `f(L)` of each coordinate of the eigenbasis; none for the identity.
    pub fn scale(&self) -> Option<&[f64]> {
        self.scale.as_deref()
    }

    /// The eigenbasis in f32 for many gradients; none if there is none.
    pub fn rotation(&self) -> Option<Rotation> {
        let BasisPair { activation, gradient } = self.bases.as_ref()?;
        Some(Rotation::new(activation.stored(), gradient.stored()))
    }

    /// A gradient `[out, input]` in the eigenbasis: `Q_S^T G Q_A`; unchanged without one.
    pub fn rotated(&self, gradient: &[f64]) -> Vec<f64> {
        let Some(BasisPair { activation, gradient: outer }) = &self.bases else { return gradient.to_vec() };
        let half = outer.blocks.times(&outer.transposed, gradient, self.input);
        activation.blocks.behind(&half, &activation.vectors, self.out)
    }

    /// Reverses [`Inverse::rotated`].
    pub fn unrotated(&self, rotated: &[f64]) -> Vec<f64> {
        let Some(BasisPair { activation, gradient: outer }) = &self.bases else { return rotated.to_vec() };
        let half = outer.blocks.times(&outer.vectors, rotated, self.input);
        activation.blocks.behind(&half, &activation.transposed, self.out)
    }

    /// The preconditioned gradient, `[out, input]`.
    pub fn apply(&self, gradient: &[f64]) -> Vec<f64> {
        let Some(scale) = &self.scale else { return gradient.to_vec() };
        let mut rotated = self.rotated(gradient);
        rotated.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
        self.unrotated(&rotated)
    }
}
