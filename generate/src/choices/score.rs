//! Log-probabilities of the tokens of choices, by packed forward passes.

use gstore_model::{Backend, HEAD_ROWS, Layout, Model, PackedSample, Reduction};
use serde_json::{Value, json};

use super::ChoiceQuestion;
use super::encode::EncodedQuestion;
use crate::error::GenerateError;
use crate::load::SCORING;

/// A token whose log-probability is asked for: the row that predicts it, itself, and the number of its option
/// among those of the piece.
type ScoredToken = (u32, u32, usize);

/// A piece's records.
pub(super) fn score<B: Backend>(
    model: &Model<B>,
    questions: &[ChoiceQuestion],
    asked: &[EncodedQuestion],
    piece: &[usize],
) -> Result<Vec<(usize, Value)>, GenerateError> {
    let sequences: Vec<&[u32]> =
        piece.iter().flat_map(|question| asked[*question].sequences.iter().map(Vec::as_slice)).collect();
    let flags: Vec<Vec<bool>> = sequences.iter().map(|ids| vec![false; ids.len()]).collect();
    let packed: Vec<PackedSample<'_>> =
        sequences.iter().zip(&flags).map(|(ids, flags)| PackedSample::new(ids, flags)).collect();
    let layout = Layout::new(&packed, true, Reduction::Sum);
    let (mut targets, mut options, mut before) = (Vec::<ScoredToken>::new(), 0, 0);
    for question in piece.iter().map(|question| &asked[*question]) {
        for part in &question.options {
            let first = layout.spans[before + part.sequence].start + part.first;
            let rows = (first..).map(|row| row as u32);
            targets.extend(rows.zip(&part.tokens).map(|(row, token)| (row, *token, options)));
            options += 1;
        }
        before += question.sequences.len();
    }
    // Stable: an option's tokens stay in their order.
    targets.sort_by_key(|(row, ..)| *row);
    let forward = model.forward(layout, SCORING)?;
    let mut sums = log_likelihoods(model, &forward.hidden, &targets, options)?.into_iter();
    let record = |question: &usize| {
        let of: Vec<f64> = sums.by_ref().take(asked[*question].options.len()).collect();
        let id = &questions[*question].id;
        if of.iter().any(|sum| !sum.is_finite()) {
            let sample = format!("question {id:?}");
            return Err(GenerateError::not_finite_at(sample));
        }
        let tokens: Vec<usize> = asked[*question].options.iter().map(|part| part.tokens.len()).collect();
        Ok((*question, json!({ "id": id, "log_likelihoods": of, "tokens": tokens })))
    };
    piece.iter().map(record).collect()
}

/// Sums of the log-probabilities of each option's tokens; `targets` ascend by row.
fn log_likelihoods<B: Backend>(
    model: &Model<B>,
    hidden: &B::Tensor,
    targets: &[ScoredToken],
    options: usize,
) -> Result<Vec<f64>, GenerateError> {
    let mut sums = vec![0.0; options];
    let by_row: Vec<&[ScoredToken]> = targets.chunk_by(|a, b| a.0 == b.0).collect();
    for rows in by_row.chunks(HEAD_ROWS) {
        let numbers: Vec<u32> = rows.iter().map(|of_row| of_row[0].0).collect();
        let logits = model.logits(&model.backend().gather(hidden, &numbers)?)?;
        for (logits, of_row) in logits.chunks_exact(model.decoder().vocab_size).zip(rows) {
            let all = log_sum(logits);
            for (_, token, option) in *of_row {
                let own = logits.get(*token as usize).map_or(f64::NAN, |z| f64::from(*z));
                sums[*option] += own - all;
            }
        }
    }
    Ok(sums)
}

/// Logarithm of the sum of the exponentials.
fn log_sum(logits: &[f32]) -> f64 {
    let top = f64::from(logits.iter().fold(f32::NEG_INFINITY, |top, z| top.max(*z)));
    top + logits.iter().map(|z| (f64::from(*z) - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_large_logits_does_not_overflow() {
        assert!((log_sum(&[1000.0; 4]) - 1000.0 - 4f64.ln()).abs() < 1e-9);
        assert!(log_sum(&[f32::NAN, 1.0]).is_nan());
    }
}
