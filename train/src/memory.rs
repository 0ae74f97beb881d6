//! Memory of a training, predicted from sizes, and what is given up to stay below a limit.
//!
//! Nothing that is given up changes a bit: layers are computed twice rather than kept, and fewer threads run.

use gstore_model::architectures::{Decoder, LinearId, LinearKind, Param, Role};
use gstore_model::{HEAD_ROWS, Keep};

use crate::error::TrainError;
use crate::request::Method;

/// How a training computes, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    pub keep: Keep,
    pub threads: usize,
    /// Bytes at the peak, about.
    pub bytes: u64,
}

/// Sizes that decide the memory.
pub(crate) struct Sizes<'a> {
    pub decoder: &'a Decoder,
    /// Values that are trained, and whether these are all of the model's.
    pub trained: u64,
    pub is_full: bool,
    /// Tokens of the largest piece.
    pub piece: u64,
    /// Bytes of the samples.
    pub samples: u64,
}

impl Sizes<'_> {
    /// What is kept and how many threads run: all of it, unless that is more than `most` bytes.
    pub fn plan(&self, keep: Keep, threads: usize, most: Option<u64>) -> MemoryPlan {
        let of = |keep, threads| MemoryPlan { keep, threads, bytes: self.bytes(keep, threads) };
        let mut plan = of(keep, threads.max(1));
        let fits = |plan: &MemoryPlan| most.is_none_or(|most| plan.bytes <= most);
        if !fits(&plan) {
            plan = of(Keep::Inputs, plan.threads);
        }
        while !fits(&plan) && plan.threads > 1 {
            plan = of(Keep::Inputs, plan.threads - 1);
        }
        plan
    }

    /// How many copies, of `models`, can be trained at once: a thread for each at least, and not more than
    /// `most` bytes; one in any case. They share the weights of their starting point.
    pub fn copies(&self, keep: Keep, threads: usize, models: usize, most: Option<u64>) -> usize {
        let fits = |copies: &usize| most.is_none_or(|most| self.of_copies(keep, threads, *copies) <= most);
        (1..=models.min(threads).max(1)).rev().find(fits).unwrap_or(1)
    }

    /// Bytes at the peak with so many copies at once.
    pub fn of_copies(&self, keep: Keep, threads: usize, copies: usize) -> u64 {
        // Logits of the starting point next to their own.
        let logits = 4 * HEAD_ROWS as u64 * self.decoder.vocab_size as u64;
        let of_threads = threads as u64 * (self.of_thread(keep) + logits);
        8 * self.values() + self.samples + of_threads + copies as u64 * 24 * self.trained
    }

    /// Values of the model.
    fn values(&self) -> u64 {
        self.decoder.params.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum()
    }

    fn bytes(&self, keep: Keep, threads: usize) -> u64 {
        let all = self.values();
        // A trained value has itself, its packed form, its gradient, two moments and a copy while a checkpoint
        // is written; another one itself, and its packed form where it is not read from the file again.
        let weights = match self.is_full {
            true => 24 * self.trained,
            false => 24 * self.trained + 8 * all,
        };
        weights + self.samples + threads as u64 * self.of_thread(keep)
    }

    /// Bytes of a thread: activations of its piece, gradients of a layer, logits.
    fn of_thread(&self, keep: Keep) -> u64 {
        let decoder = self.decoder;
        let width = |kind| decoder.linear_shape(LinearId::Layer { layer: 0, kind })[0] as u64;
        let hidden = decoder.hidden_size as u64;
        let [query, key, inner] = [LinearKind::Q, LinearKind::K, LinearKind::Up].map(width);
        let layer = 7 * hidden + 3 * query + 3 * key + 3 * inner;
        let layers = decoder.layers as u64;
        let kept = match keep {
            Keep::All => layers * layer,
            Keep::Inputs => layers * hidden + layer,
        };
        // The layer at work, forward or backward, and rounded inputs and outputs of a weight whose gradient is summed.
        let rounded = if self.is_full { hidden + inner } else { 0 };
        let working = 4 * hidden + 2 * query + 3 * inner + rounded;
        let gradients = match self.is_full {
            false => self.trained,
            true => {
                let loose = decoder.params.iter().filter(|param| !param.is_map_of_layer());
                let loose: u64 = loose.map(|p| p.shape.iter().product::<usize>() as u64).sum();
                loose + self.trained.saturating_sub(loose) / layers.max(1)
            }
        };
        let logits = 2 * HEAD_ROWS as u64 * decoder.vocab_size as u64;
        4 * (self.piece * (kept + working) + gradients + logits)
    }
}

/// Values that a method trains of a decoder; 0 of an adapter that is not read yet.
///
/// # Errors
/// LoRA targets that the decoder does not have.
pub(crate) fn trained_values(method: &Method, decoder: &Decoder) -> Result<u64, TrainError> {
    let of_factors = |param: &Param, rank: usize| match param.shape[..] {
        [out, input] if matches!(param.role, Role::Weight(_)) => (rank * (out + input)) as u64,
        _ => 0,
    };
    Ok(match method {
        Method::Lora(choice) => {
            choice.resolve(decoder)?.into_iter().map(|param| of_factors(param, choice.rank)).sum()
        }
        Method::Adapter(_) => 0,
        Method::Full | Method::FromScratch => {
            decoder.params.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum()
        }
    })
}
