//! TRAK: scores of projected gradients of a model's output, averaged over an ensemble (arXiv 2303.14186).

use crate::error::CurvatureError;
use crate::gram::Gram;
use crate::inversion::{BlockInverse, Inversion};
use crate::matrix::product_of_transposed;

/// One model of an ensemble: a training run, or a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct TrakModel<'a> {
    /// Projected gradients of the training rows' output f = log(p / (1 - p)), `[rows, k]`.
    pub phi: &'a [f64],
    /// The same of the queries, `[queries, k]`.
    pub psi: &'a [f64],
    /// Diagonal of Q: `1 - p` of each training row.
    pub q: &'a [f64],
}

/// How the models of an ensemble are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrakForm {
    /// As they are: the formula of the paper.
    #[default]
    Paper,
    /// Each inverse divided by the mean of its absolute entries: what the library `traker` computes. It ranks
    /// in another way where there are several models.
    Normalised,
}

/// Scores `[queries, rows]`: `mean_c psi_c (Phi_c' Phi_c + ridge I)^-1 Phi_c'` times `mean_c Q_c`.
/// The ridge is absolute and is added to the sum over the rows.
///
/// # Errors
/// Values that are not finite, sizes that do not fit, and with a ridge of 0 a matrix without an inverse.
pub fn trak(
    models: &[TrakModel<'_>],
    k: usize,
    ridge: f64,
    form: TrakForm,
) -> Result<Vec<f64>, CurvatureError> {
    let Some(first) = models.first() else { return Ok(Vec::new()) };
    let (rows, queries) = (first.phi.len() / k.max(1), first.psi.len() / k.max(1));
    let (mut scores, mut q) = (vec![0.0; queries * rows], vec![0.0; rows]);
    for (at, model) in models.iter().enumerate() {
        let name = format!("model {at}");
        let sizes = [
            ("phi", model.phi.len(), rows * k),
            ("psi", model.psi.len(), queries * k),
            ("q", model.q.len(), rows),
        ];
        if let Some((what, found, expected)) = sizes.into_iter().find(|(_, found, due)| found != due) {
            return Err(CurvatureError::Size { module: name, what, found, expected });
        }
        let mut gram = Gram::new(k);
        gram.add_rows(model.phi);
        let inverse = BlockInverse::new(&gram.sums, k, &name, Inversion::Absolute, Some(ridge))?;
        let inverse = match form {
            TrakForm::Paper => inverse,
            TrakForm::Normalised => inverse.normalised(),
        };
        let of_model = product_of_transposed(&inverse.apply(model.psi), model.phi, (queries, k, rows));
        scores.iter_mut().zip(of_model).for_each(|(sum, score)| *sum += score);
        q.iter_mut().zip(model.q).for_each(|(sum, q)| *sum += q);
    }
    let count = models.len() as f64;
    for scores in scores.chunks_exact_mut(rows.max(1)) {
        scores.iter_mut().zip(&q).for_each(|(score, q)| *score *= q / count / count);
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ensemble_of_one_number_each() {
        let (phi, psi) = ([1.0, 2.0], [3.0]);
        let models = [
            TrakModel { phi: &phi, psi: &psi, q: &[0.5, 1.0] },
            TrakModel { phi: &phi, psi: &psi, q: &[0.25, 0.0] },
        ];
        // (1 + 4 + 1)^-1 is 1/6; normalised it is 1.
        assert_eq!(trak(&models, 1, 1.0, TrakForm::Normalised), Ok(vec![3.0 * 0.375, 6.0 * 0.5]));
        let paper = trak(&models, 1, 1.0, TrakForm::Paper).unwrap();
        assert!((paper[0] - 0.5 * 0.375).abs() < 1e-15 && (paper[1] - 0.5).abs() < 1e-15, "{paper:?}");
        let short = TrakModel { phi: &phi, psi: &psi, q: &[0.5] };
        assert!(matches!(
            trak(&[short], 1, 0.0, TrakForm::Paper),
            Err(CurvatureError::Size { what: "q", .. })
        ));
        assert_eq!(trak(&[], 1, 0.0, TrakForm::Paper), Ok(Vec::new()));
    }
}
