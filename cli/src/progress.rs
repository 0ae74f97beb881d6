//! Progress on standard error: a bar on a terminal, a plain line every few seconds elsewhere.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use gstore_core::{Progress, Unit};
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::stand_ins::by_their_names;
use crate::streams::say;
use crate::wording::in_flags;

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Stages shorter than this leave no line.
const QUICK: Duration = Duration::from_millis(500);

/// Progress of long work, as the user sees it.
pub struct Reporter {
    quiet: bool,
    terminal: bool,
    stage: Option<ProgressStage>,
    /// Notes so far. Each is printed once: a job that plans model after model repeats them for each.
    notes: HashSet<String>,
}

struct ProgressStage {
    name: String,
    unit: Unit,
    total: u64,
    done: u64,
    begun: Instant,
    last_line: Instant,
    /// `done` at the last line.
    told: u64,
    bar: Option<ProgressBar>,
}

impl Reporter {
    /// A reporter on standard error.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), stage: None, notes: HashSet::new() }
    }

    fn line(&self, text: &str) {
        match self.stage.as_ref().and_then(|s| s.bar.as_ref()) {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }
}

impl ProgressStage {
    /// Adds to what is done. A total that is exceeded was an estimate, such as the tokens of some rows by the
    /// mean of all rows: from then on it is unknown.
    fn add(&mut self, done: u64) {
        self.done += done;
        if self.done > self.total {
            self.total = 0;
            self.bar.iter().for_each(|bar| bar.set_length(self.done));
        }
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    fn plain(&self) -> String {
        // The time left follows the rate since the last line, as that of a bar follows recent steps: a vector
        // takes longer to link the larger a graph is.
        let recent = (self.done - self.told) as f64 / self.last_line.elapsed().as_secs_f64();
        let left = self.total.saturating_sub(self.done) as f64 / recent;
        let left = if self.total > 0 && left.is_finite() { time_left(left) } else { String::new() };
        let of = if self.total > 0 { format!("/{}", amount(self.total, self.unit)) } else { String::new() };
        let (done, name) = (amount(self.done, self.unit), &self.name);
        let word = word(self.unit, self.total.max(self.done));
        format!("{name}: {done}{of}{word} ({}{left})", speed(self.rate(), self.unit))
    }
}

impl Progress for Reporter {
    fn start(&mut self, stage: &str, total: u64, unit: Unit) {
        if self.quiet {
            return;
        }
        let bar = self.terminal.then(|| bar(stage, total, unit));
        let now = Instant::now();
        self.stage = Some(ProgressStage {
            name: stage.to_owned(),
            unit,
            total,
            done: 0,
            begun: now,
            last_line: now,
            told: 0,
            bar,
        });
    }

    fn advance(&mut self, done: u64) {
        let Some(stage) = &mut self.stage else { return };
        stage.add(done);
        match &stage.bar {
            Some(bar) => bar.inc(done),
            None if stage.last_line.elapsed() >= LINE_EVERY => {
                say!("{}", stage.plain());
                (stage.last_line, stage.told) = (Instant::now(), stage.done);
            }
            None => {}
        }
    }

    fn finish(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        if let Some(bar) = &stage.bar {
            bar.finish_and_clear();
        }
        // A stage that was over at once, or stopped before anything was done, needs no line.
        if stage.done == 0 || stage.begun.elapsed() < QUICK {
            return;
        }
        say!(
            "{}: {}{} in {:.1} s ({})",
            stage.name,
            amount(stage.done, stage.unit),
            word(stage.unit, stage.done),
            stage.begun.elapsed().as_secs_f64(),
            speed(stage.rate(), stage.unit)
        );
    }

    fn note(&mut self, message: &str) {
        if !self.quiet && self.notes.insert(message.to_owned()) {
            self.line(&noted(message));
        }
    }

    fn part(&mut self, name: &str) {
        if !self.quiet {
            self.line(&by_their_names(in_flags(name)));
        }
    }
}

/// What a job notes, as users see it: marked as a note, in the words of the command line.
fn noted(message: &str) -> String {
    format!("note: {}", by_their_names(in_flags(message)))
}

/// The unit after an amount; bytes include theirs.
fn word(unit: Unit, n: u64) -> &'static str {
    match (unit, n) {
        (Unit::Bytes, _) => "",
        (Unit::Tokens, 1) => " token",
        (Unit::Tokens, _) => " tokens",
        (Unit::Rows, 1) => " row",
        (Unit::Rows, _) => " rows",
        (Unit::Checkpoints, 1) => " checkpoint",
        (Unit::Checkpoints, _) => " checkpoints",
        (Unit::Matrices, 1) => " matrix",
        (Unit::Matrices, _) => " matrices",
    }
}

/// A number, bytes as KiB, MiB, GiB.
fn amount(n: u64, unit: Unit) -> String {
    if unit == Unit::Bytes { HumanBytes(n).to_string() } else { n.to_string() }
}

fn speed(per_second: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{}/s", amount(per_second as u64, unit)),
        _ => rate(per_second),
    }
}

/// Whole numbers a second, with one decimal below ten; of slow work, numbers a minute.
fn rate(per_second: f64) -> String {
    match per_second {
        slow if slow < 0.1 => format!("{:.1}/min", slow * 60.0),
        few if few < 10.0 => format!("{few:.1}/s"),
        many => format!("{}/s", HumanCount(many as u64)),
    }
}

fn bar(stage: &str, total: u64, unit: Unit) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let amounts = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
        unit => format!("{{human_pos}}/{{human_len}}{} {{rate}}", word(unit, total)),
    };
    let template = format!("{{msg}} {{wide_bar}} {amounts} {{eta}} left");
    // A template that indicatif refuses costs the looks of the bar, not the run.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&rate(state.per_sec()));
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_message(stage.to_owned());
    bar
}

/// A count of steps that says more than how many are done: a bar on a terminal, plain lines elsewhere.
pub struct Counter {
    quiet: bool,
    pub bar: Option<ProgressBar>,
    begun: Instant,
    pub last_line: Option<Instant>,
    /// Steps that were done before, and the total.
    pub first: u64,
    pub total: u64,
}

impl Counter {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: None, begun: Instant::now(), last_line: None, first: 0, total: 0 }
    }

    pub fn begin(&mut self, done: u64, total: u64) {
        (self.first, self.total, self.begun) = (done, total, Instant::now());
    }

    /// Shows a bar from now on, if on a terminal.
    pub fn draw(&mut self, template: &str) {
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(self.total).with_position(self.first);
        // A template that indicatif refuses costs the looks of the bar, not the run.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.reset_eta();
        self.bar = Some(bar);
    }

    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None if !self.quiet => say!("{text}"),
            None => {}
        }
    }

    pub fn note(&self, message: &str) {
        self.line(&noted(message));
    }

    /// Whether a plain line is due; if so, the caller must print it.
    pub fn line_due(&mut self, is_last: bool) -> bool {
        let due = is_last || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
    }

    /// An amount since the beginning, per second.
    pub fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    /// The time left, after a comma, once it can be estimated.
    pub fn left(&self, done: u64) -> String {
        match done.saturating_sub(self.first) {
            0 => String::new(),
            new => time_left(self.total.saturating_sub(done) as f64 / self.per_second(new)),
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn time_left(seconds: f64) -> String {
    format!(", {} left", time(seconds))
}

/// A duration for people to read: at most thirty years for an estimate without end, zero for none.
pub fn time(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_marked_in_one_place() {
        assert_eq!(noted("1 row has no text"), "note: 1 row has no text");
    }

    #[test]
    fn a_rate_has_no_digits_that_nobody_reads() {
        assert_eq!([0.04, 9.87, 13_946.212_7].map(rate), ["2.4/min", "9.9/s", "13,946/s"]);
    }

    #[test]
    fn a_total_that_is_passed_is_no_longer_told() {
        let now = Instant::now();
        let (name, unit) = ("ingest".to_owned(), Unit::Tokens);
        let mut stage =
            ProgressStage { name, unit, total: 100, done: 0, begun: now, last_line: now, told: 0, bar: None };
        stage.add(60);
        assert!(stage.plain().starts_with("ingest: 60/100 tokens ("), "{}", stage.plain());
        stage.add(60);
        let told = stage.plain();
        assert!(told.starts_with("ingest: 120 tokens (") && !told.contains("left"), "{told}");
    }

    #[test]
    fn what_is_left_goes_on_as_it_went_last() {
        let before = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let (begun, last_line) = (before(2_000), before(1_000));
        let (name, unit) = ("graph".to_owned(), Unit::Rows);
        let mut stage =
            ProgressStage { name, unit, total: 100, done: 70, begun, last_line, told: 70, bar: None };
        assert_eq!(stage.plain(), "graph: 70/100 rows (2.1/min)");
        stage.add(10);
        assert_eq!(stage.plain(), "graph: 80/100 rows (2.4/min, 33 minutes left)");
    }

    #[test]
    fn bytes_are_told_in_units_that_people_read() {
        assert_eq!(amount(5 << 20, Unit::Bytes), "5.00 MiB");
        assert_eq!(format!("{}{}", amount(12, Unit::Rows), word(Unit::Rows, 12)), "12 rows");
        assert_eq!(word(Unit::Checkpoints, 1), " checkpoint");
    }

    #[test]
    fn a_count_says_what_is_left_once_something_is_new() {
        let mut count = Counter::new(true);
        count.begin(3, 5);
        assert_eq!(count.left(3), "");
        assert!(count.left(4).starts_with(", ") && count.left(4).ends_with(" left"), "{}", count.left(4));
        assert!(count.line_due(false) && !count.line_due(false) && count.line_due(true));
    }
}
