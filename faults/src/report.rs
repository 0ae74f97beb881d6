//! Reports of runs, for people and for programs.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one kind of run found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The kind.
    pub name: String,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// The counts.
    pub counts: BTreeMap<String, u64>,
    /// Anomalies, each with what is needed to reproduce it.
    pub anomalies: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    #[serde(skip)]
    start: Option<Instant>,
}

/// Anomalies that are kept; all of them are counted.
const KEPT: usize = 50;

impl Report {
    /// An empty report; the clock starts now.
    pub fn new(name: &str) -> Self {
        Report {
            name: name.to_owned(),
            skipped: None,
            counts: BTreeMap::new(),
            anomalies: Vec::new(),
            seconds: 0.0,
            start: Some(Instant::now()),
        }
    }

    /// A report that says why the run was skipped.
    pub fn skipped(name: &str, why: impl Into<String>) -> Self {
        Report { skipped: Some(why.into()), ..Report::new(name) }
    }

    /// Counts something.
    pub fn count(&mut self, what: &str, n: u64) {
        *self.counts.entry(what.to_owned()).or_default() += n;
    }

    /// Adds an anomaly.
    pub fn anomaly(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("{}: ANOMALY {text}", self.name);
        self.count("anomalies", 1);
        if self.anomalies.len() < KEPT {
            self.anomalies.push(text);
        }
    }

    /// Adds the findings of another thread.
    pub fn merge(&mut self, other: Report) {
        for (what, n) in other.counts {
            self.count(&what, n);
        }
        self.anomalies.extend(other.anomalies);
        self.anomalies.truncate(KEPT);
    }

    /// Ends it; the clock stops.
    pub fn finish(mut self) -> Self {
        self.counts.entry("anomalies".into()).or_default();
        self.seconds = self.start.map_or(0.0, |s| s.elapsed().as_secs_f64());
        self
    }

    /// Whether there are no anomalies.
    pub fn is_good(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// One line.
    pub fn line(&self) -> String {
        if let Some(why) = &self.skipped {
            return format!("{}: skipped, {why}", self.name);
        }
        let counts: Vec<String> = self.counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
        format!("{}: {} in {:.1} s", self.name, counts.join(", "), self.seconds)
    }
}

static STOPPED: AtomicBool = AtomicBool::new(false);

/// When a run ends before its work is done.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    end: Option<Instant>,
}

impl Stop {
    /// After this long; never for `None`.
    pub fn after(time: Option<Duration>) -> Self {
        Stop { end: time.and_then(|t| Instant::now().checked_add(t)) }
    }

    /// Whether the time is up or the program was interrupted.
    pub fn now(&self) -> bool {
        Self::interrupted() || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Whether the program was interrupted.
    pub fn interrupted() -> bool {
        STOPPED.load(Ordering::SeqCst)
    }

    /// Interrupts the program: runs end after their current work.
    pub fn interrupt() {
        STOPPED.store(true, Ordering::SeqCst);
    }
}
