//! Multiple-choice questions as tokens, over as few sequences as can be.

use std::cmp::Reverse;
use std::collections::HashSet;

use gstore_core::{Cancel, parallel};
use gstore_data::{SampleError, TextEncoder};
use gstore_model::architectures::Decoder;

use super::{ChoiceQuestion, ChoiceRequest};
use crate::error::GenerateError;
use crate::load::{check_length, check_tokens};

pub(super) struct EncodedQuestion {
    /// What the model is fed, none the beginning of another.
    pub sequences: Vec<Vec<u32>>,
    pub options: Vec<EncodedOption>,
}

impl EncodedQuestion {
    /// Tokens that the model is fed.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

/// An option's tokens, and where the model predicts them.
pub(super) struct EncodedOption {
    pub sequence: usize,
    /// Position in the sequence that predicts the first of them.
    pub first: usize,
    pub tokens: Vec<u32>,
}

/// Questions that a thread encodes at a time.
const SHARE: usize = 32;

/// The questions as tokens; all of them are checked before any is scored.
pub(super) fn encode_questions(
    request: &ChoiceRequest,
    encoder: &TextEncoder,
    decoder: &Decoder,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<EncodedQuestion>, GenerateError> {
    let mut ids = HashSet::new();
    if let Some(twice) = request.questions.iter().find(|question| !ids.insert(question.id.as_str())) {
        return Err(GenerateError::RepeatedId(twice.id.clone()));
    }
    if request.questions.is_empty() {
        return Err(GenerateError::NoSamples);
    }
    let most = request.weights.text.max_length as usize;
    let asked = |question: &ChoiceQuestion| encode_question(question, encoder, decoder, most);
    parallel::map(&request.questions, SHARE, threads, cancel, asked)
}

fn encode_question(
    question: &ChoiceQuestion,
    encoder: &TextEncoder,
    decoder: &Decoder,
    max_length: usize,
) -> Result<EncodedQuestion, GenerateError> {
    let name = || format!("question {:?}", question.id);
    let encode = |option: &String| {
        let encoded = encoder.encode_answer(&question.content, &question.begun, option);
        let (ids, before) = encoded.map_err(|source| SampleError::Encode { sample: name(), source })?;
        check_tokens(&name(), &ids, decoder)?;
        if ids.len() <= before {
            return Err(GenerateError::Option(format!("{}: the choice {option:?} has no token", name())));
        }
        check_length(&name(), ids.len(), max_length, decoder)?;
        Ok((ids, before))
    };
    let options = question.options.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    if options.is_empty() {
        return Err(GenerateError::Option(format!("{} has no choices", name())));
    }
    Ok(share_sequences(&options))
}

/// Options as tokens with their place behind the prompt, over as few sequences as can be.
fn share_sequences(options: &[(Vec<u32>, usize)]) -> EncodedQuestion {
    // The last token of an option predicts nothing that is asked for.
    let fed = |option: usize| &options[option].0[..options[option].0.len() - 1];
    let mut order: Vec<usize> = (0..options.len()).collect();
    order.sort_by_key(|option| Reverse(fed(*option).len()));
    let mut sequences: Vec<Vec<u32>> = Vec::new();
    let mut of = vec![0; options.len()];
    for option in order {
        let found = sequences.iter().position(|sequence| sequence.starts_with(fed(option)));
        of[option] = found.unwrap_or_else(|| {
            sequences.push(fed(option).to_vec());
            sequences.len() - 1
        });
    }
    let part = |((ids, before), sequence): (&(Vec<u32>, usize), usize)| EncodedOption {
        sequence,
        first: before - 1,
        tokens: ids[*before..].to_vec(),
    };
    EncodedQuestion { options: options.iter().zip(of).map(part).collect(), sequences }
}

pub(super) fn digest(asked: &[EncodedQuestion]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |ids: &[u32]| {
        hasher.update(&(ids.len() as u64).to_le_bytes());
        for id in ids {
            hasher.update(&id.to_le_bytes());
        }
    };
    for question in asked {
        question.sequences.iter().for_each(|ids| add(ids));
        for part in &question.options {
            add(&[part.sequence as u32, part.first as u32]);
            add(&part.tokens);
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_share_what_they_are_fed() {
        let letters: Vec<(Vec<u32>, usize)> = (10..14).map(|letter| (vec![1, 2, 3, letter], 3)).collect();
        let asked = share_sequences(&letters);
        assert_eq!(asked.sequences, [[1, 2, 3]]);
        assert!(asked.options.iter().all(|part| (part.sequence, part.first) == (0, 2)));

        // One is the beginning of another, two have nothing in common behind the prompt.
        let asked = share_sequences(&[(vec![1, 2, 7], 2), (vec![1, 2, 7, 8, 9], 2), (vec![1, 2, 5, 6], 2)]);
        assert_eq!(asked.sequences, [vec![1, 2, 7, 8], vec![1, 2, 5]]);
        let of: Vec<(usize, usize, Vec<u32>)> =
            asked.options.into_iter().map(|part| (part.sequence, part.first, part.tokens)).collect();
        assert_eq!(of, [(0, 1, vec![7]), (0, 1, vec![7, 8, 9]), (1, 1, vec![5, 6])]);
    }
}
