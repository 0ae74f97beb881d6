//! Shape of a linear module whose curvature is one block.

use serde::{Deserialize, Serialize};

/// A linear module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name in the model, for example `model.layers.0.mlp.down_proj`.
    pub name: String,
    /// Outputs.
    pub out: usize,
    /// Inputs, including the constant 1 at the end if there is a bias.
    pub input: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Module {
    /// Number of values of its gradient.
    pub fn len(&self) -> usize {
        self.out * self.input
    }

    /// Whether it has no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inputs without the constant of a bias.
    pub fn width(&self) -> usize {
        self.input - usize::from(self.bias)
    }
}
