//! Answers to several prompts at a time: a step runs the model over what is new of each.
//!
//! Invariants
//! - a slot that becomes free takes the next prompt at once, so that products stay wide until the last
//!   prompts
//! - long prompts are fed in parts, beside the answers that go on, so that the memory of a step is bounded
//! - what a prompt is batched with decides neither its tokens nor its numbers

use std::sync::atomic::{AtomicUsize, Ordering};

use gstore_core::Cancel;
use gstore_data::TextEncoder;
use gstore_model::{Backend, Feed, KeyValues, Model};

use crate::error::GenerateError;
use crate::load::positions;
use crate::prompts::Prompt;
use crate::random::uniform;
use crate::request::Stopping;
use crate::sampling::{Sampler, Sampling};
use crate::stop::Finish;

/// Tokens of prompts that a step takes at most, beside one token of each answer.
const PROMPT_TOKENS: usize = 512;

/// What threads answer together.
pub(crate) struct Task<'a> {
    pub prompts: &'a [Prompt],
    /// Numbers of the prompts that are to be answered.
    pub left: &'a [usize],
    /// How many of them were begun.
    pub begun: AtomicUsize,
    pub encoder: &'a TextEncoder,
    pub sampling: &'a Sampling,
    pub stopping: &'a Stopping,
    /// Tokens that end answers.
    pub ends: &'a [u32],
    pub cancel: &'a Cancel,
    /// Raised where another thread failed.
    pub failed: Cancel,
}

/// An answer that is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Number of its prompt.
    pub prompt: usize,
    /// Its tokens, the one that ends it among them.
    pub ids: Vec<u32>,
    pub text: String,
    pub finish: Finish,
}

/// A prompt and what was answered so far.
struct Row {
    prompt: usize,
    /// Tokens of both.
    context: Vec<u32>,
    /// Tokens that went through the model.
    fed: usize,
}

/// Prompts that one thread answers.
pub(crate) struct Batch<'a, B: Backend> {
    task: &'a Task<'a>,
    model: &'a Model<B>,
    cache: KeyValues<B>,
    rows: Vec<Option<Row>>,
    sampler: Sampler,
}

/// A part of a row that a step takes.
struct Part {
    slot: usize,
    tokens: usize,
    /// Whether the next token is chosen behind it.
    last: bool,
}

impl<'a, B: Backend> Batch<'a, B> {
    pub fn new(task: &'a Task<'a>, model: &'a Model<B>, slots: usize) -> Self {
        let rows = (0..slots.max(1)).map(|_| None).collect();
        let sampler = Sampler::new(task.sampling.clone());
        Batch { task, model, cache: model.key_values(), rows, sampler }
    }

    /// Answers prompts until none is left; `tell` hears after each step how many tokens were chosen, and of
    /// the answers that are done.
    pub fn run(mut self, mut tell: impl FnMut(u64, Vec<Answer>)) -> Result<(), GenerateError> {
        loop {
            if self.task.cancel.is_raised() || self.task.failed.is_raised() {
                return Err(GenerateError::Stopped);
            }
            self.admit();
            if self.rows.iter().all(Option::is_none) {
                return Ok(());
            }
            let (tokens, answers) = self.step()?;
            tell(tokens, answers);
        }
    }

    /// Gives free slots the next prompts.
    fn admit(&mut self) {
        for row in self.rows.iter_mut().filter(|row| row.is_none()) {
            let next = self.task.begun.fetch_add(1, Ordering::Relaxed);
            let Some(prompt) = self.task.left.get(next).copied() else { return };
            let Some(Prompt { ids, .. }) = self.task.prompts.get(prompt) else { return };
            *row = Some(Row { prompt, context: ids.clone(), fed: 0 });
        }
    }

    /// The parts of rows that the next step takes: of an answer its last token, of prompts as many as there
    /// is room for.
    fn parts(&self) -> Vec<Part> {
        let mut room = PROMPT_TOKENS;
        let part = |(slot, row): (usize, &Option<Row>)| {
            let row = row.as_ref()?;
            let waiting = row.context.len() - row.fed;
            let tokens = if waiting > 1 { waiting.min(room) } else { waiting };
            room -= if waiting > 1 { tokens } else { 0 };
            (tokens > 0).then_some(Part { slot, tokens, last: tokens == waiting })
        };
        self.rows.iter().enumerate().filter_map(part).collect()
    }

    /// One pass of the model, and a token for every row whose last token it saw.
    fn step(&mut self) -> Result<(u64, Vec<Answer>), GenerateError> {
        let parts = self.parts();
        let feed = |part: &Part| {
            let row = self.rows[part.slot].as_ref()?;
            let ids = row.context.get(row.fed..row.fed + part.tokens)?;
            Some(Feed { slot: part.slot, ids, wanted: part.last })
        };
        let feeds: Vec<Feed<'_>> = parts.iter().filter_map(feed).collect();
        let mut logits = self.model.extend(&mut self.cache, &feeds)?;
        let mut logits = logits.chunks_exact_mut(self.model.decoder().vocab_size);
        let (mut chosen, mut answers) = (0, Vec::new());
        for part in parts {
            let Some(row) = &mut self.rows[part.slot] else { continue };
            row.fed += part.tokens;
            if !part.last {
                continue;
            }
            let Some(logits) = logits.next() else { continue };
            chosen += 1;
            if let Some(answer) = self.choose(part.slot, logits)? {
                answers.push(answer);
                self.rows[part.slot] = None;
                self.model.forget(&mut self.cache, part.slot);
            }
        }
        Ok((chosen, answers))
    }

    /// The next token of a row; its answer if that ends it.
    fn choose(&mut self, slot: usize, logits: &mut [f32]) -> Result<Option<Answer>, GenerateError> {
        let Some(row) = &mut self.rows[slot] else { return Ok(None) };
        let Some(prompt) = self.task.prompts.get(row.prompt) else { return Ok(None) };
        let before = prompt.ids.len();
        let position = (row.context.len() - before) as u64;
        let seed = self.task.sampling.seed;
        let next = self.sampler.next(logits, &row.context, || uniform(seed, prompt.row, position));
        let next = next.map_err(|error| match error {
            GenerateError::NotFinite => {
                let Prompt { row, id, .. } = prompt;
                let sample = format!("sample {id:?} (row {row}), token {} of its answer", position + 1);
                GenerateError::NotFiniteAt { sample }
            }
            other => other,
        })?;
        row.context.extend(next);
        let limit = positions(self.model.decoder());
        let ids = &row.context[before..];
        let done = |finish, text| Answer { prompt: row.prompt, ids: ids.to_vec(), text, finish };
        let decode = |ids: &[u32]| -> Result<String, GenerateError> { Ok(self.task.encoder.decode(ids)?) };
        let Some(token) = next else { return Ok(Some(done(Finish::NoToken, decode(ids)?))) };
        if self.task.ends.contains(&token) {
            return Ok(Some(done(Finish::EndToken, decode(&ids[..ids.len() - 1])?)));
        }
        if let Some(text) = self.task.stopping.strings.cut(ids, decode)? {
            return Ok(Some(done(Finish::StopString, text)));
        }
        let full = ids.len() >= self.task.stopping.max_new_tokens;
        // The token that was chosen last needs a position of its own.
        if full || limit.is_some_and(|limit| row.context.len() > limit) {
            return Ok(Some(done(Finish::Length, decode(ids)?)));
        }
        Ok(None)
    }
}
