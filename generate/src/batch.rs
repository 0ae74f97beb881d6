//! Batched decoding: answers to several prompts at a time, whose new tokens are computed step by step.
//!
//! Invariants
//! - a slot that becomes free takes the next prompt at once, so that products stay wide until the last
//!   prompts
//! - long prompts are fed in parts, together with the answers that go on, so that the
//!   memory of a step is bounded
//! - keys are those of the text as long as it is: where a token more changes the rotary angles of all, keys
//!   and values are computed again
//! - what a prompt is batched with decides neither its tokens nor its numbers
//! - where a device's memory is too little, it answers fewer prompts at a time. Keys and values of those in
//!   work are then computed again, in other parts

use std::sync::{Mutex, MutexGuard};

use gstore_core::{Cancel, Cancelled, locked};
use gstore_data::TextEncoder;
use gstore_model::{Backend, KeyValues, Model, NextTokens, OutOfMemory};

use crate::error::GenerateError;
use crate::load::positions;
use crate::prompts::Prompt;
use crate::random::uniform;
use crate::request::StoppingCriteria;
use crate::sampling::{Sampler, SamplingOptions};
use crate::stop::FinishReason;

/// Most tokens of prompts in a step, in addition to one token of each answer.
const PROMPT_TOKENS: usize = 512;

/// What threads answer together.
pub(crate) struct AnswerTask<'a> {
    pub prompts: &'a [Prompt],
    /// Numbers of the prompts that are to be answered.
    pub left: &'a [usize],
    pub queue: Mutex<PromptQueue>,
    pub encoder: &'a TextEncoder,
    pub sampling: &'a SamplingOptions,
    pub stopping: &'a StoppingCriteria,
    /// Tokens that end answers.
    pub ends: &'a [u32],
    pub cancel: &'a Cancel,
    /// Raised where another thread failed.
    pub failed: Cancel,
}

/// What is left for threads to take.
#[derive(Debug)]
pub(crate) struct PromptQueue {
    /// How many of the prompts that are left were begun.
    begun: usize,
    /// Those that were put back.
    back: Vec<AnswerRow>,
    /// What is at work on each device.
    shares: Vec<Share>,
}

/// What is at work on a device.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Share {
    threads: usize,
    /// Prompts that they answer at a time, all together.
    slots: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of its device.
    pub device: usize,
    /// Prompts that it answers at a time.
    slots: usize,
}

impl Place {
    /// Those of threads that are divided among devices, and prompts among threads.
    pub fn all(devices: usize, threads: usize, slots: usize) -> Vec<Place> {
        let of = |(thread, device): (usize, usize)| Place {
            device,
            slots: slots / threads + usize::from(thread < slots % threads),
        };
        (0..threads).zip((0..devices).cycle()).map(of).collect()
    }
}

impl PromptQueue {
    pub fn new(places: &[Place]) -> PromptQueue {
        let devices = places.iter().map(|place| place.device + 1).max().unwrap_or(0);
        let mut shares = vec![Share::default(); devices];
        for place in places {
            let Share { threads, slots } = shares[place.device];
            shares[place.device] = Share { threads: threads + 1, slots: slots + place.slots };
        }
        PromptQueue { begun: 0, back: Vec::new(), shares }
    }

    /// Prompts that are answered at a time.
    pub fn slots(&self) -> usize {
        self.shares.iter().map(|share| share.slots).sum()
    }

    fn next(&mut self, task: &AnswerTask<'_>) -> Option<AnswerRow> {
        if let Some(row) = self.back.pop() {
            return Some(row);
        }
        let prompt = *task.left.get(self.begun)?;
        self.begun += 1;
        let context = task.prompts.get(prompt)?.ids.clone();
        Some(AnswerRow { prompt, context, fed: 0 })
    }
}

impl AnswerTask<'_> {
    pub fn queue(&self) -> MutexGuard<'_, PromptQueue> {
        locked(&self.queue)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub prompt: usize,
    /// Its tokens, the one that ends it among them.
    pub ids: Vec<u32>,
    pub text: String,
    pub finish: FinishReason,
}

/// A prompt and what was answered so far.
#[derive(Debug)]
struct AnswerRow {
    prompt: usize,
    /// Tokens of both.
    context: Vec<u32>,
    /// Tokens that went through the model.
    fed: usize,
}

pub(crate) struct AnswerBatch<'a, B: Backend> {
    task: &'a AnswerTask<'a>,
    model: &'a Model<B>,
    /// Number of the model's device.
    device: usize,
    cache: KeyValues<B>,
    rows: Vec<Option<AnswerRow>>,
    /// Tokens of prompts that a step takes at most.
    prompt_tokens: usize,
    /// The device's share when the step began.
    seen: Share,
    sampler: Sampler,
}

/// A part of a row that a step takes.
struct RowTokens {
    slot: usize,
    tokens: usize,
    /// Whether the next token is chosen behind it.
    last: bool,
}

impl<'a, B: Backend> AnswerBatch<'a, B> {
    pub fn new(task: &'a AnswerTask<'a>, model: &'a Model<B>, Place { device, slots }: Place) -> Self {
        let rows = (0..slots.max(1)).map(|_| None).collect();
        let sampler = Sampler::new(task.sampling.clone());
        let (cache, prompt_tokens, seen) = (model.key_values(), PROMPT_TOKENS, Share::default());
        AnswerBatch { task, model, device, cache, rows, prompt_tokens, seen, sampler }
    }

    /// Answers prompts until none is left; `tell` hears after each step how many tokens were chosen, and of
    /// the answers that are done.
    pub fn run(mut self, mut tell: impl FnMut(u64, Vec<Answer>)) -> Result<(), GenerateError> {
        loop {
            if self.task.cancel.is_raised() || self.task.failed.is_raised() {
                return Err(Cancelled.into());
            }
            if !self.admit() {
                return Ok(());
            }
            match self.step() {
                Ok((tokens, answers)) => tell(tokens, answers),
                Err(error) if error.is_out_of_memory() => self.shrink_after_out_of_memory(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives free slots the next prompts; false if there is nothing left for this thread.
    fn admit(&mut self) -> bool {
        // It was counted out when it gave its last row up.
        if self.rows.is_empty() {
            return false;
        }
        let mut queue = self.task.queue();
        for row in self.rows.iter_mut().filter(|row| row.is_none()) {
            *row = queue.next(self.task);
        }
        let works = self.rows.iter().any(Option::is_some);
        // Under the lock: who puts rows back leaves them to a thread that will look for them.
        let share = &mut queue.shares[self.device];
        share.threads -= usize::from(!works);
        self.seen = *share;
        works
    }

    /// After a step that a device had too little memory for, which has changed no row: gives up all keys and
    /// values, and half of the rows, or the last one if another thread goes on there.
    ///
    /// # Errors
    /// `error`, where a single token was computed and nothing else.
    fn shrink_after_out_of_memory(&mut self, error: GenerateError) -> Result<(), GenerateError> {
        let tokens: usize = self.parts().iter().map(|part| part.tokens).sum();
        self.cache = self.model.key_values();
        let slots = self.rows.len();
        let mut rows: Vec<AnswerRow> = self.rows.drain(..).flatten().collect();
        rows.iter_mut().for_each(|row| row.fed = 0);
        let mut queue = self.task.queue();
        let share = &mut queue.shares[self.device];
        let kept = match rows.len() / 2 {
            // Others have given memory up meanwhile.
            _ if self.seen != *share => slots,
            0 if share.threads > 1 => {
                share.threads -= 1;
                0
            }
            0 if tokens > 1 => {
                self.prompt_tokens = tokens / 2;
                1
            }
            0 => return Err(error),
            half => half,
        };
        share.slots -= slots - kept;
        queue.back.extend(rows.drain(kept.min(rows.len())..));
        self.rows = rows.into_iter().map(Some).collect();
        self.rows.resize_with(kept, || None);
        Ok(())
    }

    /// The parts of rows that the next step takes: of an answer its last token, of prompts as many as there
    /// is room for.
    fn parts(&self) -> Vec<RowTokens> {
        let mut room = self.prompt_tokens;
        let part = |(slot, row): (usize, &Option<AnswerRow>)| {
            let row = row.as_ref()?;
            let waiting = row.context.len() - row.fed;
            let tokens = if waiting > 1 { waiting.min(room) } else { waiting };
            room -= if waiting > 1 { tokens } else { 0 };
            (tokens > 0).then_some(RowTokens { slot, tokens, last: tokens == waiting })
        };
        self.rows.iter().enumerate().filter_map(part).collect()
    }

    /// One pass of the model, and a token for every row whose last token it saw.
    fn step(&mut self) -> Result<(u64, Vec<Answer>), GenerateError> {
        let parts = self.parts();
        let feed = |part: &RowTokens| {
            let row = self.rows[part.slot].as_ref()?;
            let ids = row.context.get(row.fed..row.fed + part.tokens)?;
            Some(NextTokens { slot: part.slot, ids, length: row.context.len(), wanted: part.last })
        };
        let feeds: Vec<NextTokens<'_>> = parts.iter().filter_map(feed).collect();
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
            match self.choose(part.slot, logits)? {
                Some(answer) => {
                    answers.push(answer);
                    self.rows[part.slot] = None;
                    self.model.forget(&mut self.cache, part.slot);
                }
                None => self.feed_again(part.slot),
            }
        }
        Ok((chosen, answers))
    }

    /// Where the token that was chosen makes a row so long that all of it has other rotary angles, it is fed
    /// from its beginning, in parts like a prompt.
    fn feed_again(&mut self, slot: usize) {
        let Some(row) = &mut self.rows[slot] else { return };
        if !self.model.turns_alike(row.context.len(), row.fed) {
            row.fed = 0;
            self.model.forget(&mut self.cache, slot);
        }
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
                GenerateError::not_finite_at(sample)
            }
            other => other,
        })?;
        row.context.extend(next);
        let limit = positions(self.model.decoder());
        let ids = &row.context[before..];
        let done = |finish, text| Answer { prompt: row.prompt, ids: ids.to_vec(), text, finish };
        let encoder = self.task.encoder;
        let Some(token) = next else { return Ok(Some(done(FinishReason::NoToken, encoder.decode(ids)?))) };
        if self.task.ends.contains(&token) {
            return Ok(Some(done(FinishReason::EndToken, encoder.decode(&ids[..ids.len() - 1])?)));
        }
        let strings = &self.task.stopping.strings;
        if let Some(text) =
            strings.cut(ids, |id| encoder.is_special(id), |ids| Ok(encoder.decode_all(ids)?))?
        {
            return Ok(Some(done(FinishReason::StopString, text)));
        }
        let full = ids.len() >= self.task.stopping.max_new_tokens;
        // The token that was chosen last needs a position of its own.
        if full || limit.is_some_and(|limit| row.context.len() > limit) {
            return Ok(Some(done(FinishReason::Length, encoder.decode(ids)?)));
        }
        Ok(None)
    }
}
