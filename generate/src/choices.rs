//! Log-likelihoods of given continuations of prompts: what multiple-choice questions are answered by.
//!
//! Invariants
//! - a continuation's value is the sum, in f64 and in the order of its tokens, of their log-probabilities
//! - continuations that are fed the same tokens share a sequence: choices of one token each cost one pass
//!   over their prompt
//! - on the CPU backend a value has the same bits on any number of threads and after any stop

mod encode;
mod score;

use std::ops::ControlFlow;
use std::path::PathBuf;

use gstore_core::parallel::{in_turn, ordered};
use gstore_core::{Cancel, CheckpointId, Progress, Unit};
use gstore_data::Content;
use gstore_model::{Backend, with_backend};
use serde_json::{Value, json};

use self::encode::{digest, encode_questions};
use self::score::score;
use crate::error::GenerateError;
use crate::journal::Journal;
use crate::load::{encoder, note_of, pieces};
use crate::request::{ComputeOptions, ModelSource};

/// A prompt and what may follow it.
#[derive(Debug, Clone)]
pub struct ChoiceQuestion {
    /// Its id.
    pub id: String,
    /// The prompt.
    pub content: Content,
    /// What every answer begins with, which is not scored; may be empty.
    pub begun: String,
    /// The continuations, with the space before them if there is one.
    pub options: Vec<String>,
}

/// Continuations to score.
#[derive(Debug, Clone)]
pub struct ChoiceRequest {
    /// The model.
    pub weights: ModelSource,
    /// The prompts.
    pub questions: Vec<ChoiceQuestion>,
    /// What computes.
    pub compute: ComputeOptions,
    /// File that keeps what is done, so that the same request goes on; none: it is kept in memory.
    pub journal: Option<PathBuf>,
    /// Whether results of another request in that file are thrown away.
    pub overwrite: bool,
}

/// How far the scoring came.
pub struct ChoiceOutcome {
    /// Whether every question has its values; otherwise it was told to stop, and the same request goes on.
    pub finished: bool,
    /// The weights.
    pub model: CheckpointId,
    /// Records of `id`, `log_likelihoods` and `tokens` of the options, in the order of the questions.
    pub answers: Journal,
}

/// Scores the continuations of prompts, or goes on where the same request was stopped.
///
/// Memory: the weights once on each device, the tokens of the questions, and for each thread the activations
/// of about a thousand tokens (at least one question).
///
/// # Errors
/// A model or question that cannot be used, which shows before any is scored; results of another request in
/// the journal; logits that are not numbers.
pub fn choices(
    request: &ChoiceRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<ChoiceOutcome, GenerateError> {
    let ComputeOptions { device, precision, .. } = request.compute;
    with_backend!(
        (device, precision), GenerateError::from,
        backend => run(request, request.compute.backends(backend)?, progress, cancel),
    )
}

fn run<B: Backend>(
    request: &ChoiceRequest,
    backends: Vec<B>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<ChoiceOutcome, GenerateError> {
    let opened = request.weights.open()?;
    let (encoder, _) = encoder(&request.weights, &opened)?;
    let threads = request.compute.threads.max(1);
    let asked = encode_questions(request, &encoder, opened.decoder(), (threads, cancel))?;
    let (questions, model) = (&request.questions, opened.id()?);
    let options = json!({
        "compute": request.compute.precision.name(),
        "backend": request.compute.device.first().to_string(),
    });
    let identity = json!({ "model": model.to_string(), "options": options, "prompts": digest(&asked) });
    let mut answers = Journal::open(request.journal.as_deref(), asked.len(), &identity, request.overwrite)?;
    if let Some(note) = answers.note() {
        progress.note(&note);
    }
    let left: Vec<usize> = (0..asked.len()).filter(|question| !answers.has(*question)).collect();
    let mut scored = Ok(());
    if !left.is_empty() {
        let models = opened.load(request.compute.devices().zip(backends))?;
        progress.start("scoring choices", left.len() as u64, Unit::Rows);
        let pieces = pieces(&left, |question| asked[*question].tokens());
        let of_piece = |device: &mut usize, piece: usize| {
            let piece = pieces[piece];
            let lengths: Vec<usize> = piece.iter().map(|question| asked[*question].tokens()).collect();
            models[*device].in_parts(&lengths, |model, part| score(model, questions, &asked, &piece[part]))
        };
        scored = ordered(
            pieces.len(),
            threads.max(models.len()),
            cancel,
            in_turn(models.len()),
            of_piece,
            |records: Vec<(usize, Value)>| {
                for (question, record) in records {
                    answers.push(question, &record)?;
                    progress.advance(1);
                }
                Ok(ControlFlow::Continue(()))
            },
        );
        progress.finish();
        if let Some(note) = note_of(&models) {
            progress.note(&note);
        }
    }
    match scored {
        Ok(()) | Err(GenerateError::Stopped(_)) => {}
        Err(error) => return Err(opened.with_table(error)),
    }
    let finished = answers.answered() == asked.len();
    Ok(ChoiceOutcome { finished, model, answers })
}
