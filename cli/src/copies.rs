//! Progress of an ensemble: a line for each copy that is complete, with its rate.

use std::time::{Duration, Instant};

use crate::streams::say;
use gstore_core::many_of;
use gstore_train::daunce::{EnsembleObserver, MemberOutcome, RefusedMember};
use indicatif::HumanDuration;

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the user sees of an ensemble.
pub struct EnsembleProgress {
    quiet: bool,
    begun: Instant,
    last_line: Option<Instant>,
    /// Copies that were there before, seen so far, and all.
    before: u64,
    seen: u64,
    total: u64,
}

impl EnsembleProgress {
    /// On standard error.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, begun: Instant::now(), last_line: None, before: 0, seen: 0, total: 0 }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            say!("{text}");
        }
    }

    /// How many an hour, and how long the rest will take.
    fn rate(&self) -> String {
        let trained = self.seen.saturating_sub(self.before);
        if trained == 0 {
            return String::new();
        }
        let each = self.begun.elapsed().as_secs_f64() / trained as f64;
        let left = HumanDuration(Duration::from_secs_f64((each * (self.total - self.seen) as f64).min(1e9)));
        format!(", {:.0} an hour, {left} left", 3600.0 / each.max(1e-9))
    }
}

impl EnsembleObserver for EnsembleProgress {
    fn note(&mut self, message: &str) {
        self.line(message);
    }

    fn begin(&mut self, done: u64, total: u64, at_once: usize) {
        (self.before, self.total, self.begun) = (done, total, Instant::now());
        if done == total {
            self.line(&format!("nothing to train: the {} there", many_of(total, "copy is", "copies are")));
            return;
        }
        if done > 0 {
            self.line(&format!("going on: {done} of {} are there", many_of(total, "copy", "copies")));
        }
        if at_once > 1 {
            self.line(&format!("{at_once} copies at once"));
        }
    }

    fn trained(&mut self, trained: &MemberOutcome) {
        self.seen += 1;
        if let MemberOutcome::Refused(RefusedMember { model, reason }) = trained {
            // Told in any case: it is missing from all that follows.
            say!("copy {model} is refused: {reason}; the others are kept");
        }
        if self.before == self.total {
            return;
        }
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) || self.seen == self.total;
        if due {
            self.last_line = Some(Instant::now());
            self.line(&format!("copy {} of {}{}", self.seen, self.total, self.rate()));
        }
    }
}
