//! One batch through the model: features of its rows, projected.

use gstore_core::{Cancel, Kind, KindSource, Pooling};
use gstore_store::{Granularity, RowFlags};

use super::IngestError;
use super::prepare::{BatchRow, TokenBatch};
use crate::gradient::{Engine, RequestedOutputs, SampleOutput};
use gstore_model::PackedSample;

/// The vectors of one row, one for each feature of the checkpoint, in one buffer.
#[derive(Debug, Clone)]
pub(crate) struct FeatureVectors {
    values: Vec<f32>,
    ends: Vec<usize>,
    flags: Vec<RowFlags>,
}

impl FeatureVectors {
    /// Flags of the vector of feature `i`, in addition to those of the row's tokens.
    pub fn flags(&self, i: usize) -> RowFlags {
        self.flags[i]
    }

    /// The vector of feature `i`.
    pub fn get(&self, i: usize) -> &[f32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.values[start..self.ends[i]]
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ComputedRow {
    /// Row of the dataset.
    pub row: u64,
    /// Position of the token, where each scored token has a vector of its own.
    pub pos: Option<u32>,
    /// What the row's tokens say.
    pub flags: RowFlags,
    pub vectors: FeatureVectors,
    /// The first of the model's outputs that is no number, and its value. A gradient is none of them: that of
    /// a sample may be too long for a sound model, and its vector has a flag.
    pub unsound: Option<(&'static str, f32)>,
}

/// Everything that turns a batch into features at one checkpoint; shared by the workers.
pub(crate) struct FeatureComputer {
    /// The model; its gradient forms are those of `kinds`, in their order, before others.
    pub engine: Engine,
    /// Kinds, in the order of the vectors.
    pub kinds: Vec<Kind>,
    /// Length of each vector.
    pub dims: Vec<usize>,
    /// What a vector belongs to.
    pub granularity: Granularity,
}

impl FeatureComputer {
    /// What the kinds need of a pass.
    fn want(&self) -> RequestedOutputs {
        let wants = |source: KindSource| self.kinds.iter().any(|kind| kind.source() == source);
        RequestedOutputs {
            loss: wants(KindSource::Loss),
            entropy: wants(KindSource::Entropy),
            embed_mean: wants(KindSource::Embedding(Pooling::Mean)),
            embed_last: wants(KindSource::Embedding(Pooling::Last)),
            embed_weighted: wants(KindSource::Embedding(Pooling::Weighted)),
            grad: self.kinds.iter().any(|kind| kind.takes_gradient()),
        }
    }

    /// Features of every entry of a batch, in the batch's order.
    ///
    /// # Errors
    /// What the model cannot do, being told to stop.
    pub fn compute(&self, batch: &TokenBatch, cancel: &Cancel) -> Result<Vec<ComputedRow>, IngestError> {
        let (full, empty): (Vec<&BatchRow>, Vec<&BatchRow>) =
            batch.rows.iter().partition(|row| !row.encoded.ids.is_empty());
        let samples: Vec<PackedSample<'_>> = full.iter().map(|row| row.sample()).collect();
        let mut done = Vec::with_capacity(batch.rows.len());
        self.engine.run_until(&samples, self.want(), cancel, &mut |sample, output| {
            done.extend(self.computed(full[sample], &output));
        })?;
        if !empty.is_empty() {
            let zero = self.empty_vectors(cancel)?;
            let pos = (self.granularity == Granularity::Token).then_some(0);
            done.extend(empty.iter().map(|entry| ComputedRow {
                row: entry.row,
                pos,
                flags: entry.flags(),
                vectors: zero.clone(),
                unsound: None,
            }));
        }
        done.sort_by_key(|computed| (computed.row, computed.pos));
        Ok(done)
    }

    /// What a pass gave for an entry: several where one pass was for all tokens of a row.
    fn computed(&self, entry: &BatchRow, output: &SampleOutput<'_>) -> Vec<ComputedRow> {
        let (row, flags, unsound) = (entry.row, entry.flags(), first_unsound_output(output));
        if entry.pos.is_some() || self.granularity == Granularity::Sample {
            return vec![ComputedRow { row, pos: entry.pos, flags, vectors: self.vectors(output), unsound }];
        }
        let of_token = |(at, pos): (usize, usize)| {
            let part = |of_tokens: &[f32]| of_tokens.get(at).copied().unwrap_or_default();
            let (loss, entropy) = (part(output.token_losses), part(output.token_entropies));
            let output = SampleOutput { loss, entropy, ..*output };
            ComputedRow { row, pos: Some(pos as u32), flags, vectors: self.vectors(&output), unsound }
        };
        let counted = output.token_losses.len().max(output.token_entropies.len());
        let labels = entry.sample().labels().take(counted);
        let mut tokens: Vec<ComputedRow> = labels.enumerate().map(of_token).collect();
        if tokens.is_empty() {
            tokens.push(ComputedRow { row, pos: Some(0), flags, vectors: self.vectors(output), unsound });
        }
        tokens
    }

    /// A sample without any token is no input for the model; it gets what a zero gradient gives, zero
    /// embeddings, and its flag.
    fn empty_vectors(&self, cancel: &Cancel) -> Result<FeatureVectors, IngestError> {
        let mut vectors = None;
        // Nothing of one unscored token is scored, so its gradient is zero.
        let token = PackedSample::new(&[0], &[false]);
        let hidden = vec![0.0; self.engine.decoder().hidden_size];
        self.engine.run_until(&[token], self.want(), cancel, &mut |_, output| {
            let zero =
                SampleOutput { embed_mean: &hidden, embed_last: &hidden, embed_weighted: &hidden, ..output };
            vectors = Some(self.vectors(&zero));
        })?;
        vectors.ok_or(IngestError::NoResult)
    }

    fn vectors(&self, output: &SampleOutput<'_>) -> FeatureVectors {
        let mut values = Vec::with_capacity(self.dims.iter().sum());
        let mut ends = Vec::with_capacity(self.dims.len());
        let mut flags = Vec::with_capacity(self.dims.len());
        let (mut grads, mut sound) = (output.grads, output.sound.iter());
        for (kind, dim) in self.kinds.iter().zip(&self.dims) {
            let mut is_sound = true;
            match kind.source() {
                KindSource::Loss => values.push(output.loss),
                KindSource::Entropy => values.push(output.entropy),
                KindSource::Embedding(Pooling::Mean) => values.extend_from_slice(output.embed_mean),
                KindSource::Embedding(Pooling::Last) => values.extend_from_slice(output.embed_last),
                KindSource::Embedding(Pooling::Weighted) => values.extend_from_slice(output.embed_weighted),
                KindSource::Gradient(_) => {
                    let (vector, rest) = grads.split_at(*dim);
                    values.extend_from_slice(vector);
                    grads = rest;
                    is_sound = sound.next().copied().unwrap_or(false);
                }
                KindSource::Residual => {
                    values.extend_from_slice(output.residual);
                    is_sound = output.residual.iter().all(|length| length.is_finite());
                }
            }
            flags.push(if is_sound { RowFlags::empty() } else { RowFlags::NON_FINITE });
            ends.push(values.len());
        }
        FeatureVectors { values, ends, flags }
    }
}

/// The first output of the model for a sample that is no number, and its value.
fn first_unsound_output(output: &SampleOutput<'_>) -> Option<(&'static str, f32)> {
    let embeddings = [output.embed_mean, output.embed_last, output.embed_weighted].into_iter().flatten();
    let embeddings = embeddings.map(|value| ("the embedding", *value));
    [("the loss", output.loss), ("the entropy", output.entropy)]
        .into_iter()
        .chain(embeddings)
        .find(|(_, value)| !value.is_finite())
}
