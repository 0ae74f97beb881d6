//! As many examples as fit before a question, and its prompt with them.

use gstore_core::{Cancel, parallel};
use gstore_data::{Content, TextEncoder};

use super::{Ask, Question};
use crate::error::EvaluateError;

/// A question's prompt.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// What the model sees.
    pub content: Content,
    /// What its answer begins with.
    pub begun: String,
    /// Examples that were left out, the last ones first.
    pub left_out: usize,
}

/// Questions that a thread fits at a time.
const SHARE: usize = 32;

/// The prompts of questions with as many of their examples as `max_length` tokens hold, their choices with
/// them. A question that does not fit without examples is left as it is.
///
/// # Errors
/// A tokenizer or template that fails; being told to stop.
pub fn fit(
    questions: &[Question],
    encoder: &TextEncoder,
    (max_length, chat): (usize, bool),
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Fitted>, EvaluateError> {
    let fitted = |question: &Question| of(question, encoder, max_length, chat);
    parallel::map(questions, SHARE, threads, cancel, fitted)
}

fn of(
    question: &Question,
    encoder: &TextEncoder,
    max_length: usize,
    chat: bool,
) -> Result<Fitted, EvaluateError> {
    let options = match &question.ask {
        Ask::Choose { options, .. } => options.as_slice(),
        Ask::Answer { .. } => &[],
    };
    let mut shots = question.shots.len();
    loop {
        let (content, begun) = question.prompt(shots, chat);
        let mut tokens = encoder.encode_begun(&content, &begun)?.len();
        for option in options {
            tokens = tokens.max(encoder.encode_answer(&content, &begun, option)?.0.len());
        }
        if tokens <= max_length || shots == 0 {
            return Ok(Fitted { content, begun, left_out: question.shots.len() - shots });
        }
        shots -= 1;
    }
}
