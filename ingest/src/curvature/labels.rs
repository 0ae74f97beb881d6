//! Labels drawn from a model's own distribution, one for each scored row.

use gstore_core::{MIX_STEP, mix};
use gstore_model::{Backend, BackendError, Forward, HEAD_ROWS, LastRows, Model};

/// A token for each scored row of a forward pass, in their order. `rows` are those of the batch's samples in
/// the data. Logits exist for [`HEAD_ROWS`] rows at a time.
pub(super) fn sampled<B: Backend>(
    model: &Model<B>,
    forward: &Forward<B>,
    [seed, pass]: [u64; 2],
    rows: &[u64],
) -> Result<Vec<u32>, BackendError> {
    let (backend, layout) = (model.backend(), &forward.layout);
    let mut counters = Vec::with_capacity(layout.scored_rows.len());
    for (row, span) in rows.iter().zip(&layout.scored_spans) {
        let positions = layout.scored_rows[span.clone()].iter().map(|at| layout.positions[*at as usize]);
        counters.extend(positions.map(|position| [seed, pass, *row, u64::from(position)]));
    }
    let mut labels = Vec::with_capacity(counters.len());
    for start in (0..counters.len()).step_by(HEAD_ROWS) {
        let piece = start..counters.len().min(start + HEAD_ROWS);
        let at: Vec<u32> = match forward.last_rows {
            LastRows::All => layout.scored_rows[piece.clone()].to_vec(),
            LastRows::Scored => piece.clone().map(|row| row as u32).collect(),
        };
        let logits = model.logits(&backend.gather(&forward.hidden, &at)?)?;
        let logits = logits.chunks_exact(model.decoder().vocab_size);
        labels.extend(
            logits.zip(&counters[piece]).map(|(logits, counter)| draw_token(logits, uniform(counter))),
        );
    }
    Ok(labels)
}

/// A number from 0 up to, not including, 1 that depends on the counter alone.
fn uniform(counter: &[u64; 4]) -> f64 {
    let bits = counter.iter().fold(MIX_STEP, |state, word| mix(state.wrapping_add(MIX_STEP) ^ word));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The first token at which the softmax, summed in the order of the vocabulary in f64, exceeds `uniform`.
fn draw_token(logits: &[f32], uniform: f64) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> =
        logits.iter().map(|logit| (f64::from(*logit) - f64::from(largest)).exp()).collect();
    let bound = uniform * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let exceeds = |weight: &f64| {
        sum += weight;
        sum > bound
    };
    let drawn = weights.iter().position(exceeds);
    // Rounding may leave a rest, which is the last token's that can be drawn.
    drawn.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_drawn_in_proportion_to_their_probability() {
        let logits = [1.0f32.ln(), 5.0f32.ln(), f32::NEG_INFINITY, 2.0f32.ln()];
        assert_eq!([0.0, 0.12, 0.13, 0.74, 0.76, 0.999].map(|u| draw_token(&logits, u)), [0, 0, 1, 1, 3, 3]);
        let draws = 4000;
        let mut counts = [0u32; 4];
        for row in 0..draws {
            counts[draw_token(&logits, uniform(&[7, 0, row, 3])) as usize] += 1;
        }
        for (count, share) in counts.into_iter().zip([0.125, 0.625, 0.0, 0.25]) {
            assert!((f64::from(count) / draws as f64 - share).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn every_part_of_a_counter_matters() {
        let of = |counter: [u64; 4]| uniform(&counter);
        let all = [of([1, 2, 3, 4]), of([2, 2, 3, 4]), of([1, 3, 3, 4]), of([1, 2, 4, 4]), of([1, 2, 3, 5])];
        for (i, one) in all.iter().enumerate() {
            assert!((0.0..1.0).contains(one) && all[..i].iter().all(|other| other != one), "{all:?}");
        }
        assert_eq!(of([1, 2, 3, 4]), all[0]);
    }
}
