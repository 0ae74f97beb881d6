//! Progress of an ensemble: a line for each copy that is complete, with its rate.

use gstore_core::many_of;
use gstore_train::daunce::{EnsembleObserver, MemberOutcome, RefusedMember};

use crate::progress::Counter;
use crate::streams::say;

pub struct EnsembleProgress {
    count: Counter,
    /// Copies so far, with those that were there before.
    seen: u64,
}

impl EnsembleProgress {
    pub fn new(quiet: bool) -> Self {
        Self { count: Counter::new(quiet), seen: 0 }
    }

    /// How many an hour, and how long the rest will take.
    fn rate(&self) -> String {
        match self.seen.saturating_sub(self.count.first) {
            0 => String::new(),
            trained => {
                let an_hour = 3600.0 * self.count.per_second(trained);
                format!(", {an_hour:.0} an hour{}", self.count.left(self.seen))
            }
        }
    }
}

impl EnsembleObserver for EnsembleProgress {
    fn note(&mut self, message: &str) {
        self.count.note(message);
    }

    fn begin(&mut self, done: u64, total: u64, at_once: usize) {
        self.count.begin(done, total);
        if done == total {
            self.count
                .line(&format!("nothing to train: {} complete", many_of(total, "copy is", "copies are")));
            return;
        }
        if done > 0 {
            self.count
                .line(&format!("continuing: {done} of {} are complete", many_of(total, "copy", "copies")));
        }
        if at_once > 1 {
            self.count.line(&format!("{at_once} copies at once"));
        }
    }

    fn trained(&mut self, trained: &MemberOutcome) {
        self.seen += 1;
        if let MemberOutcome::Refused(RefusedMember { model, reason }) = trained {
            // Told in any case: it is missing from all that follows.
            say!("copy {model} is refused: {reason}; the others are kept");
        }
        let Counter { first, total, .. } = self.count;
        if first < total && self.count.line_due(self.seen == total) {
            self.count.line(&format!("copy {} of {total}{}", self.seen, self.rate()));
        }
    }
}
