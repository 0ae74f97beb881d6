//! Progress reports of long work.

/// Receives the progress of a long run. Calls come from one thread at a time.
pub trait Progress {
    /// A stage begins. `total` is in `unit`s, 0 when it is not known.
    fn start(&mut self, stage: &str, total: u64, unit: Unit);
    /// `done` units more are finished.
    fn advance(&mut self, done: u64);
    /// The stage ended.
    fn finish(&mut self);
    /// Something the user should know, which is no error. Front ends say that it is a note.
    fn note(&mut self, message: &str);
    /// A part of the work begins that has stages of its own, such as one of several models.
    fn part(&mut self, name: &str) {
        self.note(name);
    }
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tokens that went through the model.
    Tokens,
    /// Rows.
    Rows,
    /// Bytes of files.
    Bytes,
    /// Checkpoints of a run.
    Checkpoints,
    /// Matrices that are decomposed.
    Matrices,
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: &str, _: u64, _: Unit) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

/// Progress of work that reports how much is done in all.
pub struct TotalProgress<'a, P: ?Sized> {
    progress: &'a mut P,
    stage: &'a str,
    unit: Unit,
    seen: Option<u64>,
}

impl<'a, P: Progress + ?Sized> TotalProgress<'a, P> {
    /// A stage that begins with its first report.
    pub fn new(progress: &'a mut P, stage: &'a str, unit: Unit) -> Self {
        Self { progress, stage, unit, seen: None }
    }

    /// `done` of `total` are done.
    pub fn at(&mut self, done: u64, total: u64) {
        if self.seen.is_none() {
            self.progress.start(self.stage, total, self.unit);
        }
        let seen = self.seen.unwrap_or_default();
        self.progress.advance(done.saturating_sub(seen));
        self.seen = Some(seen.max(done));
    }

    /// The stage is over.
    pub fn finish(self) {
        self.progress.finish();
    }
}
