//! The head: logits and losses of a chunk of rows at a time.

use candle_core::Tensor;

use super::super::backend::{BackendError, HEAD_ROWS, HeadOutput, HeadTap, HeadTask, Objective};
use super::linear::PortableLinear;
use super::loss::{cross_entropy, divergence};
use super::matmul::{Mat, MatMut, Write, multiply};
use super::simd::{softcap, softcap_slopes, vectorized};
use super::sizes::{check, check_cap, size};
use super::slices::{tensor, view};

pub(super) fn head(
    layer: &PortableLinear,
    x: &Tensor,
    task: &HeadTask<'_, Tensor>,
    mut tap: Option<HeadTap<'_, Tensor>>,
) -> Result<HeadOutput<Tensor>, BackendError> {
    let (rows, width) = size(x)?;
    let vocab = layer.out;
    check_task(layer, x, task)?;
    let x = view(x)?;
    let reference = match task.objective {
        Objective::CrossEntropy { .. } => None,
        Objective::Kl { reference } => Some(view(reference)?),
    };
    let mut losses = Vec::with_capacity(rows);
    let mut grad = task.weights.map(|_| vec![0.0; rows * width]);
    for start in (0..rows).step_by(HEAD_ROWS) {
        let end = (start + HEAD_ROWS).min(rows);
        let n = end - start;
        let chunk = &x[start * width..end * width];
        let mut logits = layer.apply(chunk, None);
        let mut others = match &reference {
            None => Vec::new(),
            Some(reference) => layer.apply(&reference[start * width..end * width], None),
        };
        score(&mut logits, &mut others, vocab, task, start, &mut losses);
        if let Some(grad) = &mut grad {
            let target = MatMut::new(&mut grad[start * width..end * width], n, width);
            multiply(target, Write::Replace, Mat::new(&logits, n, vocab), layer.weight(), 1.0);
            if let Some(tap) = &mut tap {
                tap(start..end, &tensor(chunk.to_vec(), n, width)?, &tensor(logits, n, vocab)?)?;
            }
        }
    }
    Ok(HeadOutput { losses, grad: grad.map(|g| tensor(g, rows, width)).transpose()? })
}

fn check_task(layer: &PortableLinear, x: &Tensor, task: &HeadTask<'_, Tensor>) -> Result<(), BackendError> {
    let (rows, width) = size(x)?;
    check(width == layer.input && task.weights.is_none_or(|w| w.len() == rows), "the head")?;
    check_cap(task.softcap)?;
    match task.objective {
        Objective::CrossEntropy { .. } => {
            let inside = task.targets.iter().all(|t| (*t as usize) < layer.out);
            check(task.targets.len() == rows && inside, "targets")
        }
        Objective::Kl { reference } => check(size(reference)? == (rows, width), "the reference of a KL"),
    }
}

/// Appends the losses of a chunk that starts at row `start`; its logits become their gradient if the task has weights.
fn score(
    logits: &mut [f32],
    others: &mut [f32],
    vocab: usize,
    task: &HeadTask<'_, Tensor>,
    start: usize,
    losses: &mut Vec<f32>,
) {
    let differentiated_cap = task.softcap.filter(|_| task.weights.is_some());
    let mut slopes = vec![0.0; if differentiated_cap.is_some() { vocab } else { 0 }];
    vectorized(
        #[inline(always)]
        || {
            if let Some(cap) = task.softcap {
                softcap(logits, cap);
                softcap(others, cap);
            }
            for (i, logits) in logits.chunks_exact_mut(vocab).enumerate() {
                if let Some(cap) = differentiated_cap {
                    softcap_slopes(logits, cap, &mut slopes);
                }
                let weight = task.weights.map(|w| w[start + i]);
                losses.push(match task.objective {
                    Objective::CrossEntropy { smoothing } => {
                        cross_entropy(logits, task.targets[start + i] as usize, smoothing, weight)
                    }
                    Objective::Kl { .. } => divergence(logits, &mut others[i * vocab..][..vocab], weight),
                });
                // Without a differentiated cap there are none.
                logits.iter_mut().zip(&slopes).for_each(|(v, slope)| *v *= slope);
            }
        },
    );
}
