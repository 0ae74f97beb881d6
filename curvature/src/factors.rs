//! Curvature of a module: its factors, and the filtered inverse that preconditions gradients.

use crate::covariance::{Covariance, Squares};
use crate::eigen::Eigen;
use crate::error::CurvatureError;
use crate::filter::{Damping, Filter, unrolled};
use crate::matrix::{product, transposed};
use crate::module::Module;

/// What rounding leaves of an eigenvalue of 0, as a part of the largest. Without damping its inverse would
/// be noise.
pub(crate) const ROUNDING: f64 = 1e-13;

/// How curvature is approximated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// None: the identity.
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
        match self {
            Strategy::Identity => "identity",
            Strategy::Diagonal => "diagonal",
            Strategy::Kfac => "kfac",
            Strategy::Ekfac => "ekfac",
        }
    }

    /// The strategy of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Whether it lives in the eigenbasis of the covariances.
    pub fn rotates(self) -> bool {
        matches!(self, Strategy::Kfac | Strategy::Ekfac)
    }
}

/// What is known of a module's curvature; what was not fitted is none.
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
    /// Squares of gradients as they are: curvature of [`Strategy::Diagonal`].
    pub diagonal: Option<Squares>,
    /// Squares of gradients in the eigenbasis, `[out, input]`, in the order of both bases' values: curvature
    /// of [`Strategy::Ekfac`].
    pub lambda: Option<Squares>,
}

impl ModuleFactors {
    /// Eigenbases of the covariances, in place of those that are there.
    ///
    /// # Errors
    /// No covariances or those of another size, values that are not finite, and a decomposition that fails
    /// its check.
    pub fn decompose(&mut self, module: &Module) -> Result<(), CurvatureError> {
        let of = |covariance: &Option<Covariance>, size: usize, what: &'static str| {
            let name = || module.name.clone();
            let missing = || CurvatureError::Missing { module: name(), what, strategy: "a decomposition" };
            let covariance = covariance.as_ref().ok_or_else(missing)?;
            let (found, expected) = (covariance.sums.len(), size * size);
            if found != expected || covariance.size != size {
                return Err(CurvatureError::Size { module: name(), what, found, expected });
            }
            Eigen::of(&covariance.mean(), size, &module.name, what)
        };
        let activation = of(&self.activation, module.input, "activation covariance")?;
        self.gradient_eigen = Some(of(&self.gradient, module.out, "gradient covariance")?);
        self.activation_eigen = Some(activation);
        Ok(())
    }

    /// Eigenvalues of the curvature, `[out, input]`: in the eigenbasis where the strategy has one. Ones for
    /// [`Strategy::Identity`].
    ///
    /// # Errors
    /// What the strategy needs and what was not fitted, and values that are not finite.
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
                let (activation, gradient) = self.bases(module, strategy)?;
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
    /// Those of [`ModuleFactors::eigenvalues`], bases of another size, a damping of 0 where an eigenvalue is
    /// 0 but for rounding, and one so small that an inverse is not finite.
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
        let eigenvalues = self.eigenvalues(module, strategy)?;
        let (scale, damping) = match filter {
            Filter::Identity => (None, 0.0),
            Filter::Inverse(_) if strategy == Strategy::Identity => (None, 0.0),
            Filter::Inverse(damping) => {
                let damping = damping.of(&eigenvalues);
                let least = ROUNDING * eigenvalues.iter().copied().fold(0.0, f64::max);
                let zeros = eigenvalues.iter().filter(|value| **value <= least).count();
                if zeros > 0 && damping <= 0.0 {
                    let (module, all) = (module.name.clone(), eigenvalues.len());
                    return Err(CurvatureError::Singular { module, zeros, all });
                }
                let scale: Vec<f64> = eigenvalues.iter().map(|value| 1.0 / (value + damping)).collect();
                if scale.iter().any(|scale| !scale.is_finite()) {
                    let (module, what) = (module.name.clone(), "the inverse of the curvature");
                    return Err(CurvatureError::NotFinite { module, what });
                }
                (Some(scale), damping)
            }
            Filter::Source { steps, rate } => {
                let time = steps as f64 * rate;
                (Some(eigenvalues.iter().map(|value| unrolled(*value, time)).collect()), 0.0)
            }
        };
        let bases = match strategy.rotates() && scale.is_some() {
            true => {
                let (activation, gradient) = self.bases(module, strategy)?;
                Some(Bases::new(activation.vectors.clone(), gradient.vectors.clone(), module))
            }
            false => None,
        };
        Ok(Inverse { out: module.out, input: module.input, damping, scale, bases })
    }

    /// The bases of inputs and of gradients.
    fn bases(&self, module: &Module, strategy: Strategy) -> Result<(&Eigen, &Eigen), CurvatureError> {
        let of = |eigen: &'_ Option<Eigen>, size: usize, what| match eigen {
            None => {
                Err(CurvatureError::Missing { module: module.name.clone(), what, strategy: strategy.name() })
            }
            Some(eigen) if eigen.size() != size || eigen.vectors.len() != size * size => {
                let (found, expected) = (eigen.vectors.len(), size * size);
                Err(CurvatureError::Size { module: module.name.clone(), what, found, expected })
            }
            Some(_) => Ok(()),
        };
        of(&self.activation_eigen, module.input, "activation eigenvectors")?;
        of(&self.gradient_eigen, module.out, "gradient eigenvectors")?;
        let missing = || CurvatureError::Missing {
            module: module.name.clone(),
            what: "eigenvectors",
            strategy: strategy.name(),
        };
        self.activation_eigen.as_ref().zip(self.gradient_eigen.as_ref()).ok_or_else(missing)
    }
}

/// Both bases and their transposes.
#[derive(Debug, Clone, PartialEq)]
struct Bases {
    activation: [Vec<f64>; 2],
    gradient: [Vec<f64>; 2],
}

impl Bases {
    fn new(activation: Vec<f64>, gradient: Vec<f64>, module: &Module) -> Self {
        let of_activation = transposed(&activation, module.input, module.input);
        let of_gradient = transposed(&gradient, module.out, module.out);
        Self { activation: [activation, of_activation], gradient: [gradient, of_gradient] }
    }
}

/// Inverse of a module's curvature through a filter f: `P(G) = Q_S [f(L) (Q_S^T G Q_A)] Q_A^T`, with
/// `f(L) = 1 / (L + damping)` if no other was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Inverse {
    out: usize,
    input: usize,
    damping: f64,
    /// `f(L)`; none for the identity.
    scale: Option<Vec<f64>>,
    bases: Option<Bases>,
}

impl Inverse {
    /// The damping that was added; 0 where none is.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// `f(L)` of each coordinate of the eigenbasis; none for the identity.
    pub fn scale(&self) -> Option<&[f64]> {
        self.scale.as_deref()
    }

    /// A gradient `[out, input]` in the eigenbasis: `Q_S^T G Q_A`; unchanged where there is none.
    pub fn rotated(&self, gradient: &[f64]) -> Vec<f64> {
        let Some(Bases { activation, gradient: outer }) = &self.bases else { return gradient.to_vec() };
        let half = product(&outer[1], gradient, (self.out, self.out, self.input));
        product(&half, &activation[0], (self.out, self.input, self.input))
    }

    /// What [`Inverse::rotated`] turned, turned back.
    pub fn unrotated(&self, rotated: &[f64]) -> Vec<f64> {
        let Some(Bases { activation, gradient: outer }) = &self.bases else { return rotated.to_vec() };
        let half = product(&outer[0], rotated, (self.out, self.out, self.input));
        product(&half, &activation[1], (self.out, self.input, self.input))
    }

    /// The preconditioned gradient, `[out, input]`.
    pub fn apply(&self, gradient: &[f64]) -> Vec<f64> {
        let Some(scale) = &self.scale else { return gradient.to_vec() };
        let mut rotated = self.rotated(gradient);
        rotated.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
        self.unrotated(&rotated)
    }

    /// `<P(G), G>` of a gradient that is rotated already.
    pub fn energy(&self, rotated: impl Iterator<Item = f64>) -> f64 {
        match &self.scale {
            None => rotated.map(|value| value * value).sum(),
            Some(scale) => rotated.zip(scale).map(|(value, scale)| value * value * scale).sum(),
        }
    }
}
