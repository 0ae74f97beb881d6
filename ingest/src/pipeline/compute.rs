//! One batch through the model: features of its rows, projected.

use gstore_store::RowFlags;

use super::IngestError;
use super::prepare::{Prepared, PreparedRow};
use super::request::Kind;
use crate::checkpoint::Moments;
use crate::gradient::{AdamParams, Engine, SampleOutput, Want, adam_feature, sign_feature};
use crate::model::PackedSample;
use crate::projection::FlatProjector;

/// The vectors of one row, one for each feature of the checkpoint, in one buffer.
#[derive(Debug, Clone)]
pub struct Vectors {
    values: Vec<f32>,
    ends: Vec<usize>,
    flags: Vec<RowFlags>,
}

impl Vectors {
    /// What is to be said of the vector of feature `i` beside what the row's tokens say.
    pub fn flags(&self, i: usize) -> RowFlags {
        self.flags[i]
    }

    /// The vector of feature `i`.
    pub fn get(&self, i: usize) -> &[f32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.values[start..self.ends[i]]
    }
}

/// Everything that turns a batch into features at one checkpoint; shared by the workers.
pub struct Computer {
    /// The model.
    pub engine: Engine,
    /// Optimizer moments in parameter order, if a feature needs them.
    pub moments: Option<Moments>,
    /// Constants of `grad-adam`.
    pub adam: AdamParams,
    /// Projection of the gradients, if a feature needs it.
    pub projector: Option<FlatProjector>,
    /// Kinds, in the order of the vectors.
    pub kinds: Vec<Kind>,
    /// Length of each vector.
    pub dims: Vec<usize>,
}

impl Computer {
    /// What the kinds need of a pass.
    fn want(&self) -> Want {
        Want {
            loss: self.kinds.contains(&Kind::Loss),
            embed_mean: self.kinds.contains(&Kind::EmbedMean),
            embed_last: self.kinds.contains(&Kind::EmbedLast),
            grad: self.kinds.iter().any(|kind| kind.is_gradient()),
        }
    }

    /// Features of every row of a batch, in the batch's order.
    ///
    /// # Errors
    /// What the model or the features cannot do.
    pub fn compute(&self, batch: &Prepared) -> Result<Vec<(u64, RowFlags, Vectors)>, IngestError> {
        let mut scratch = Vec::new();
        let (full, empty): (Vec<&PreparedRow>, Vec<&PreparedRow>) =
            batch.rows.iter().partition(|row| !row.encoded.ids.is_empty());
        let samples: Vec<PackedSample<'_>> = full
            .iter()
            .map(|row| PackedSample { ids: &row.encoded.ids, scored: &row.encoded.scored })
            .collect();
        let mut done = Vec::with_capacity(batch.rows.len());
        let mut failure = None;
        self.engine.run(&samples, self.want(), &mut |sample, output| match self
            .vectors(&output, &mut scratch)
        {
            Ok(vectors) => done.push((full[sample].row, full[sample].flags(), vectors)),
            Err(error) => failure = Some(error),
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        // A sample without any token is no input for the model; it gets what a zero gradient gives, and its flag.
        for row in empty {
            let (hidden, grad) = (vec![0.0; self.engine.hidden_size()], vec![0.0; self.engine.grad_len()]);
            let output =
                SampleOutput { loss: 0.0, scored: 0, embed_mean: &hidden, embed_last: &hidden, grad: &grad };
            done.push((row.row, row.flags(), self.vectors(&output, &mut scratch)?));
        }
        done.sort_by_key(|(row, _, _)| *row);
        Ok(done)
    }

    fn vectors(&self, output: &SampleOutput<'_>, scratch: &mut Vec<f32>) -> Result<Vectors, IngestError> {
        let mut values = vec![0.0; self.dims.iter().sum()];
        let mut ends = Vec::with_capacity(self.dims.len());
        let mut flags = Vec::with_capacity(self.dims.len());
        let mut rest = values.as_mut_slice();
        let mut end = 0;
        for (kind, dim) in self.kinds.iter().zip(&self.dims) {
            let (out, tail) = rest.split_at_mut(*dim);
            match kind {
                Kind::Loss => out.copy_from_slice(&[output.loss]),
                Kind::EmbedMean => out.copy_from_slice(output.embed_mean),
                Kind::EmbedLast => out.copy_from_slice(output.embed_last),
                Kind::GradSgd => self.project(output.grad, out)?,
                Kind::GradSign => {
                    scratch.resize(output.grad.len(), 0.0);
                    sign_feature(output.grad, scratch);
                    self.project(scratch, out)?;
                }
                Kind::GradAdam => {
                    let moments = self.moments.as_ref().ok_or(IngestError::NoMoments)?;
                    scratch.resize(output.grad.len(), 0.0);
                    adam_feature(output.grad, &moments.exp_avg, &moments.exp_avg_sq, &self.adam, scratch);
                    self.project(scratch, out)?;
                }
            }
            flags.push(if is_sound(*kind, output) { RowFlags::empty() } else { RowFlags::NON_FINITE });
            rest = tail;
            end += dim;
            ends.push(end);
        }
        Ok(Vectors { values, ends, flags })
    }

    fn project(&self, gradient: &[f32], out: &mut [f32]) -> Result<(), IngestError> {
        let projector = self.projector.as_ref().ok_or(IngestError::NoProjector)?;
        projector.project(gradient, out);
        Ok(())
    }
}

/// Whether a feature is made of finite values only. Signs, a projection that samples coordinates, and a second moment that overflows
/// can all turn a broken gradient into a vector that looks well.
fn is_sound(kind: Kind, output: &SampleOutput<'_>) -> bool {
    match kind {
        Kind::GradAdam => output.grad.iter().all(|g| (g * g).is_finite()),
        Kind::GradSgd | Kind::GradSign => output.grad.iter().all(|g| g.is_finite()),
        Kind::EmbedMean | Kind::EmbedLast | Kind::Loss => true,
    }
}
