//! The perturbed objective: variants, noise weights, and the factors of its gradient.
//!
//! With L the cross-entropy of current logits z, L0 that of the starting point's z0, g = dL0 / dz0, and f the
//! negative margin, the mean over the rows of a batch is minimised of
//!
//! | variant | of a row | weight w |
//! |---|---|---|
//! | `if` | `gamma (L - L0) - w <z - z0, g>` | `1 + rho (2 xi - 1)` |
//! | `efim` | `gamma (L - L0)^2 - w <z - z0, g>` | `rho (2 xi - 1)` |
//! | `trak` | `gamma (f - f0)^2 - w <z - z0, g>` | `rho (2 xi - 1)` |
//! | `subset` | `gamma L` | |
//!
//! z0 and g are held fixed; xi is uniform in [0, 1). Loss and linear term of a text are the sums over its
//! scored tokens over a number of tokens ([`Normalizer`]).

use std::str::FromStr;

use crate::error::TrainError;

/// Which objective is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variant {
    /// The change of the loss with a perturbed linear term.
    #[default]
    If,
    /// The squared change of the loss.
    Efim,
    /// The squared change of the margin; of classifiers, not of texts.
    Trak,
    /// The loss itself: models differ by their rows alone, as those behind an API do.
    Subset,
}

gstore_core::named!(Variant { If = "if", Efim = "efim", Trak = "trak", Subset = "subset" });

impl FromStr for Variant {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        Variant::parse(name).ok_or_else(|| {
            TrainError::Option(format!("there is no variant {name:?}; there are if, efim and subset"))
        })
    }
}

/// By how many tokens the loss of a text of a step is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalizer {
    /// The mean number of scored tokens of the step's texts, so that all tokens count alike.
    #[default]
    Step,
    /// Its own number of scored tokens, so that all texts count alike.
    Row,
}

gstore_core::named!(Normalizer { Step = "step", Row = "row" });

/// A variant with its scales.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perturbation {
    /// Which objective.
    pub variant: Variant,
    /// Scale of the noise.
    pub rho: f64,
    /// Scale of what holds a model near the starting point.
    pub gamma: f64,
    /// What losses of texts are divided by.
    pub normalizer: Normalizer,
}

impl Default for Perturbation {
    fn default() -> Self {
        Perturbation { variant: Variant::If, rho: 1.0, gamma: 1.0, normalizer: Normalizer::Step }
    }
}

impl Perturbation {
    /// An error unless its scales are numbers that can be used.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        for (name, value) in [("rho", self.rho), ("gamma", self.gamma)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(TrainError::Option(format!("a {name} of {value} cannot be used: 0 or above")));
            }
        }
        match (self.variant, self.gamma, self.rho) {
            (Variant::Trak, ..) => Err(TrainError::Option(
                "the variant trak is of classifiers: the margin of a text is not defined; if, efim and subset are for texts"
                    .to_owned(),
            )),
            (Variant::Subset, 0.0, _) => Err(TrainError::Option(
                "the variant subset with a gamma of 0 has nothing to minimise".to_owned(),
            )),
            (Variant::Efim, _, 0.0) => Err(TrainError::Option(
                "the variant efim with a rho of 0 stays where it starts: there is no noise".to_owned(),
            )),
            (Variant::If, 1.0, 0.0) => Err(TrainError::Option(
                "the variant if with a rho of 0 and a gamma of 1 stays where it starts: there is no noise".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Weight of a row's linear term by its noise; 0 where there is none.
    fn weight(&self, xi: f64) -> f64 {
        let noise = self.rho * (2.0 * xi - 1.0);
        match self.variant {
            Variant::If => 1.0 + noise,
            Variant::Efim | Variant::Trak => noise,
            Variant::Subset => 0.0,
        }
    }

    /// Factors of the change of a token's loss and of its linear term, by how much the loss of its row has
    /// risen.
    pub(crate) fn factors(&self, risen: f64, xi: f64) -> [f32; 2] {
        let change = match self.variant {
            Variant::Efim => 2.0 * self.gamma * risen,
            _ => self.gamma,
        };
        [change as f32, self.weight(xi) as f32]
    }

    /// Whether logits of the starting point are needed.
    pub(crate) fn needs_base(&self) -> bool {
        self.variant != Variant::Subset
    }
}

#[cfg(test)]
#[path = "objective_test.rs"]
mod tests;
