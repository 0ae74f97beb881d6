//! Progress of a generation: a bar on a terminal, a plain line every few seconds elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use gstore::{AddRequest, Cancel, GenerateError, Snapshot, answers_in, check_answers};
use gstore_generate::{GenerateObserver, Prompt};
use indicatif::HumanCount;

use crate::output::exists;
use crate::progress::Counter;

pub struct GenerationProgress {
    count: Counter,
    answered: u64,
    tokens: u64,
    /// What is to register the answers, if they are for a dataset: it has to take them.
    pub registration: Option<AddRequest>,
    /// The state of the store that it is for, if that is there.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The file that the answers are for, if it is there already: no prompt may be left to answer.
    pub file: Option<PathBuf>,
    /// The same where no other file keeps them: all answers are taken from it.
    pub result: Option<PathBuf>,
}

impl GenerationProgress {
    pub fn new(quiet: bool) -> Self {
        Self {
            count: Counter::new(quiet),
            answered: 0,
            tokens: 0,
            registration: None,
            snapshot: None,
            file: None,
            result: None,
        }
    }

    pub fn finish(&mut self) {
        self.count.finish();
    }
}

impl GenerateObserver for GenerationProgress {
    fn note(&mut self, message: &str) {
        self.count.note(message);
    }

    fn check(
        &mut self,
        prompts: &[Prompt],
        begun: &dyn Fn(&Prompt) -> String,
        cancel: &Cancel,
    ) -> Result<(), GenerateError> {
        match &self.registration {
            Some(request) => check_answers(self.snapshot.as_deref(), request, prompts, begun, cancel),
            None => Ok(()),
        }
    }

    fn made(
        &mut self,
        prompts: &[Prompt],
        begun: &dyn Fn(&Prompt) -> String,
    ) -> Result<Option<Vec<String>>, GenerateError> {
        let Some(file) = &self.result else { return Ok(None) };
        let found = answers_in(file, prompts, begun);
        found.map(Some).ok_or_else(|| GenerateError::Option(exists(file)))
    }

    fn begin(&mut self, answered: u64, total: u64) -> Result<(), GenerateError> {
        if let Some(file) = self.file.as_ref().filter(|_| answered < total) {
            return Err(GenerateError::Option(exists(file)));
        }
        self.answered = answered;
        if answered > 0 && answered < total {
            self.count.line(&format!("continuing after {answered} of {total} answers"));
        }
        self.count.begin(answered, total);
        self.count.draw("answered {human_pos}/{human_len} {msg} {wide_bar} {eta} left");
        // The first answers say little of the rate.
        self.count.last_line = Some(Instant::now());
        Ok(())
    }

    fn advance(&mut self, tokens: u64, answers: u64) {
        self.tokens += tokens;
        self.answered += answers;
        let rate = HumanCount(self.count.per_second(self.tokens) as u64);
        if let Some(bar) = &self.count.bar {
            bar.set_message(format!("{rate} tokens/s"));
            bar.set_position(self.answered);
        } else if self.count.line_due(false) {
            let (total, left) = (self.count.total, self.count.left(self.answered));
            self.count.line(&format!("answered {}/{total}: {rate} tokens/s{left}", self.answered));
        }
    }
}
