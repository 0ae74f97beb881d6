//! Log-probabilities of the tokens of choices, by packed forward passes.

use gstore_model::{Backend, HEAD_ROWS, Layout, Model, PackedSample, Reduction};
use serde_json::{Value, json};

use super::ChoiceQuestion;
use super::encode::EncodedQuestion;
use crate::error::GenerateError;
use crate::load::SCORING;
use crate::perplexity::TokenDistribution;

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
            let distribution = TokenDistribution::new(logits);
            for (_, token, option) in *of_row {
                sums[*option] += distribution.log_probability(*token);
            }
        }
    }
    Ok(sums)
}
