//! The head: logits and losses of a chunk of rows at a time.

use candle_core::{D, Tensor};

use super::{Candle, CandleLinear, Result, size, softcap_with_slope};
use crate::backend::{Backend, HEAD_ROWS, HeadOutput, HeadTap, HeadTask, Objective};

impl Candle {
    pub(super) fn score(
        &self,
        layer: &CandleLinear,
        x: &Tensor,
        task: &HeadTask<'_, Tensor>,
        mut tap: Option<HeadTap<'_, Tensor>>,
    ) -> Result<HeadOutput<Tensor>> {
        let (rows, width) = size(x);
        task.check((rows, width), size(&layer.weight).0, size)?;
        let (mut losses, mut entropies, mut grads) = (Vec::with_capacity(rows), Vec::new(), Vec::new());
        for start in (0..rows).step_by(HEAD_ROWS) {
            let end = (start + HEAD_ROWS).min(rows);
            let chunk = x.narrow(0, start, end - start)?.contiguous()?;
            let (logits, slopes) = self.logits(layer, &chunk, task.softcap)?;
            let log_p = log_softmax(&logits)?;
            if task.entropies {
                entropies.extend(self.entropies(&logits)?);
            }
            let (loss, dlogits) =
                self.objective(layer, (&logits, &log_p, slopes.as_ref()), task, start..end)?;
            losses.extend(self.to_host(&loss)?);
            let Some(weights) = task.weights else { continue };
            let mut dlogits = dlogits.broadcast_mul(&self.column(&weights[start..end])?)?;
            if let Some(slopes) = slopes {
                dlogits = (dlogits * slopes)?;
            }
            grads.push(dlogits.matmul(&layer.weight)?);
            if let Some(tap) = &mut tap {
                tap(start..end, &chunk, &dlogits)?;
            }
        }
        let grad = match task.weights {
            None => None,
            Some(_) if grads.is_empty() => Some(self.zeros(0, width)?),
            Some(_) => Some(Tensor::cat(&grads, 0)?),
        };
        Ok(HeadOutput { losses, entropies, grad })
    }

    fn logits(
        &self,
        layer: &CandleLinear,
        x: &Tensor,
        softcap: Option<f32>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let logits = self.linear(layer, x, None)?;
        let Some(cap) = softcap else { return Ok((logits, None)) };
        let (logits, slopes) = softcap_with_slope(&logits, cap)?;
        Ok((logits, Some(slopes)))
    }

    fn entropies(&self, logits: &Tensor) -> Result<Vec<f32>> {
        let below = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        let (weights, is_less) = (below.exp()?, below.lt(0f32)?.to_dtype(below.dtype())?);
        // Apart from a largest logit: beside its 1, most digits of what the others add are lost.
        let equal = is_less.sum_keepdim(1)?.affine(-1.0, logits.dim(1)? as f64 - 1.0)?;
        let others = ((&weights * is_less)?.sum_keepdim(1)? + equal)?;
        let mean = ((weights * below)?.sum_keepdim(1)? / others.affine(1.0, 1.0)?)?;
        let (others, mean) = (self.to_host(&others)?, self.to_host(&mean)?);
        Ok(others.iter().zip(mean).map(|(others, mean)| others.ln_1p() - mean).collect())
    }

    /// The losses of some rows, one column, and the gradient of each with respect to its logits, which come
    /// with the logarithms of their softmax and the slopes of a cap.
    fn objective(
        &self,
        layer: &CandleLinear,
        (logits, log_p, slopes): (&Tensor, &Tensor, Option<&Tensor>),
        task: &HeadTask<'_, Tensor>,
        rows: std::ops::Range<usize>,
    ) -> Result<(Tensor, Tensor)> {
        let p = log_p.exp()?;
        match task.objective {
            Objective::CrossEntropy { smoothing } => {
                let (smoothing, vocab) = (f64::from(smoothing), logits.dim(1)?);
                let targets = self.indices(&task.targets[rows])?.unsqueeze(1)?;
                let ones = targets.ones_like()?.to_dtype(log_p.dtype())?;
                let wanted = log_p.zeros_like()?.affine(1.0, smoothing / vocab as f64)?.scatter_add(
                    &targets,
                    &ones.affine(1.0 - smoothing, 0.0)?,
                    1,
                )?;
                let of_target = log_p.gather(&targets, 1)?.affine(smoothing - 1.0, 0.0)?;
                let of_all = log_p.mean_keepdim(1)?.affine(-smoothing, 0.0)?;
                Ok(((of_target + of_all)?, (p - wanted)?))
            }
            Objective::Margin => {
                let targets = self.indices(&task.targets[rows])?.unsqueeze(1)?;
                let ones = targets.ones_like()?.to_dtype(log_p.dtype())?;
                let wanted = log_p.zeros_like()?.scatter_add(&targets, &ones, 1)?;
                // So low that nothing is left of the target's own logit among the others.
                let others = (logits - wanted.affine(1e9, 0.0)?)?;
                let largest = others.max_keepdim(1)?;
                let total = others.broadcast_sub(&largest)?.exp()?.sum_keepdim(1)?.log()?;
                let total = (total + largest)?;
                let loss = (&total - logits.gather(&targets, 1)?)?;
                Ok((loss, (others.broadcast_sub(&total)?.exp()? - wanted)?))
            }
            Objective::Perturbed { start, factors } => {
                let targets = self.indices(&task.targets[rows.clone()])?.unsqueeze(1)?;
                let ones = targets.ones_like()?.to_dtype(log_p.dtype())?;
                let wanted = log_p.zeros_like()?.scatter_add(&targets, &ones, 1)?;
                let from = start.narrow(0, rows.start, rows.len())?.contiguous()?;
                let from_log_p = log_softmax(&from)?;
                let factor = |at: usize| {
                    self.column(&factors[rows.clone()].iter().map(|both| both[at]).collect::<Vec<_>>())
                };
                let (change, linear) = (factor(0)?, factor(1)?);
                let slope = (from_log_p.exp()? - &wanted)?;
                let risen = (from_log_p.gather(&targets, 1)? - log_p.gather(&targets, 1)?)?;
                let moved = ((logits - &from)? * &slope)?.sum_keepdim(1)?;
                let loss = ((risen * &change)? - (moved * &linear)?)?;
                let grad = ((p - wanted)?.broadcast_mul(&change)? - slope.broadcast_mul(&linear)?)?;
                Ok((loss, grad))
            }
            Objective::GaussNewton { tangent } => {
                let mut moved = tangent.narrow(0, rows.start, rows.len())?.contiguous()?;
                if let Some(slopes) = slopes {
                    moved = (moved * slopes)?;
                }
                let mean = (&p * &moved)?.sum_keepdim(1)?;
                let centred = moved.broadcast_sub(&mean)?;
                let grad = (p * &centred)?;
                Ok(((&grad * centred)?.sum_keepdim(1)?.affine(0.5, 0.0)?, grad))
            }
            Objective::Kl { reference } => {
                let others = reference.narrow(0, rows.start, rows.len())?.contiguous()?;
                let ratio = (log_p - log_softmax(&self.logits(layer, &others, task.softcap)?.0)?)?;
                let loss = (&p * &ratio)?.sum_keepdim(1)?;
                let grad = (p * ratio.broadcast_sub(&loss)?)?;
                Ok((loss, grad))
            }
        }
    }
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?;
    Ok(shifted.broadcast_sub(&total.log()?)?)
}
