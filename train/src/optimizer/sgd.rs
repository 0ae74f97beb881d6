//! Stochastic gradient descent with momentum as torch computes it: the decay is added to the gradient.

use super::TensorUpdate;

/// Constants of SGD.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// Share of the last update that is kept; 0 for none.
    pub momentum: f64,
    /// Times the weight, added to its gradient.
    pub weight_decay: f64,
}

impl Sgd {
    pub(super) fn apply(&self, rate: f64, part: TensorUpdate<'_>, kept: &mut [f32]) {
        let TensorUpdate { values, grad, scale, decays } = part;
        let decay = if decays { self.weight_decay as f32 } else { 0.0 };
        let (momentum, rate) = (self.momentum as f32, rate as f32);
        if self.momentum == 0.0 {
            for (value, grad) in values.iter_mut().zip(grad) {
                *value -= rate * (grad * scale + decay * *value);
            }
            return;
        }
        // The first gradient is the momentum as it is.
        for ((value, grad), kept) in values.iter_mut().zip(grad).zip(kept) {
            *kept = *kept * momentum + (grad * scale + decay * *value);
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
        let (mut values, mut kept) = ([1.0], [0.0]);
        for expected in [0.9, 0.75] {
            // Half of a gradient of two.
            let part = TensorUpdate { values: &mut values, grad: &[2.0], scale: 0.5, decays: true };
            sgd.apply(0.1, part, &mut kept);
            assert!((values[0] - expected).abs() < 1e-6, "{values:?}");
        }
        let plain = Sgd { momentum: 0.0, weight_decay: 0.1 };
        let mut values = [2.0];
        plain.apply(
            0.5,
            TensorUpdate { values: &mut values, grad: &[1.0], scale: 1.0, decays: true },
            &mut [],
        );
        assert!((values[0] - (2.0 - 0.5 * 1.2)).abs() < 1e-6);
    }
}
