//! The screen, behind a pager where a result is longer.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::context::Context;
use crate::streams::note_closed_pipe;

/// Where a result is shown: it is held back until it is known whether it fits.
pub struct Screen {
    to: ScreenTarget,
    held: Vec<u8>,
    lines: usize,
    /// Lines from which on a pager takes over; none: there is no pager.
    most: Option<usize>,
}

enum ScreenTarget {
    /// Not decided yet.
    Held,
    Stdout,
    Pager(Child),
    /// A pager that was left before the end.
    Left,
}

impl Screen {
    /// A screen that begins a pager where it is wanted, and where there is a terminal to scroll.
    pub fn new(pager: bool) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let rows = console::Term::stdout().size_checked().map(|(rows, _)| usize::from(rows));
        let most = rows.filter(|rows| pager && terminal && *rows > 2);
        Self { to: ScreenTarget::Held, held: Vec::new(), lines: 0, most: most.map(|rows| rows - 1) }
    }

    /// Whether a pager shows it.
    pub fn is_read(&self) -> bool {
        matches!(self.to, ScreenTarget::Pager(_))
    }

    /// Shows what is left and waits for the reader of a pager; how long that was.
    pub fn finish(self, context: &Context) -> Result<Duration> {
        if matches!(self.to, ScreenTarget::Held) {
            note_closed_pipe(std::io::stdout().write_all(&self.held))?;
        }
        note_closed_pipe(std::io::stdout().flush())?;
        let begun = Instant::now();
        let ScreenTarget::Pager(mut pager) = self.to else { return Ok(Duration::ZERO) };
        drop(pager.stdin.take());
        context.without_interrupts(|| pager.wait())?;
        Ok(begun.elapsed())
    }

    /// Begins the pager, or goes without one.
    fn begin(&mut self) -> std::io::Result<()> {
        self.to = self.most.and_then(|_| pager()).map_or(ScreenTarget::Stdout, ScreenTarget::Pager);
        let held = std::mem::take(&mut self.held);
        self.put(&held)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.to {
            ScreenTarget::Held => self.held.extend_from_slice(bytes),
            ScreenTarget::Stdout => note_closed_pipe(std::io::stdout().write_all(bytes))?,
            ScreenTarget::Pager(child) => {
                let written = child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes));
                match written {
                    // Who leaves the pager has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                        let _ = child.wait();
                        self.to = ScreenTarget::Left;
                    }
                    other => other?,
                }
            }
            ScreenTarget::Left => {}
        }
        Ok(())
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes)?;
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        if matches!(self.to, ScreenTarget::Held) && self.most.is_none_or(|most| self.lines > most) {
            self.begin()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.to {
            ScreenTarget::Stdout => note_closed_pipe(std::io::stdout().flush()),
            _ => Ok(()),
        }
    }
}

/// The pager of `GSTORE_PAGER` or `PAGER`, else `less` if there is one.
fn pager() -> Option<Child> {
    let named = |name| std::env::var(name).ok().filter(|pager: &String| !pager.trim().is_empty());
    let command = match named("GSTORE_PAGER").or_else(|| named("PAGER")) {
        Some(command) => command,
        None => {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path)
                .any(|folder| folder.join("less").is_file())
                .then(|| "less".to_owned())?
        }
    };
    let mut pager = Command::new("sh");
    pager.args(["-c", &command]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colours as they are, long lines in one line, the screen as it was.
        pager.env("LESS", "RSX");
    }
    pager.spawn().ok()
}
