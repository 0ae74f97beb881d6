//! Gradient of a sample, in the form that takes the fewest multiplications to rotate.
//!
//! For T tokens, and bases of `s` outputs and `a` inputs with `v_s` and `v_a` values in their blocks,
//! rotating the gradient itself takes `a v_s + s v_a` multiplications. Rotating its factors takes `T (v_s +
//! v_a)`. The product of the factors, `T s a`, is computed once in either order.

use std::borrow::Cow;

use crate::blocks::Blocks;
use crate::module::Module;
use crate::sums::RowSums;

/// A gradient `G = sum_t g_t a_t^T`, `[out, input]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleGradient {
    out: usize,
    input: usize,
    pub(crate) form: OuterForm,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OuterForm {
    /// Its values.
    Whole(Vec<f32>),
    /// Its factors: `[tokens, input]` and `[tokens, out]`.
    Factors { inputs: Vec<f32>, grads: Vec<f32> },
}

impl SampleGradient {
    /// The gradient of no tokens.
    pub fn empty(module: &Module) -> Self {
        let form = OuterForm::Factors { inputs: Vec::new(), grads: Vec::new() };
        Self { out: module.out, input: module.input, form }
    }

    /// The gradient with these values.
    pub fn whole(module: &Module, values: Vec<f32>) -> Self {
        Self { out: module.out, input: module.input, form: OuterForm::Whole(values) }
    }

    /// Multiplications that rotate the factors of a token, `v_s + v_a`, and a whole gradient, `a v_s + s v_a`,
    /// if blocks have at most this many rows.
    pub fn rotation_costs(module: &Module, max_block: usize) -> [u128; 2] {
        let values = |size: usize| Blocks::new(size, max_block).values() as u128;
        let (of_out, of_input) = (values(module.out), values(module.input));
        [of_out + of_input, module.input as u128 * of_out + module.out as u128 * of_input]
    }

    /// The most tokens whose factors take fewer multiplications to rotate than the whole gradient, if blocks
    /// have at most this many rows. It follows from sizes alone, and so does the form of a gradient.
    pub fn most_tokens(module: &Module, max_block: usize) -> usize {
        let [token, whole] = Self::rotation_costs(module, max_block);
        // One less if both are equal.
        let most = whole.saturating_sub(1) / token.max(1);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Most values that a gradient of this many tokens holds, with [`SampleGradient::most_tokens`].
    pub fn most_values(module: &Module, max_block: usize, tokens: usize) -> usize {
        let most = Self::most_tokens(module, max_block);
        let of_factors = tokens.min(most) * (module.input + module.out);
        if tokens > most { module.len().max(of_factors) } else { of_factors }
    }

    /// Adds tokens, `[tokens, input]` and `[tokens, out]`; with more than `most` in all it becomes a matrix.
    ///
    /// # Panics
    /// If they are incomplete.
    pub fn add(&mut self, (inputs, grads): (&[f32], &[f32]), most: usize) {
        match &mut self.form {
            OuterForm::Factors { inputs: all, grads: of_all } => {
                all.extend_from_slice(inputs);
                of_all.extend_from_slice(grads);
                if of_all.len() > most.saturating_mul(self.out) {
                    self.form = OuterForm::Whole(self.values().into_owned());
                }
            }
            OuterForm::Whole(values) => {
                let more = product((inputs, grads), (self.out, self.input));
                values.iter_mut().zip(more).for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// Its values, `[out, input]`.
    pub fn values(&self) -> Cow<'_, [f32]> {
        match &self.form {
            OuterForm::Whole(values) => Cow::Borrowed(values),
            OuterForm::Factors { inputs, grads } => {
                Cow::Owned(product((inputs, grads), (self.out, self.input)))
            }
        }
    }
}

/// The sum of the outer products of tokens.
fn product((inputs, grads): (&[f32], &[f32]), (out, input): (usize, usize)) -> Vec<f32> {
    let mut values = vec![0.0f32; out * input];
    RowSums::default().outer((inputs, grads), (out, input), |at, sums| {
        values[at..].iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum as f32);
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(out: usize, input: usize) -> Module {
        Module { name: "m".into(), out, input, bias: false }
    }

    fn values(count: usize, step: f64) -> Vec<f32> {
        (0..count).map(|at| (at as f64 * step).sin() as f32).collect()
    }

    #[test]
    fn as_many_tokens_as_are_turned_with_fewer_multiplications() {
        let costs = |module: &Module, tokens: usize| {
            let (s, a) = (module.out, module.input);
            [tokens * (s * s + a * a), a * s * s + s * a * a]
        };
        for (out, input) in [(192, 192), (64, 192), (512, 192), (192, 512), (1, 3), (1, 1)] {
            let module = module(out, input);
            let most = SampleGradient::most_tokens(&module, usize::MAX);
            let [factors, whole] = costs(&module, most);
            assert!(factors < whole, "{out} {input}: {most}");
            let [factors, whole] = costs(&module, most + 1);
            assert!(factors >= whole, "{out} {input}: {most}");
        }
        // 8 blocks of 64: 8 * 64^2 values of a basis of 512, and 3 * 64^2 of one of 192.
        let blocks = [192 * 8 + 512 * 3, 8 + 3].map(|count| count * 64 * 64);
        assert_eq!(SampleGradient::most_tokens(&module(512, 192), 64), (blocks[0] - 1) / blocks[1]);
        assert_eq!(SampleGradient::most_values(&module(512, 192), usize::MAX, 10), 10 * (512 + 192));
        assert_eq!(SampleGradient::most_values(&module(192, 192), usize::MAX, 999), 191 * 384);
    }

    #[test]
    fn tokens_make_the_same_matrix_in_any_calls_and_form() {
        let (out, input, tokens) = (5, 7, 9);
        let module = module(out, input);
        let (inputs, grads) = (values(tokens * input, 0.3), values(tokens * out, 0.7));
        let mut expected = vec![0.0f64; out * input];
        for t in 0..tokens {
            for (at, sum) in expected.iter_mut().enumerate() {
                *sum += f64::from(grads[t * out + at / input]) * f64::from(inputs[t * input + at % input]);
            }
        }
        for most in [0, 4, 8, 9, 100] {
            let mut found = SampleGradient::empty(&module);
            for span in [0..4, 4..4, 4..9] {
                let part =
                    (&inputs[span.start * input..span.end * input], &grads[span.start * out..span.end * out]);
                found.add(part, most);
            }
            assert_eq!(matches!(found.form, OuterForm::Factors { .. }), most >= tokens);
            for (found, expected) in found.values().iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6 * tokens as f64, "{most}");
            }
        }
    }

    /// Without tokens there is nothing to multiply, and yet every value is passed on: zero, whatever the
    /// memory held before.
    #[test]
    fn a_gradient_without_a_token_is_zeros() {
        let module = module(5, 7);
        assert_eq!(*SampleGradient::empty(&module).values(), [0.0; 35]);
        let (mut sums, mut to) = (RowSums::default(), vec![f64::NAN; 35]);
        for tokens in [3, 0] {
            let (inputs, grads) = (values(tokens * 7, 0.3), values(tokens * 5, 0.7));
            let mut parts = Vec::new();
            sums.outer((&inputs, &grads), (5, 7), |at, sums| {
                parts.push(at);
                to[at..][..7].copy_from_slice(sums);
            });
            assert_eq!(parts, [0, 7, 14, 21, 28]);
            assert_eq!(to.iter().all(|value| *value == 0.0), tokens == 0);
        }
    }
}
