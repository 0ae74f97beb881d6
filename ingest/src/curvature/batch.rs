//! Batches of samples with the token that each position is to predict.

use gstore_model::architectures::Decoder;
use gstore_model::{Layout, PackedSample, Reduction};

use super::error::PassError;
use crate::gradient::{EngineError, check_sample};

/// One sample with the token that each position is to predict.
#[derive(Debug, Clone, Copy)]
pub struct TargetSample<'a> {
    /// Token ids; there may be none.
    pub ids: &'a [u32],
    /// For each token what should be there, as the position before predicts it; none is not scored. The first
    /// is never scored, whatever it says.
    pub targets: &'a [Option<u32>],
}

/// Whose labels a loss has.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// The targets of the samples: the empirical Fisher matrix.
    Data,
    /// One for each scored token, drawn from the model's own distribution: the true Fisher matrix. A label is
    /// a function of these numbers, of its position and of the distribution.
    Sampled {
        /// Seed of all draws.
        seed: u64,
        /// Number of the pass over the data; those of covariances and of squares draw apart.
        pass: u64,
        /// Row of each sample of the batch in the data.
        rows: &'a [u64],
    },
}

/// What a gradient is of, summed over scored tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measurement {
    /// Cross-entropy.
    #[default]
    Loss,
    /// Minus the margin: `-log(p / (1 - p))` of the target's probability p.
    Margin,
}

pub(super) struct CurvatureBatch<'a> {
    pub samples: &'a [TargetSample<'a>],
    pub labels: Labels<'a>,
    pub measurement: Measurement,
    /// For each module.
    pub wanted: Vec<bool>,
}

impl<'a> CurvatureBatch<'a> {
    /// With the data's labels and their loss; `wanted` are modules of `modules`.
    pub fn new(samples: &'a [TargetSample<'a>], wanted: &[usize], modules: usize) -> Self {
        let wanted = (0..modules).map(|module| wanted.contains(&module)).collect();
        Self { samples, labels: Labels::Data, measurement: Measurement::Loss, wanted }
    }

    /// An error unless a model can compute it.
    pub fn check(&self, decoder: &Decoder) -> Result<(), PassError> {
        let vocab = decoder.vocab_size;
        for (index, (sample, scored)) in self.samples.iter().zip(self.scored()).enumerate() {
            check_sample(decoder, index, &PackedSample::new(sample.ids, &scored))?;
            if let Some(token) = sample.targets.iter().flatten().find(|token| **token as usize >= vocab) {
                return Err(EngineError::UnknownToken { index, token: *token, vocab }.into());
            }
        }
        match self.labels {
            Labels::Sampled { rows, .. } if rows.len() != self.samples.len() => {
                Err(PassError::RowNumbers { rows: rows.len(), samples: self.samples.len() })
            }
            _ => Ok(()),
        }
    }

    /// Whether there is something to compute.
    pub fn has_tokens(&self) -> bool {
        self.samples.iter().any(|sample| !sample.ids.is_empty())
    }

    /// The rows of a checked batch of at least one token. Without `whole`, positions that no loss depends on
    /// are left out.
    pub fn layout(&self, whole: bool) -> Layout {
        let scored: Vec<Vec<bool>> = self.scored().collect();
        let packed: Vec<PackedSample<'_>> = self
            .samples
            .iter()
            .zip(&scored)
            .map(|(sample, scored)| PackedSample::new(sample.ids, scored))
            .collect();
        let some = packed.iter().any(|sample| sample.scored_tokens() > 0);
        let mut layout = Layout::new(&packed, whole || !some, Reduction::Sum);
        let targets = self.samples.iter().flat_map(|sample| sample.targets.iter().skip(1).flatten());
        layout.targets = targets.copied().collect();
        if !some {
            // A backward pass needs a scored row: the first, whose loss has no weight.
            layout.scored_rows.push(0);
            layout.targets.push(layout.ids[0]);
            layout.weights.push(0.0);
            for (span, rows) in layout.scored_spans.iter_mut().zip(&layout.spans) {
                *span = usize::from(rows.start > 0)..usize::from(rows.end > 0);
            }
        }
        layout
    }

    fn scored(&self) -> impl Iterator<Item = Vec<bool>> {
        self.samples.iter().map(|sample| sample.targets.iter().map(Option::is_some).collect())
    }
}
