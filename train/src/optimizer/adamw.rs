//! AdamW (Loshchilov and Hutter 2019) as torch computes it.

use super::TensorUpdate;

/// Constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a weight that a step at rate 1 takes away.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamW {
    /// Step `step`, counted from 1, of values with their moments.
    pub(super) fn apply(
        &self,
        (rate, step): (f64, u64),
        part: TensorUpdate<'_>,
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let TensorUpdate { values, grad, scale, decays } = part;
        let power = |beta: f64| 1.0 - beta.powi(i32::try_from(step).unwrap_or(i32::MAX));
        let keep = if decays { (1.0 - rate * self.weight_decay) as f32 } else { 1.0 };
        let size = (rate / power(self.beta1)) as f32;
        let root = power(self.beta2).sqrt() as f32;
        let (new1, beta2, new2) = ((1.0 - self.beta1) as f32, self.beta2 as f32, (1.0 - self.beta2) as f32);
        let eps = self.eps as f32;
        let moments = first.iter_mut().zip(second);
        for ((value, grad), (first, second)) in values.iter_mut().zip(grad).zip(moments) {
            let grad = grad * scale;
            *first += new1 * (grad - *first);
            *second = *second * beta2 + new2 * grad * grad;
            let denominator = second.sqrt() / root + eps;
            *value = *value * keep - size * (*first / denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_size_of_the_rate() {
        let mut values = [1.0, -2.0, 3.0];
        let (mut first, mut second) = ([0.0; 3], [0.0; 3]);
        let adamw = AdamW { weight_decay: 0.5, ..AdamW::default() };
        let grad = [0.3, -5.0, 1e-3];
        let part = TensorUpdate { values: &mut values, grad: &grad, scale: 1.0, decays: true };
        adamw.apply((0.1, 1), part, &mut first, &mut second);
        let decayed = [0.95 - 0.1, -1.9 + 0.1, 2.85 - 0.1];
        for (value, expected) in values.iter().zip(decayed) {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
        let mut plain = [1.0];
        let part = TensorUpdate { values: &mut plain, grad: &[0.0], scale: 1.0, decays: false };
        adamw.apply((0.1, 1), part, &mut [0.0], &mut [0.0]);
        assert_eq!(plain, [1.0]);
    }
}
