//! Progress of a generation: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::output::exists;
use crate::streams::say;
use gstore::{GenerateError, Snapshot, answers_in, check_answers};
use gstore_generate::{GenerateObserver, Prompt};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the user sees of a generation.
pub struct GenerationProgress {
    quiet: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    last_line: Instant,
    /// Answers that were there before, those that are now, and all.
    first: u64,
    answered: u64,
    total: u64,
    tokens: u64,
    /// Where the answers are to be added to, if none of their ids may be there with something else.
    dataset: Option<(Arc<Snapshot>, String)>,
    /// The file that the answers are for, if it is there already.
    file: Option<PathBuf>,
    /// The same where no other file keeps them.
    result: Option<PathBuf>,
}

impl GenerationProgress {
    /// On standard error.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            bar: None,
            begun: now,
            last_line: now,
            first: 0,
            answered: 0,
            total: 0,
            tokens: 0,
            dataset: None,
            file: None,
            result: None,
        }
    }

    /// Refuses prompts whose ids this dataset has with something else than answers to the same request.
    pub fn for_dataset(&mut self, snapshot: Arc<Snapshot>, dataset: &str) {
        self.dataset = Some((snapshot, dataset.to_owned()));
    }

    /// Refuses to answer a prompt for a file that is there: its answers have to be kept, all of them.
    pub fn for_file(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }

    /// Takes the answers from a file that is there, which has to have all of them.
    pub fn take_from(&mut self, file: &Path) {
        self.result = Some(file.to_owned());
    }

    /// The bar goes.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn rate(&self) -> f64 {
        self.tokens as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    fn plain(&mut self) {
        if self.quiet || self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        let done = self.answered - self.first;
        let left = match done {
            0 => String::new(),
            done => {
                let seconds = self.begun.elapsed().as_secs_f64() / done as f64;
                let left = seconds * self.total.saturating_sub(self.answered) as f64;
                format!(", {} left", HumanDuration(Duration::from_secs_f64(left.min(1e9))))
            }
        };
        let rate = HumanCount(self.rate() as u64);
        say!("answered {}/{}: {rate} tokens/s{left}", self.answered, self.total);
    }
}

impl GenerateObserver for GenerationProgress {
    fn note(&mut self, message: &str) {
        if !self.quiet {
            say!("{message}");
        }
    }

    fn check(&mut self, prompts: &[Prompt], begun: &dyn Fn(&Prompt) -> String) -> Result<(), GenerateError> {
        match &self.dataset {
            Some((snapshot, dataset)) => check_answers(snapshot, dataset, prompts, begun),
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
        (self.first, self.answered, self.total) = (answered, answered, total);
        (self.begun, self.last_line) = (Instant::now(), Instant::now());
        if answered > 0 && answered < total && !self.quiet {
            say!("going on after {answered} of {total} answers");
        }
        if self.quiet || !std::io::stderr().is_terminal() {
            return Ok(());
        }
        let bar = ProgressBar::new(total).with_position(answered);
        // A template that indicatif refuses costs the looks of the bar, not the run.
        if let Ok(style) =
            ProgressStyle::with_template("answered {human_pos}/{human_len} {msg} {wide_bar} {eta} left")
        {
            bar.set_style(style);
        }
        bar.reset_eta();
        self.bar = Some(bar);
        Ok(())
    }

    fn advance(&mut self, tokens: u64, answers: u64) {
        self.tokens += tokens;
        self.answered += answers;
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{} tokens/s", HumanCount(self.rate() as u64)));
                bar.set_position(self.answered);
            }
            None => self.plain(),
        }
    }
}
