//! Training progress: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::streams::say;
use gstore::picture::Sparkline;
use gstore_train::{Checkpoint, EvaluationLoss, StepReport, TrainObserver};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Columns of the curve of losses, at most.
const CURVE: usize = 60;

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the user sees of a training.
pub struct TrainingProgress {
    quiet: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    last_line: Option<Instant>,
    /// Steps that were taken before, and all.
    first: u64,
    total: u64,
    tokens: u64,
    /// The losses so far, as the bar shows them.
    curve: Sparkline,
}

impl TrainingProgress {
    /// On standard error.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bar: None,
            begun: Instant::now(),
            last_line: None,
            first: 0,
            total: 0,
            tokens: 0,
            curve: Sparkline::default(),
        }
    }

    /// The bar goes.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None if !self.quiet => say!("{text}"),
            None => {}
        }
    }

    fn plain(&mut self, step: u64, numbers: &str) {
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) || step == self.total;
        if self.quiet || !due {
            return;
        }
        self.last_line = Some(Instant::now());
        let done = (step - self.first).max(1) as f64;
        let left = self.begun.elapsed().as_secs_f64() / done * self.total.saturating_sub(step) as f64;
        let left = HumanDuration(Duration::from_secs_f64(left.min(1e9)));
        say!("step {step}/{}: {numbers}, {left} left", self.total);
    }
}

impl TrainObserver for TrainingProgress {
    fn note(&mut self, message: &str) {
        self.line(message);
    }

    fn begin(&mut self, taken: u64, total: u64) {
        (self.first, self.total, self.begun) = (taken, total, Instant::now());
        if taken > 0 && taken < total {
            self.line(&format!("going on after step {taken} of {total}"));
        }
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(total).with_position(taken);
        // A template that indicatif refuses costs the looks of the bar, not the run.
        let lines = "{human_pos}/{human_len} {msg} {wide_bar} {eta} left\nloss {prefix}";
        if let Ok(style) = ProgressStyle::with_template(lines) {
            bar.set_style(style);
        }
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn step(&mut self, step: u64, report: &StepReport) {
        self.tokens += report.tokens;
        let rate = self.tokens as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let StepReport { loss, grad_norm, learning_rate, .. } = report;
        let rate = HumanCount(rate as u64);
        let numbers =
            format!("loss {loss:.4}, gradient {grad_norm:.3}, rate {learning_rate:.2e}, {rate} tokens/s");
        match &self.bar {
            Some(bar) => {
                let columns = usize::from(console::Term::stderr().size().1);
                self.curve.push(*loss);
                bar.set_prefix(self.curve.line(columns.saturating_sub(8).min(CURVE)));
                bar.set_message(numbers);
                bar.set_position(step);
            }
            None => self.plain(step, &numbers),
        }
    }

    fn evaluated(&mut self, evaluated: &EvaluationLoss) {
        let EvaluationLoss { step, loss, .. } = evaluated;
        self.line(&format!("step {step}: loss of the held-out samples {loss:.4}"));
    }

    fn saved(&mut self, checkpoint: &Checkpoint) {
        self.line(&format!("saved {}", checkpoint.folder.display()));
    }
}
