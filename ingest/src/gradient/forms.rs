//! Forms of a gradient before projection: plain, Adam, sign, normalised.
//!
//! Source of the Adam form: Xia et al. 2024 (LESS), section 3, and their code.

use gstore_model::vectorised;

/// What a gradient is turned into, value by value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GradForm {
    /// Itself.
    Plain,
    /// The update that Adam would make for this gradient alone: `m' = b1 m + (1 - b1) g`,
    /// `v' = b2 v + (1 - b2) g^2`, `m' / sqrt(v' + eps)` by default. Moments are read, never advanced.
    Adam(AdamParams),
    /// The sign of each coordinate; zero stays zero, NaN stays NaN.
    Sign,
    /// `g / (sqrt(v) + eps)` with the second moment `v` that the optimizer has; the first one does not enter.
    Normalised {
        /// Keeps the denominator from zero.
        eps: f64,
    },
}

impl GradForm {
    /// Whether the form is linear in the gradient, so that it can be projected from factors.
    pub(crate) fn is_linear(self) -> bool {
        self == GradForm::Plain
    }

    /// Whether the first and the second moment enter.
    pub fn moments(self) -> [bool; 2] {
        match self {
            GradForm::Plain | GradForm::Sign => [false, false],
            GradForm::Adam(_) => [true, true],
            GradForm::Normalised { .. } => [false, true],
        }
    }

    /// Writes the form of `grad` to `out`. Slices have one value per trainable parameter; moments that do not
    /// enter may be empty.
    pub fn apply(self, grad: &[f32], m: &[f32], v: &[f32], out: &mut [f32]) {
        vectorised!(match self {
            GradForm::Plain => out.copy_from_slice(grad),
            GradForm::Adam(params) => adam_feature(grad, m, v, &params, out),
            GradForm::Sign => sign_feature(grad, out),
            GradForm::Normalised { eps } => normalised_feature(grad, v, eps, out),
        });
    }

    /// Whether a gradient gives finite values only. Signs, a projection that samples coordinates, and a
    /// second moment that overflows can all turn a broken gradient into a vector that looks well.
    pub fn is_sound(self, grad: &[f32]) -> bool {
        match self {
            GradForm::Adam(_) => all_finite(grad, |g| g * g),
            _ => all_finite(grad, |g| g),
        }
    }
}

/// Whether the result of each value is finite. A loop that may end at any value is not turned into vector
/// code, so this one ends after some.
fn all_finite(grad: &[f32], of: impl Fn(f32) -> f32) -> bool {
    vectorised!(grad.chunks(256).all(
        #[inline(always)]
        |values| values.iter().fold(true, |sound, g| sound & of(*g).is_finite()),
    ))
}

/// Where Adam's epsilon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpsPlacement {
    /// `m / sqrt(v + eps)`: LESS.
    #[default]
    Inside,
    /// `m / (sqrt(v) + eps)`: PyTorch.
    Outside,
}

/// Whether moments are corrected for their start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BiasCorrection {
    /// As they are: LESS.
    #[default]
    None,
    /// Divided by `1 - b^t` of step t, counted from 1.
    Step(u64),
}

/// Constants of the Adam feature; the default is LESS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamParams {
    /// Decay of the first moment.
    pub b1: f64,
    /// Decay of the second moment.
    pub b2: f64,
    /// Keeps the denominator from zero.
    pub eps: f64,
    /// Where `eps` stands.
    pub eps_placement: EpsPlacement,
    /// Correction of the moments.
    pub bias_correction: BiasCorrection,
}

impl Default for AdamParams {
    fn default() -> Self {
        AdamParams {
            b1: 0.9,
            b2: 0.999,
            eps: 1e-8,
            eps_placement: EpsPlacement::Inside,
            bias_correction: BiasCorrection::None,
        }
    }
}

impl AdamParams {
    /// Of the first and of the second moment what the old one and what the gradient or its square are
    /// multiplied by.
    pub(super) fn factors(&self) -> [[f32; 2]; 2] {
        let [m, v] = match self.bias_correction {
            BiasCorrection::None => [1.0, 1.0],
            BiasCorrection::Step(t) => {
                let t = t.max(1) as f64;
                [self.b1, self.b2].map(|decay| (1.0 - decay.powf(t)).recip())
            }
        };
        let both =
            |decay: f64, correction: f64| [(decay * correction) as f32, ((1.0 - decay) * correction) as f32];
        [both(self.b1, m), both(self.b2, v)]
    }
}

#[inline(always)]
fn adam_feature(grad: &[f32], m: &[f32], v: &[f32], params: &AdamParams, out: &mut [f32]) {
    let [[m_old, m_new], [v_old, v_new]] = params.factors();
    let eps = params.eps as f32;
    let moments =
        grad.iter().zip(m).zip(v).map(|((g, m), v)| (m_old * m + m_new * g, v_old * v + v_new * g * g));
    match params.eps_placement {
        EpsPlacement::Inside => out.iter_mut().zip(moments).for_each(|(u, (m, v))| *u = m / (v + eps).sqrt()),
        EpsPlacement::Outside => {
            out.iter_mut().zip(moments).for_each(|(u, (m, v))| *u = m / (v.sqrt() + eps))
        }
    }
}

#[inline(always)]
fn normalised_feature(grad: &[f32], v: &[f32], eps: f64, out: &mut [f32]) {
    let eps = eps as f32;
    for ((u, g), v) in out.iter_mut().zip(grad).zip(v) {
        *u = g / (v.sqrt() + eps);
    }
}

#[inline(always)]
fn sign_feature(grad: &[f32], out: &mut [f32]) {
    for (u, g) in out.iter_mut().zip(grad) {
        *u = if *g > 0.0 {
            1.0
        } else if *g < 0.0 {
            -1.0
        } else {
            *g * 0.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adam(g: &[f32], m: &[f32], v: &[f32], params: &AdamParams) -> Vec<f32> {
        let mut out = vec![0.0; g.len()];
        GradForm::Adam(*params).apply(g, m, v, &mut out);
        out
    }

    fn assert_close(found: &[f32], expected: [f32; 4]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 1.5e-6, "{found:?} instead of {expected:?}");
        }
    }

    /// The acceptance example of the method's description, section 8.
    #[test]
    fn acceptance_example() {
        let less = AdamParams::default();
        let (m, v) = ([0.010, -0.020, 0.005, 0.000], [4e-4, 1e-4, 2.5e-5, 1e-6]);
        assert_close(
            &adam(&[0.30, -0.10, 0.05, 0.02], &m, &v, &less),
            [1.762542, -2.670788, 1.812073, 1.684901],
        );
        assert_close(
            &adam(&[-0.20, 0.40, 0.10, -0.01], &m, &v, &less),
            [-0.524637, 1.364618, 2.451473, -0.949586],
        );
        assert_close(&adam(&[0.0; 4], &m, &v, &less), [0.450220, -1.800811, 0.900270, 0.000000]);
        let (m, v) = ([0.008, -0.010, -0.004, 0.002], [3e-4, 2e-4, 1e-5, 4e-6]);
        assert_close(
            &adam(&[0.25, -0.05, 0.02, 0.01], &m, &v, &less),
            [1.691904, -0.984282, -0.496139, 1.381811],
        );
        assert_close(
            &adam(&[-0.10, 0.30, 0.20, -0.03], &m, &v, &less),
            [-0.159104, 1.233567, 2.31931, -0.541773],
        );
        assert_close(&adam(&[0.0; 4], &m, &v, &less), [0.415893, -0.636699, -1.13842, 0.899326]);
    }

    #[test]
    fn acceptance_example_of_eps_placement() {
        let (m, v, g) = ([1e-6, -2e-6, 0.0, 0.0], [1e-10, 4e-10, 1e-12, 1e-8], [3e-5, -1e-5, 2e-6, 1e-4]);
        let inside = adam(&g, &m, &v, &AdamParams::default());
        let params = AdamParams { eps_placement: EpsPlacement::Outside, ..AdamParams::default() };
        let outside = adam(&g, &m, &v, &params);
        let unit = |u: &[f32]| {
            let norm = u.iter().map(|x| x * x).sum::<f32>().sqrt();
            u.iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let (a, b) = (unit(&inside), unit(&outside));
        assert_close(&a, [0.455311, -0.322158, 0.023465, 0.829672]);
        assert_close(&b, [0.828707, -0.298932, 0.422244, 0.213528]);
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert!((cosine(&a, &b) - 0.660689).abs() < 2e-6);
        let momentum: Vec<f32> = m.iter().zip(g).map(|(m, g)| 0.9 * m + 0.1 * g).collect();
        assert!((cosine(&a, &unit(&momentum)) - 0.989596).abs() < 2e-6);
    }

    #[test]
    fn the_bound_holds_for_consistent_moments() {
        let params = AdamParams::default();
        // Of a coordinate, if both moments share one history and eps is zero.
        let bound = (1.0 - params.b1) / ((1.0 - params.b2) * (1.0 - params.b1.powi(2) / params.b2)).sqrt();
        assert!((bound - 7.2703).abs() < 5e-5);
        // The worst history: each gradient is the previous one times b2 / b1.
        let mut history = 1e-6f64;
        let (mut m, mut v) = (0.0, 0.0);
        for _ in 0..400 {
            let u = adam(&[history as f32], &[m as f32], &[v as f32], &params);
            assert!(f64::from(u[0].abs()) <= bound * (1.0 + 1e-5));
            m = 0.9 * m + 0.1 * history;
            v = 0.999 * v + 0.001 * history * history;
            history *= 0.999 / 0.9;
        }
    }

    #[test]
    fn bias_correction_divides_the_moments() {
        let params =
            AdamParams { bias_correction: BiasCorrection::Step(1), eps: 0.0, ..AdamParams::default() };
        let u = adam(&[0.5], &[0.0], &[0.0], &params);
        assert!((u[0] - 1.0).abs() < 1e-6, "the first step of Adam has length one, not {}", u[0]);
    }

    #[test]
    fn the_normaliser_divides_by_the_root_of_the_second_moment() {
        let mut out = [0.0; 3];
        GradForm::Normalised { eps: 0.5 }.apply(&[3.0, -1.0, 0.0], &[], &[4.0, 0.25, 0.0], &mut out);
        assert_eq!(out, [1.2, -1.0, 0.0]);
    }

    #[test]
    fn a_value_that_breaks_a_gradient_is_found_wherever_it_stands() {
        let adam = GradForm::Adam(AdamParams::default());
        for len in [1, 255, 256, 257, 1000] {
            for at in [0, len / 2, len - 1] {
                let with = |value: f32, form: GradForm| {
                    let mut grad = vec![1.0; len];
                    grad[at] = value;
                    form.is_sound(&grad)
                };
                for form in [GradForm::Plain, adam] {
                    assert!(with(1e18, form));
                    assert!(!with(f32::NAN, form) && !with(f32::NEG_INFINITY, form), "{at} of {len}");
                }
                // Its square is not finite.
                assert!(with(1e30, GradForm::Sign) && !with(1e30, adam), "{at} of {len}");
            }
        }
    }

    #[test]
    fn signs() {
        let mut out = [9.0; 5];
        GradForm::Sign.apply(&[2.0, -3.0, 0.0, -0.0, f32::NAN], &[], &[], &mut out);
        assert_eq!(out[..4], [1.0, -1.0, 0.0, 0.0]);
        assert!(out[4].is_nan());
    }
}
