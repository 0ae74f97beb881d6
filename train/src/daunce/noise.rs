//! Differences between the models of an ensemble: the seed of each, its rows, and the noise of each row.
//!
//! Invariants
//! - everything follows from the ensemble's seed and the model's number: not from other models, threads, or
//!   the order in which models are trained
//! - noise belongs to a row's number in the data, so other rows of a batch change none of it

use gstore_core::{Remedy, sha256_hex};

use crate::error::TrainError;
use crate::random::RandomStream;

/// The rows of one model and their noise.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDraw {
    /// Seed of whatever else is random: new LoRA factors, dropout.
    pub seed: u64,
    /// Samples that it is trained on, in the order of its steps, without repetition.
    pub samples: Vec<usize>,
    /// Noise of each of these, uniform in [0, 1).
    pub noise: Vec<f64>,
}

impl ModelDraw {
    /// That of model `model` of an ensemble: `size` of the samples whose numbers in the data are `rows`,
    /// without replacement.
    ///
    /// # Errors
    /// More samples than there are.
    pub fn new(seed: u64, model: u64, rows: &[u64], size: usize) -> Result<ModelDraw, TrainError> {
        check_size(size, rows.len())?;
        let mut samples = RandomStream::new(seed, "daunce subset", model).order(rows.len());
        samples.truncate(size);
        let noise = RandomStream::new(seed, "daunce noise", model);
        Ok(ModelDraw {
            // 63 bits: every program can keep it as a signed number.
            seed: RandomStream::new(seed, "daunce model", model).bits(0) >> 1,
            noise: samples.iter().map(|sample| noise.uniform(rows[*sample])).collect(),
            samples,
        })
    }

    /// SHA-256 of the rows' numbers in the data, in the order of the steps, as little-endian u64.
    pub(crate) fn digest_of_rows(&self, rows: &[u64]) -> String {
        let numbers = self.samples.iter().filter_map(|sample| rows.get(*sample));
        sha256_hex(&numbers.flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// SHA-256 of the noise in the same order, as little-endian f64.
    pub(crate) fn digest_of_noise(&self) -> String {
        sha256_hex(&self.noise.iter().flat_map(|xi| xi.to_le_bytes()).collect::<Vec<u8>>())
    }
}

/// An error unless `size` of `rows` rows can be drawn without replacement.
pub(super) fn check_size(size: usize, rows: usize) -> Result<(), TrainError> {
    match size {
        0 => Err(TrainError::Option("a model is to be trained on no row".to_owned())),
        size if size > rows => Err(TrainError::Option(format!(
            "a copy needs {size} rows, drawn without replacement, and there are only {rows}: take fewer steps or \
             smaller batches, or let it pass over fewer rows several times, as with {}",
            Remedy::Option("subset", &(rows / 2).max(1).to_string())
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_differ_and_repeat() {
        let rows: Vec<u64> = (0..500).map(|row| 3 * row).collect();
        let draw = |model| ModelDraw::new(7, model, &rows, 200).unwrap();
        assert_eq!(draw(3), draw(3));
        let seeds: std::collections::BTreeSet<u64> = (0..100).map(|model| draw(model).seed).collect();
        assert_eq!(seeds.len(), 100);
        assert_ne!(draw(0).samples, draw(1).samples);
        let mut samples = draw(0).samples;
        samples.sort_unstable();
        samples.dedup();
        assert_eq!(samples.len(), 200);
        let noise: Vec<f64> = (0..20).flat_map(|model| draw(model).noise).collect();
        assert!(noise.iter().all(|xi| (0.0..1.0).contains(xi)));
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let variance = noise.iter().map(|xi| (xi - mean).powi(2)).sum::<f64>() / noise.len() as f64;
        assert!((mean - 0.5).abs() < 0.02 && (variance - 1.0 / 12.0).abs() < 0.01, "{mean} {variance}");
    }

    /// The noise of a row is its own, whichever other rows there are.
    #[test]
    fn noise_belongs_to_a_row() {
        let (all, some): (Vec<u64>, Vec<u64>) = ((0..50).collect(), (0..50).step_by(2).collect());
        let of = |rows: &[u64]| {
            let draw = ModelDraw::new(1, 4, rows, rows.len()).unwrap();
            let pairs =
                draw.samples.iter().zip(&draw.noise).map(|(sample, xi)| (rows[*sample], xi.to_bits()));
            pairs.collect::<std::collections::BTreeMap<u64, u64>>()
        };
        let (all, some) = (of(&all), of(&some));
        assert!(some.iter().all(|(row, xi)| all[row] == *xi));
    }

    #[test]
    fn no_row_comes_twice() {
        let error = ModelDraw::new(1, 0, &[1, 2, 3], 4).unwrap_err().to_string();
        assert!(error.contains('4') && error.contains('3'), "{error}");
    }
}
