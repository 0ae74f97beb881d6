//! As many examples as fit before a question, and its prompt with them.

use gstore_core::{Cancel, parallel};
use gstore_data::{Content, TextEncoder};

use super::{Ask, Question};
use crate::error::EvaluateError;

/// A question's prompt.
#[derive(Debug, Clone)]
pub struct FittedPrompt {
    /// What the model sees.
    pub content: Content,
    /// What its answer begins with.
    pub begun: String,
    /// Examples that were left out, the last ones first.
    pub left_out: usize,
}

/// How models read prompts, and how much they have room for.
pub(crate) struct Encoding {
    /// Their tokenizer and template.
    pub encoder: TextEncoder,
    /// Tokens of a prompt with a choice at most.
    pub max_length: usize,
    /// The fewest positions that one of them has, if these are a limit: an answer takes some of them too.
    pub positions: Option<usize>,
}

impl Encoding {
    fn has_room(&self, ask: &Ask, content: &Content, begun: &str) -> Result<bool, EvaluateError> {
        let prompt = self.encoder.encode_begun(content, begun)?.len();
        let (tokens, positions) = match ask {
            Ask::Choose { options, .. } => {
                let mut longest = prompt;
                for option in options {
                    longest = longest.max(self.encoder.encode_answer(content, begun, option)?.0.len());
                }
                (longest, longest)
            }
            // No token follows the last one of an answer, which needs no position.
            Ask::Answer { rule, .. } => {
                (prompt, prompt.saturating_add(rule.max_new_tokens.saturating_sub(1)))
            }
        };
        Ok(tokens <= self.max_length && self.positions.is_none_or(|most| positions <= most))
    }
}

/// Questions that a thread fits at a time.
const SHARE: usize = 32;

/// The prompts of questions with as many of their examples as there is room for in every encoding, with their
/// choices or the longest answer. A question that does not fit without examples is left as it is.
///
/// # Errors
/// A tokenizer or template that fails; being told to stop.
pub(crate) fn fit(
    questions: &[Question],
    encodings: &[Encoding],
    chat: bool,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<FittedPrompt>, EvaluateError> {
    let fitted = |question: &Question| of(question, encodings, chat);
    parallel::map(questions, SHARE, threads, cancel, fitted)
}

fn of(question: &Question, encodings: &[Encoding], chat: bool) -> Result<FittedPrompt, EvaluateError> {
    let mut shots = question.shots.len();
    loop {
        let (content, begun) = question.prompt(shots, chat);
        let mut fits = true;
        for encoding in encodings {
            fits = fits && encoding.has_room(&question.ask, &content, &begun)?;
        }
        if fits || shots == 0 {
            return Ok(FittedPrompt { content, begun, left_out: question.shots.len() - shots });
        }
        shots -= 1;
    }
}
