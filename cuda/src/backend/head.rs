//! The head: logits of a chunk of rows at a time, their losses and the gradient.
//!
//! Losses stay on the device until all chunks are done, so that no chunk waits for the host.

use std::ops::Range;

use gstore_model::{Backend, HeadOutput, HeadTap, HeadTask, Objective, head_rows};

use super::{Cuda, CudaLinear, CudaTensor, SUM_SCRATCH, Tensor, from, number, threads_for};
use crate::runtime::{Added, Argument, Result, Runtime};

/// Targets, weights and results of a task, on the device.
struct Scored<M> {
    targets: M,
    weights: Option<M>,
    losses: CudaTensor<M>,
    entropies: CudaTensor<M>,
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn score(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        task: &HeadTask<'_, Tensor<R>>,
        mut tap: Option<HeadTap<'_, Tensor<R>>>,
    ) -> Result<HeadOutput<Tensor<R>>> {
        let (rows, width) = x.size();
        x.expect(rows, layer.input(), "inputs of the head")?;
        task.check((rows, width), layer.out(), CudaTensor::size)?;
        let scored = Scored {
            targets: self.upload(task.targets)?,
            weights: task.weights.map(|weights| self.upload(weights)).transpose()?,
            losses: self.unspecified(rows, 1)?,
            entropies: self.unspecified(if task.entropies { rows } else { 0 }, 1)?,
        };
        let grad = task.weights.map(|_| self.unspecified(rows, width)).transpose()?;
        let at_a_time = head_rows(layer.out(), self.logits_budget);
        for start in (0..rows).step_by(at_a_time) {
            let chunk = start..rows.min(start + at_a_time);
            let inputs = x.slice(start, chunk.len());
            let logits = self.linear_forward(layer, &inputs, None)?;
            self.score_chunk(layer, task, &scored, &logits, chunk.clone())?;
            let Some(grad) = &grad else { continue };
            self.multiply_weight(
                layer,
                &logits,
                &grad.slice(start, chunk.len()),
                true,
                Added::Nothing,
                None,
            )?;
            if let Some(tap) = &mut tap {
                tap(chunk, &inputs, &logits)?;
            }
        }
        let (losses, entropies) = (self.to_host(&scored.losses)?, self.to_host(&scored.entropies)?);
        Ok(HeadOutput { losses, entropies, grad })
    }

    /// Losses of some rows; with weights, their gradient replaces the logits.
    fn score_chunk(
        &self,
        layer: &CudaLinear<R::Memory>,
        task: &HeadTask<'_, Tensor<R>>,
        scored: &Scored<R::Memory>,
        logits: &Tensor<R>,
        rows: Range<usize>,
    ) -> Result<()> {
        let (count, vocab) = logits.size();
        let row = |x: &Tensor<R>| x.slice(rows.start, count);
        let vocabulary = number(vocab)?;
        let vocabulary = || Argument::U32(vocabulary);
        let cap = || Argument::F32(task.softcap.unwrap_or(0.0));
        let threads = threads_for(vocab);
        let launch = |kernel, arguments: &[Argument<'_, R::Memory>]| {
            self.launch(kernel, [count, 1, 1], threads, SUM_SCRATCH, arguments)
        };
        if task.entropies {
            // Before the losses, which overwrite the logits.
            let entropies = row(&scored.entropies);
            launch(
                "head_entropy",
                &[self.argument(logits)?, self.argument(&entropies)?, vocabulary(), cap()],
            )?;
        }
        let losses = row(&scored.losses);
        let targets = || from::<u32, _>(&scored.targets, rows.start);
        let weights =
            || scored.weights.as_ref().map_or(Argument::Null, |weights| from::<f32, _>(weights, rows.start));
        let z = self.argument(logits)?;
        match task.objective {
            Objective::CrossEntropy { smoothing } => {
                // For the product that follows.
                let has_weights = scored.weights.is_some();
                let rounded = if has_weights { self.rounding(logits)? } else { Argument::Null };
                let (loss, smoothing) = (self.argument(&losses)?, Argument::F32(smoothing));
                let arguments = [z, rounded, targets(), weights(), loss, vocabulary(), cap(), smoothing];
                launch("head_cross_entropy", &arguments)
            }
            Objective::Margin => launch(
                "head_margin",
                &[z, targets(), weights(), self.argument(&losses)?, vocabulary(), cap()],
            ),
            Objective::Kl { reference } => {
                let other = self.linear_forward(layer, &row(reference), None)?;
                let arguments =
                    [z, self.argument(&other)?, weights(), self.argument(&losses)?, vocabulary(), cap()];
                launch("head_divergence", &arguments)
            }
            Objective::Perturbed { start, factors } => {
                let start = row(start);
                let factors = self.upload(&factors[rows.clone()])?;
                let factors = from::<[f32; 2], _>(&factors, 0);
                let (start, loss) = (self.argument(&start)?, self.argument(&losses)?);
                let arguments = [z, start, targets(), factors, weights(), loss, vocabulary(), cap()];
                launch("head_perturbed", &arguments)
            }
            Objective::GaussNewton { tangent } => {
                let tangent = row(tangent);
                let arguments =
                    [z, self.argument(&tangent)?, weights(), self.argument(&losses)?, vocabulary(), cap()];
                launch("head_gauss_newton", &arguments)
            }
        }
    }
}
