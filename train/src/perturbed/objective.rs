//! The perturbed objective over rows of logits: variants, noise weights, value and gradient, in f64.
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

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 4] = [Variant::If, Variant::Efim, Variant::Trak, Variant::Subset];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::If => "if",
            Variant::Efim => "efim",
            Variant::Trak => "trak",
            Variant::Subset => "subset",
        }
    }
}

impl FromStr for Variant {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        let found = Variant::ALL.into_iter().find(|variant| variant.name() == name);
        found.ok_or_else(|| {
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

impl Normalizer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Normalizer::Step => "step",
            Normalizer::Row => "row",
        }
    }
}

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

/// What the objective takes from one row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowTerms {
    /// Cross-entropy, in nats.
    pub loss: f64,
    /// That of the starting point.
    pub base_loss: f64,
    /// `<z - z0, g>`.
    pub linear: f64,
    /// Logarithm of (1 - p) / p with p the target's probability: a margin whose larger values are worse.
    pub neg_margin: f64,
    /// That of the starting point.
    pub base_neg_margin: f64,
}

impl RowTerms {
    /// Of current logits, the starting point's, and the target among them.
    pub fn of(z: &[f64], base: &[f64], target: usize) -> RowTerms {
        let probabilities = softmax(base);
        let slope = |i: usize| probabilities[i] - if i == target { 1.0 } else { 0.0 };
        RowTerms {
            loss: log_sum(z.iter()) - z[target],
            base_loss: log_sum(base.iter()) - base[target],
            linear: z.iter().zip(base).enumerate().map(|(i, (z, base))| (z - base) * slope(i)).sum(),
            neg_margin: neg_margin(z, target),
            base_neg_margin: neg_margin(base, target),
        }
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
    pub fn weight(&self, xi: f64) -> f64 {
        let noise = self.rho * (2.0 * xi - 1.0);
        match self.variant {
            Variant::If => 1.0 + noise,
            Variant::Efim | Variant::Trak => noise,
            Variant::Subset => 0.0,
        }
    }

    /// The objective of one row.
    pub fn value(&self, row: &RowTerms, xi: f64) -> f64 {
        let risen = row.loss - row.base_loss;
        let near = match self.variant {
            Variant::If => risen,
            Variant::Efim => risen * risen,
            Variant::Trak => (row.neg_margin - row.base_neg_margin).powi(2),
            Variant::Subset => row.loss,
        };
        self.gamma * near - self.weight(xi) * row.linear
    }

    /// The objective of a batch; each row with its noise.
    pub fn mean(&self, rows: &[(RowTerms, f64)]) -> f64 {
        rows.iter().map(|(row, xi)| self.value(row, *xi)).sum::<f64>() / rows.len().max(1) as f64
    }

    /// The gradient of one row's objective with respect to its logits.
    pub fn gradient(&self, z: &[f64], base: &[f64], target: usize, xi: f64) -> Vec<f64> {
        let row = RowTerms::of(z, base, target);
        let (p, base_p, weight) = (softmax(z), softmax(base), self.weight(xi));
        let at = |i: usize| if i == target { 1.0 } else { 0.0 };
        // The negative margin's gradient is that of the cross-entropy over (1 - p) of the target.
        let factor = match self.variant {
            Variant::If | Variant::Subset => self.gamma,
            Variant::Efim => 2.0 * self.gamma * (row.loss - row.base_loss),
            Variant::Trak => 2.0 * self.gamma * (row.neg_margin - row.base_neg_margin) / (1.0 - p[target]),
        };
        (0..z.len()).map(|i| factor * (p[i] - at(i)) - weight * (base_p[i] - at(i))).collect()
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

fn log_sum<'a>(values: impl Iterator<Item = &'a f64> + Clone) -> f64 {
    let largest = values.clone().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|v| (v - largest).exp()).sum::<f64>().ln()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let total = log_sum(z.iter());
    z.iter().map(|z| (z - total).exp()).collect()
}

fn neg_margin(z: &[f64], target: usize) -> f64 {
    let others = z.iter().enumerate().filter(|(i, _)| *i != target).map(|(_, z)| z);
    log_sum(others) - z[target]
}

#[cfg(test)]
#[path = "objective_test.rs"]
mod tests;
