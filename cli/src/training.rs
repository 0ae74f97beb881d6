//! Training progress: a bar on a terminal, a plain line every few seconds elsewhere.

use gstore::picture::Sparkline;
use gstore_train::{Checkpoint, EvaluationLoss, StepReport, TrainObserver};
use indicatif::HumanCount;

use crate::progress::Counter;

/// Columns of the curve of losses, at most.
const CURVE: usize = 60;

pub struct TrainingProgress {
    count: Counter,
    tokens: u64,
    /// The losses so far, as the bar shows them.
    curve: Sparkline,
}

impl TrainingProgress {
    pub fn new(quiet: bool) -> Self {
        Self { count: Counter::new(quiet), tokens: 0, curve: Sparkline::default() }
    }

    pub fn finish(&mut self) {
        self.count.finish();
    }
}

impl TrainObserver for TrainingProgress {
    fn note(&mut self, message: &str) {
        self.count.note(message);
    }

    fn begin(&mut self, taken: u64, total: u64) {
        if taken > 0 && taken < total {
            self.count.line(&format!("continuing after step {taken} of {total}"));
        }
        self.count.begin(taken, total);
        self.count.draw("{human_pos}/{human_len} {msg} {wide_bar} {eta} left\nloss {prefix}");
    }

    fn step(&mut self, step: u64, report: &StepReport) {
        self.tokens += report.tokens;
        let StepReport { loss, grad_norm, learning_rate, .. } = report;
        let rate = HumanCount(self.count.per_second(self.tokens) as u64);
        let numbers =
            format!("loss {loss:.4}, gradient {grad_norm:.3}, rate {learning_rate:.2e}, {rate} tokens/s");
        if let Some(bar) = &self.count.bar {
            let columns = usize::from(console::Term::stderr().size().1);
            self.curve.push(*loss);
            bar.set_prefix(self.curve.line(columns.saturating_sub(8).min(CURVE)));
            bar.set_message(numbers);
            bar.set_position(step);
        } else if self.count.line_due(step == self.count.total) {
            let (total, left) = (self.count.total, self.count.left(step));
            self.count.line(&format!("step {step}/{total}: {numbers}{left}"));
        }
    }

    fn evaluated(&mut self, evaluated: &EvaluationLoss) {
        let EvaluationLoss { step, loss, .. } = evaluated;
        self.count.line(&format!("step {step}: loss of the held-out samples {loss:.4}"));
    }

    fn saved(&mut self, checkpoint: &Checkpoint) {
        self.count.line(&format!("saved {}", checkpoint.folder.display()));
    }
}
