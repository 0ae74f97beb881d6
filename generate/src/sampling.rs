//! Token sampling: from logits to the next token, with the processors of transformers in their order.
//!
//! 1. repetition penalty over all tokens so far, the prompt's too: positive logits are divided by it,
//!    negative ones multiplied, once for each token
//! 2. tokens that would repeat an n-gram of the prompt and the answer are left out
//! 3. division by the temperature; without one the largest logit is taken here
//! 4. top-k: logits below the k-th largest are left out, equal ones stay
//! 5. top-p: the least likely tokens are left out while they make up no more than `1 - p`
//! 6. softmax in f64; the token is the first one whose cumulative probability, by ascending id, exceeds a
//!    uniform number

use gstore_core::written_number;

use crate::error::GenerateError;

/// How a token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingOptions {
    /// Logits are divided by it; 0: the most likely token is taken.
    pub temperature: f64,
    /// Only so many tokens; none: all.
    pub top_k: Option<usize>,
    /// Only the most likely tokens that make up this share; none: all.
    pub top_p: Option<f64>,
    /// Makes tokens that were there less likely, above 1; 1: nothing.
    pub repetition_penalty: f64,
    /// No sequence of so many tokens comes twice; 0: any may.
    pub no_repeat_ngram: usize,
    /// Seed of the uniform numbers.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        SamplingOptions {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            seed: Self::SEED,
        }
    }
}

impl SamplingOptions {
    /// Seed of the uniform numbers, unless another is asked for.
    pub const SEED: u64 = 42;

    /// An error unless the numbers can be used.
    ///
    /// # Errors
    /// A temperature, share or penalty outside its range, and options of sampling without a temperature.
    pub fn check(&self) -> Result<(), GenerateError> {
        let refuse = |what: String| Err(GenerateError::Option(what));
        // As single precision computes with them.
        let usable = |x: f64| (1e-30..=1e30).contains(&x);
        if self.temperature != 0.0 && !usable(self.temperature) {
            return refuse(format!(
                "a temperature of {} cannot be used: expected 0, or a number from 1e-30 to 1e30",
                written_number(self.temperature)
            ));
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return refuse(format!(
                "a top-p of {} cannot be used: expected a number above 0 and at most 1",
                written_number(p)
            ));
        }
        if self.top_k == Some(0) {
            return refuse("a top-k of 0 leaves no token".to_owned());
        }
        if !usable(self.repetition_penalty) {
            return refuse(format!(
                "a repetition penalty of {} cannot be used: expected a number above 0, from 1e-30 to 1e30",
                written_number(self.repetition_penalty)
            ));
        }
        if self.temperature == 0.0 && (self.top_k.is_some() || self.top_p.is_some()) {
            return refuse(
                "top-k and top-p are for sampling, and a temperature of 0 does not sample".to_owned(),
            );
        }
        Ok(())
    }

    /// Whether tokens are drawn.
    pub fn draws(&self) -> bool {
        self.temperature > 0.0
    }
}

/// Chooses tokens; keeps its memory between them.
pub struct Sampler {
    sampling: SamplingOptions,
    /// Tokens that were met, by the number of the call that met them last.
    met: Vec<u64>,
    calls: u64,
    /// Tokens that are left.
    ids: Vec<u32>,
    /// Logits, where an order of them is looked for.
    values: Vec<f32>,
    kept: Vec<(u32, f64)>,
}

impl Sampler {
    /// A sampler whose options were checked.
    pub fn new(sampling: SamplingOptions) -> Sampler {
        Sampler { sampling, met: Vec::new(), calls: 0, ids: Vec::new(), values: Vec::new(), kept: Vec::new() }
    }

    /// The token that follows `context`, whose logits are these; none if no token is left. The logits are
    /// changed; `uniform` is asked for only where a token is drawn.
    ///
    /// # Errors
    /// A logit that is no number.
    pub fn next(
        &mut self,
        logits: &mut [f32],
        context: &[u32],
        uniform: impl FnOnce() -> f64,
    ) -> Result<Option<u32>, GenerateError> {
        if !self.sampling.draws() {
            self.penalise(logits, context)?;
            return Ok(argmax(logits));
        }
        let distribution = self.distribution(logits, context)?;
        Ok(draw_token(distribution, uniform()))
    }

    /// The processed distribution: tokens that are left, ascending, with their probabilities. The logits are
    /// changed.
    ///
    /// # Errors
    /// A logit that is no number.
    pub fn distribution(
        &mut self,
        logits: &mut [f32],
        context: &[u32],
    ) -> Result<&[(u32, f64)], GenerateError> {
        self.penalise(logits, context)?;
        let temperature = self.sampling.temperature as f32;
        if temperature > 0.0 && temperature != 1.0 {
            logits.iter_mut().for_each(|z| *z /= temperature);
        }
        self.ids.clear();
        let top_k = self.sampling.top_k.filter(|k| *k < logits.len());
        let least = top_k.map(|k| kth_largest(logits, k, &mut self.values));
        let enough = |z: f32| z > f32::NEG_INFINITY && least.is_none_or(|least| z >= least);
        self.ids.extend((0u32..).zip(&*logits).filter(|(_, z)| enough(**z)).map(|(id, _)| id));
        if let Some(p) = self.sampling.top_p.filter(|p| *p < 1.0) {
            nucleus(&mut self.ids, logits, p);
        }
        softmax(&self.ids, logits, &mut self.kept);
        Ok(&self.kept)
    }

    /// The processors that do not depend on a temperature.
    fn penalise(&mut self, logits: &mut [f32], context: &[u32]) -> Result<(), GenerateError> {
        // Without an early end, so that several are looked at at a time.
        if logits.iter().fold(false, |bad, z| bad | z.is_nan() | (*z == f32::INFINITY)) {
            return Err(GenerateError::NotFinite);
        }
        let penalty = self.sampling.repetition_penalty as f32;
        if penalty != 1.0 {
            self.met.resize(logits.len(), 0);
            self.calls += 1;
            for id in context {
                let id = *id as usize;
                let (Some(z), Some(met)) = (logits.get_mut(id), self.met.get_mut(id)) else { continue };
                if std::mem::replace(met, self.calls) != self.calls {
                    *z = if *z < 0.0 { *z * penalty } else { *z / penalty };
                }
            }
        }
        leave_out_ngrams(logits, context, self.sampling.no_repeat_ngram);
        Ok(())
    }
}

/// Leaves out the tokens that would end an n-gram of the context once more.
fn leave_out_ngrams(logits: &mut [f32], context: &[u32], n: usize) {
    let Some(before) = n.checked_sub(1).and_then(|len| context.len().checked_sub(len)) else { return };
    for ngram in context.windows(n) {
        if let Some((last, first)) = ngram.split_last()
            && *first == context[before..]
            && let Some(z) = logits.get_mut(*last as usize)
        {
            *z = f32::NEG_INFINITY;
        }
    }
}

/// The first of the largest logits.
fn argmax(logits: &[f32]) -> Option<u32> {
    // Many next to each other: in one, each comparison waits for the one before.
    let mut best = [f32::NEG_INFINITY; 32];
    for row in logits.chunks(best.len()) {
        best.iter_mut().zip(row).for_each(|(best, z)| *best = if *z > *best { *z } else { *best });
    }
    let best = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if best == f32::NEG_INFINITY {
        return None;
    }
    logits.iter().position(|z| *z == best).and_then(|first| u32::try_from(first).ok())
}

/// The k-th largest value; `k` is at most their number.
fn kth_largest(logits: &[f32], k: usize, scratch: &mut Vec<f32>) -> f32 {
    scratch.clear();
    scratch.extend_from_slice(logits);
    let (_, least, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *least
}

/// Keeps the most likely tokens until they make up a share of `p`, the one that reaches it among them. Of
/// equal ones the higher ids go first, as in a stable ascending order that is read from its end.
fn nucleus(ids: &mut Vec<u32>, logits: &[f32], p: f64) {
    let at = |id: u32| logits[id as usize];
    let top = ids.iter().fold(f32::NEG_INFINITY, |most, id| most.max(at(*id)));
    let weight = |id: u32| (f64::from(at(id)) - f64::from(top)).exp();
    let wanted = p * ids.iter().map(|id| weight(*id)).sum::<f64>();
    let by_rank = |a: &u32, b: &u32| at(*b).total_cmp(&at(*a)).then(b.cmp(a));
    // Mostly few tokens make up the share, so only the first are put in order.
    let mut ordered = 0;
    let (mut kept, mut reached) = (0, 0.0);
    while kept < ids.len() && (kept == 0 || reached < wanted) {
        if kept == ordered {
            let rest = &mut ids[ordered..];
            let count = (4 * ordered).clamp(64, rest.len().max(64)).min(rest.len());
            if count < rest.len() {
                rest.select_nth_unstable_by(count, by_rank);
            }
            rest[..count].sort_unstable_by(by_rank);
            ordered += count;
        }
        reached += weight(ids[kept]);
        kept += 1;
    }
    ids.truncate(kept);
    ids.sort_unstable();
}

/// Probabilities of tokens; those that are zero are left out.
fn softmax(ids: &[u32], logits: &[f32], to: &mut Vec<(u32, f64)>) {
    let at = |id: u32| f64::from(logits[id as usize]);
    let top = ids.iter().fold(f64::NEG_INFINITY, |most, id| most.max(at(*id)));
    to.clear();
    to.extend(ids.iter().map(|id| (*id, (at(*id) - top).exp())));
    let total: f64 = to.iter().map(|(_, weight)| weight).sum();
    to.iter_mut().for_each(|(_, weight)| *weight /= total);
    to.retain(|(_, probability)| *probability > 0.0);
}

/// The first token whose cumulative probability exceeds `uniform`; where rounding leaves none, the last.
fn draw_token(distribution: &[(u32, f64)], uniform: f64) -> Option<u32> {
    let mut sum = 0.0;
    let exceeds = |(_, probability): &&(u32, f64)| {
        sum += probability;
        sum > uniform
    };
    distribution.iter().find(exceeds).or(distribution.last()).map(|(id, _)| *id)
}

#[cfg(test)]
#[path = "sampling_tests.rs"]
mod tests;
