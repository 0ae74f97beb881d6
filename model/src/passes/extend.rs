//! Incremental forward pass: only new tokens are computed, over a key-value cache.
//!
//! Invariants
//! - the logits of a sequence do not depend on the parts in which it was fed; on the CPU backend they have
//!   the bits of a forward pass over all of it, alone or with others
//! - all keys of a sequence are turned by the angles of one length
//! - logits are computed at the last token of those parts alone that ask for them

use super::layer::{Angles, SavedKeys};
use super::model::Model;
use super::rope::{Rope, Stretch};
use crate::backend::{Backend, BackendError, CacheSpan, CachedAttention, check};

/// Keys and values of the sequences that a model goes on with, by slot.
pub struct KeyValues<B: Backend> {
    layers: Vec<B::Cache>,
    sequences: Vec<FedSequence>,
}

/// What was fed of a sequence.
#[derive(Debug, Clone, Copy, Default)]
struct FedSequence {
    tokens: usize,
    /// By which its keys are turned.
    stretch: Stretch,
}

/// The next tokens of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct NextTokens<'a> {
    /// Number of the sequence.
    pub slot: usize,
    /// Its next tokens, at least one.
    pub ids: &'a [u32],
    /// Tokens of the sequence, those that were fed and those that are known to follow among them.
    pub length: usize,
    /// Whether the logits behind the last of them are asked for.
    pub wanted: bool,
}

#[derive(Default)]
struct StepRows {
    ids: Vec<u32>,
    positions: Vec<u32>,
    /// Of each sequence.
    lengths: Vec<usize>,
    /// Of the layers before the last, in which every row is a query.
    all: Vec<CacheSpan>,
    /// Of the last layer.
    last: Vec<CacheSpan>,
    /// Rows of the last layer's queries.
    wanted: Vec<u32>,
}

/// The query rows of a layer, and where they belong.
struct LayerQueries<'a, B: Backend> {
    /// Their row numbers where they are a part of all.
    subset: Option<&'a [u32]>,
    angles: Option<&'a Angles<B>>,
    spans: &'a [CacheSpan],
}

impl<B: Backend> KeyValues<B> {
    /// Tokens of a sequence so far.
    pub fn tokens(&self, slot: usize) -> usize {
        self.sequences.get(slot).map_or(0, |sequence| sequence.tokens)
    }

    fn rows(&mut self, feeds: &[NextTokens<'_>], rope: Option<&Rope>) -> Result<StepRows, BackendError> {
        let mut rows = StepRows::default();
        for feed in feeds {
            if feed.slot >= self.sequences.len() {
                self.sequences.resize(feed.slot + 1, FedSequence::default());
            }
            let sequence = &mut self.sequences[feed.slot];
            let (start, before) = (rows.ids.len(), sequence.tokens);
            let stretch = rope.map_or(Stretch::Usual, |rope| rope.stretch(feed.length));
            let after = before + feed.ids.len();
            check(after <= feed.length, || format!("{after} tokens of a sequence of {}", feed.length))?;
            check(before == 0 || stretch == sequence.stretch, || {
                format!("with {} tokens, the {before} keys of a sequence turn otherwise", feed.length)
            })?;
            *sequence = FedSequence { tokens: after, stretch };
            rows.lengths.push(feed.length);
            rows.ids.extend_from_slice(feed.ids);
            rows.positions.extend((before..after).map(|position| position as u32));
            let keys = start..rows.ids.len();
            let first = rows.wanted.len();
            if feed.wanted {
                rows.wanted.push(keys.end.saturating_sub(1) as u32);
            }
            let queries = first..rows.wanted.len();
            rows.all.push(CacheSpan { slot: feed.slot, keys: keys.clone(), queries: keys.clone() });
            rows.last.push(CacheSpan { slot: feed.slot, keys, queries });
        }
        Ok(rows)
    }
}

impl<B: Backend> Model<B> {
    /// Room for sequences; there are none yet.
    pub fn key_values(&self) -> KeyValues<B> {
        KeyValues { layers: self.layers.iter().map(|_| B::Cache::default()).collect(), sequences: Vec::new() }
    }

    /// Whether a sequence of so many tokens has the rotary angles of one of `other` tokens: only then can it
    /// go on with the keys of that.
    pub fn turns_alike(&self, tokens: usize, other: usize) -> bool {
        self.rope.as_ref().is_none_or(|rope| rope.stretch(tokens) == rope.stretch(other))
    }

    /// Forgets a sequence, whose slot may then begin another.
    pub fn forget(&self, cache: &mut KeyValues<B>, slot: usize) {
        cache.layers.iter_mut().for_each(|layer| self.backend.forget(layer, slot));
        if let Some(sequence) = cache.sequences.get_mut(slot) {
            *sequence = FedSequence::default();
        }
    }

    /// Runs the model over new tokens of sequences, ascending by slot. Returns the logits that are asked for,
    /// one row for each, in the order of the feeds.
    ///
    /// # Errors
    /// A token or position that the model lacks, a length with other angles than the sequence's keys have
    /// ([`Model::turns_alike`]), and what the backend refuses; the sequences cannot be gone on with then.
    pub fn extend(
        &self,
        cache: &mut KeyValues<B>,
        feeds: &[NextTokens<'_>],
    ) -> Result<Vec<f32>, BackendError> {
        let b = &self.backend;
        check(cache.layers.len() == self.layers.len(), || "keys and values of another model".to_owned())?;
        check(!feeds.is_empty() && feeds.iter().all(|feed| !feed.ids.is_empty()), || {
            "a step without tokens".to_owned()
        })?;
        let mut rows = cache.rows(feeds, self.rope.as_ref())?;
        let asked = !rows.wanted.is_empty();
        if let (false, Some(span)) = (asked, rows.last.first_mut()) {
            // One row is computed in vain, so that no operation is given a matrix without rows.
            rows.wanted.push(span.keys.end.saturating_sub(1) as u32);
            span.queries = 0..1;
        }
        let spans = rows.all.iter().map(|span| span.keys.clone());
        let angles = self.angles(&rows.positions, spans, &rows.lengths)?;
        let wanted: Vec<u32> =
            rows.wanted.iter().filter_map(|row| rows.positions.get(*row as usize)).copied().collect();
        let spans = rows.last.iter().map(|span| span.queries.clone());
        let last_angles = self.angles(&wanted, spans, &rows.lengths)?;
        let mut x = b.gather(&self.embedding, &rows.ids)?;
        if let Some(positions) = &self.positions {
            x = b.add(x, &b.gather(positions, &rows.positions)?)?;
        }
        for (index, kept) in cache.layers.iter_mut().enumerate() {
            let queries = match index + 1 == self.layers.len() {
                true => LayerQueries {
                    subset: Some(&rows.wanted),
                    angles: last_angles.as_ref(),
                    spans: &rows.last,
                },
                false => LayerQueries { subset: None, angles: angles.as_ref(), spans: &rows.all },
            };
            x = self.layer_extend(index, &x, angles.as_ref(), &queries, kept)?;
        }
        if !asked {
            return Ok(Vec::new());
        }
        let (hidden, _) = b.norm(&x, &self.norm, self.norm_form())?;
        self.logits(&hidden)
    }

    /// A layer over new rows: its outputs at the query rows.
    fn layer_extend(
        &self,
        index: usize,
        x: &B::Tensor,
        angles: Option<&Angles<B>>,
        queries: &LayerQueries<'_, B>,
        kept: &mut B::Cache,
    ) -> Result<B::Tensor, BackendError> {
        let (b, layer) = (&self.backend, &self.layers[index]);
        let SavedKeys { inputs, k, v, .. } = self.keys_forward(layer, x, angles, None)?;
        let attend = |q: &B::Tensor| {
            let of = CachedAttention { q, k: &k, v: &v, form: layer.attention, spans: queries.spans };
            b.attention_cached(&of, kept)
        };
        let inputs = (x, &inputs);
        let (out, _) = self.tail_forward(layer, inputs, queries.subset, (queries.angles, None), attend)?;
        Ok(out)
    }
}
