//! Stochastic gradient descent with momentum as torch computes it: the decay is added to the gradient.

use super::{Part, TensorState};

/// Constants of SGD.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// Share of the last update that is kept; 0 for none.
    pub momentum: f64,
    /// Times the weight, added to its gradient.
    pub weight_decay: f64,
}

impl Sgd {
    pub(super) fn apply(&self, rate: f64, part: Part<'_>, state: &mut TensorState) {
        let Part { values, grad, decays } = part;
        let decay = if decays { self.weight_decay as f32 } else { 0.0 };
        let (momentum, rate) = (self.momentum as f32, rate as f32);
        if self.momentum == 0.0 {
            values.iter_mut().zip(grad).for_each(|(value, grad)| *value -= rate * (grad + decay * *value));
            return;
        }
        // The first gradient is the momentum as it is.
        state.first.resize(values.len(), 0.0);
        for ((value, grad), kept) in values.iter_mut().zip(grad).zip(&mut state.first) {
            *kept = *kept * momentum + (grad + decay * *value);
            *value -= rate * *kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn momentum_adds_up() {
        let sgd = Sgd { momentum: 0.5, weight_decay: 0.0 };
        let (mut values, mut state) = ([1.0], TensorState::default());
        for expected in [0.9, 0.75] {
            sgd.apply(0.1, Part { values: &mut values, grad: &[1.0], decays: true }, &mut state);
            assert!((values[0] - expected).abs() < 1e-6, "{values:?}");
        }
        let plain = Sgd { momentum: 0.0, weight_decay: 0.1 };
        let mut values = [2.0];
        plain.apply(
            0.5,
            Part { values: &mut values, grad: &[1.0], decays: true },
            &mut TensorState::default(),
        );
        assert!((values[0] - (2.0 - 0.5 * 1.2)).abs() < 1e-6);
    }
}
