//! Task of a head: its objective, and what it computes.

use std::ops::Range;

use super::{BackendError, check, check_cap};

/// The form of a head's losses.
#[derive(Debug)]
pub enum Objective<'a, T> {
    /// Cross-entropy against `(1 - smoothing) * onehot(target) + smoothing / vocab`.
    CrossEntropy {
        /// Share of the uniform distribution; 0 for none.
        smoothing: f32,
    },
    /// Minus the log-odds of the target, `-ln(p / (1 - p))`: minus the margin of its logit over the log-sum
    /// of all others.
    Margin,
    /// `KL(p || q)` of the model's distribution p from that of another model's head inputs, with the same
    /// head.
    Kl {
        /// The other model's head inputs, `[rows, hidden]`.
        reference: &'a T,
    },
    /// How far the cross-entropy has come from that of a starting point, and a linear term of the logits:
    /// `change * (L(z) - L(z0)) - linear * <z - z0, dL(z0) / dz0>` with z0 held fixed.
    Perturbed {
        /// Logits of the starting point as the softmax takes them, `[rows, vocab]`.
        start: &'a T,
        /// `change` and `linear` of each row.
        factors: &'a [[f32; 2]],
    },
    /// Half the curvature of the cross-entropy along a tangent t of the logits, `t' (diag p - p p') t / 2`
    /// with the model's distribution p held fixed. The gradient is that of t: the product of the Gauss-Newton
    /// matrix of the logits, which is their Fisher matrix, with the tangent.
    GaussNewton {
        /// Tangent of the logits before a cap, `[rows, vocab]`.
        tangent: &'a T,
    },
}

// Not derived: tensors need not be `Copy`.
impl<T> Clone for Objective<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Objective<'_, T> {}

/// What the head is asked for.
pub struct HeadTask<'a, T> {
    /// The scored tokens, one per row.
    pub targets: &'a [u32],
    /// Weight of each row's loss in the sum that is differentiated; none: no gradient.
    pub weights: Option<&'a [f32]>,
    /// Logits z become `cap * tanh(z / cap)`.
    pub softcap: Option<f32>,
    /// What a loss is.
    pub objective: Objective<'a, T>,
    /// Whether the entropy of each row's distribution is wanted in addition to its loss.
    pub entropies: bool,
}

impl<T> HeadTask<'_, T> {
    /// An error unless the task fits inputs of `rows` rows and `width` columns, and `vocab` logits.
    pub fn check(
        &self,
        (rows, width): (usize, usize),
        vocab: usize,
        size: impl Fn(&T) -> (usize, usize),
    ) -> Result<(), BackendError> {
        check(self.weights.is_none_or(|weights| weights.len() == rows), || {
            format!("{} weights of {rows} losses", self.weights.map_or(0, <[f32]>::len))
        })?;
        check_cap(self.softcap)?;
        let targets = || {
            check(self.targets.len() == rows, || format!("{} targets of {rows} rows", self.targets.len()))?;
            check(self.targets.iter().all(|target| (*target as usize) < vocab), || {
                format!("a target lies outside the vocabulary of {vocab}")
            })
        };
        match &self.objective {
            Objective::CrossEntropy { .. } => targets(),
            Objective::Margin => {
                targets()?;
                check(vocab > 1, || "a margin needs two logits, there is one".to_owned())
            }
            Objective::Perturbed { start, factors } => {
                targets()?;
                check(size(start) == (rows, vocab) && factors.len() == rows, || {
                    let (start, factors) = (size(start), factors.len());
                    format!("logits of {start:?} and {factors} factors where {rows} rows of {vocab} are due")
                })
            }
            Objective::Kl { reference } => check(size(reference) == (rows, width), || {
                format!("reference inputs of {:?} where {rows} rows of {width} are due", size(reference))
            }),
            Objective::GaussNewton { tangent } => check(size(tangent) == (rows, vocab), || {
                format!("a tangent of {:?} logits where {rows} rows of {vocab} are due", size(tangent))
            }),
        }
    }
}

/// Receives the factors of the head's weight gradient: rows of the chunk, its inputs, and the gradient of its
/// logits.
pub type HeadTap<'a, T> = &'a mut dyn FnMut(Range<usize>, &T, &T) -> Result<(), BackendError>;

/// Rows of a chunk of the head; a backend may take more. A call with no more rows is one chunk, and its tap
/// is called once.
pub const HEAD_ROWS: usize = 128;

/// Bytes of logits that a thread has on a GPU at a time, unless those of [`HEAD_ROWS`] rows are more.
pub const LOGITS_BUDGET: usize = 512 << 20;

/// Bytes of a logit at most: two in f32 where distributions are compared, else one and its bf16 rounding.
pub(crate) const LOGIT_BYTES: usize = 8;

/// Rows of a chunk at most: with more, products are not faster.
const MOST_ROWS: usize = 4096;

/// Rows of a chunk of the head on a GPU, with a budget in bytes. They depend on the vocabulary and not on
/// free memory, as products of other sizes may have other bits.
pub fn head_rows(vocab: usize, budget: usize) -> usize {
    let rows = budget / (LOGIT_BYTES * vocab.max(1));
    (rows / HEAD_ROWS * HEAD_ROWS).clamp(HEAD_ROWS, MOST_ROWS)
}

/// What the head computes.
pub struct HeadOutput<T> {
    /// Loss of each row.
    pub losses: Vec<f32>,
    /// Entropy of the distribution of each row, in nats, if asked for; else empty.
    pub entropies: Vec<f32>,
    /// Gradient of the head's inputs, if asked for.
    pub grad: Option<T>,
}
