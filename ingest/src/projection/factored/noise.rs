//! Expected noise of the inner products of projected gradients.
//!
//! The variance of `<Px, Py>` of unit gradients, for coordinates without outliers. For G and G' of
//! concentration `c = |G G'^T|^2 / (|G| |G'|)^2`, with sides of variance factor 1/k_out, 1/k_in and
//! a last projection to k:
//!
//! - nearly equal gradients: `2 c (1/k_out + 1/k_in) + 2 (1 + c)/(k_out k_in) + 2/k`; the concentration of a
//!   sum over T random tokens is `1/T + 1/d_out + 1/d_in`, so few tokens cost precision
//! - unrelated gradients: `1/(k_out d_in) + 1/(k_in d_out) + 1/(k_out k_in) + 1/k`
//!
//! `two_sided` lacks the last term, a mask of k of d coordinates has `(1 - k/d)/k` on its side. One token
//! gives the formula of the single product `v_out v_in + v_out r_in^2 + v_in r_out^2`, `v = (1 + r^2)/k`.
//! Measured values: `docs/methods.md`.

use crate::projection::kind::ProjectionKind;
use crate::projection::modules::GradientShape;
use crate::projection::spec::ProjectionSpec;

/// Variances of the inner product of two unit gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProjectionNoise {
    /// Of unrelated gradients; its root is the standard error of a cosine near 0.
    pub unrelated: f64,
    /// Of a gradient with itself; its root is the relative error of a squared norm.
    pub own: f64,
}

impl ProjectionNoise {
    /// Of the inner product over several modules that have equal shares of the squared norm.
    pub(super) fn of_all(modules: &[ProjectionNoise]) -> ProjectionNoise {
        let shares = (modules.len().max(1) as f64).powi(2);
        ProjectionNoise {
            unrelated: modules.iter().map(|n| n.unrelated).sum::<f64>() / shares,
            own: modules.iter().map(|n| n.own).sum::<f64>() / shares,
        }
    }
}

/// Of one module, for samples of `tokens` tokens; of a flat kind, which modules share, if
/// `shape` were all there is.
pub fn noise(spec: &ProjectionSpec, shape: GradientShape, tokens: u64) -> ProjectionNoise {
    let k = f64::from(spec.dim.max(1));
    let (rows, columns) = shape.matrix();
    let (d_out, d_in) = (rows.max(1) as f64, columns.max(1) as f64);
    let Some((k_out, k_in)) = shape.sides(spec.kind) else {
        let rest = match spec.kind {
            ProjectionKind::None | ProjectionKind::Ekfac => 0.0,
            ProjectionKind::Mask => (1.0 - k / shape.numel().max(1) as f64).max(0.0),
            ProjectionKind::Sjlt { .. }
            | ProjectionKind::Rademacher
            | ProjectionKind::Gaussian
            | ProjectionKind::TwoSided { .. }
            | ProjectionKind::FactMask { .. }
            | ProjectionKind::FactSjlt { .. } => 1.0,
        };
        return ProjectionNoise { unrelated: rest / k, own: 2.0 * rest / k };
    };
    let (k_out, k_in) = (k_out as f64, k_in as f64);
    let (rest_out, rest_in) = match spec.kind {
        ProjectionKind::FactMask { .. } => (1.0 - k_out / d_out, 1.0 - k_in / d_in),
        _ => (1.0, 1.0),
    };
    let (v_out, v_in) = (rest_out / k_out, rest_in / k_in);
    let concentration = (1.0 / tokens.max(1) as f64 + 1.0 / d_out + 1.0 / d_in).min(1.0);
    let own = 2.0 * concentration * (v_out + v_in) + 2.0 * (1.0 + concentration) * v_out * v_in;
    let unrelated = v_out / d_in + v_in / d_out + v_out * v_in;
    match spec.kind {
        ProjectionKind::TwoSided { .. } => ProjectionNoise { unrelated, own },
        _ => {
            ProjectionNoise { unrelated: unrelated + (1.0 + unrelated) / k, own: own + 2.0 * (1.0 + own) / k }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_of_two_sided() {
        let spec = ProjectionSpec::sized("two_sided".parse().unwrap(), 4096);
        let shape = GradientShape::Linear { out: 100_000, input: 100_000, bias: false };
        let noise = noise(&spec, shape, 1);
        // Dimensions of dense projections with these variances.
        assert!((2.0 / noise.own - 31.5).abs() < 0.5, "k_out k_in / (k_out + k_in) = 32");
        assert!((1.0 / noise.unrelated - 4096.0).abs() < 10.0);
    }

    #[test]
    fn a_whole_mask_has_no_noise_of_its_own() {
        let spec = ProjectionSpec::sized("fact_mask".parse().unwrap(), 1024);
        let noise = noise(&spec, GradientShape::Linear { out: 8, input: 8, bias: false }, 1);
        assert!((noise.own - 2.0 / 1024.0).abs() < 1e-9 && (noise.unrelated - 1.0 / 1024.0).abs() < 1e-9);
    }

    #[test]
    fn modules_average() {
        let one = ProjectionNoise { unrelated: 0.1, own: 0.4 };
        let all = ProjectionNoise::of_all(&[one; 4]);
        assert!((all.unrelated - 0.025).abs() < 1e-12 && (all.own - 0.1).abs() < 1e-12);
    }
}
