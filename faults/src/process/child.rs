//! Child processes, and their handles in the parent.

use super::Bench;
use super::vfs::{Fault, faulty};
use crate::work::{Context, Plan};
use crate::{Failure, Random};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A message of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It begins a step.
    Begin(usize),
    /// A step is acknowledged.
    Done(usize),
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    lines: Receiver<Line>,
    /// Steps acknowledged so far.
    pub acknowledged: usize,
    /// The step that it began last.
    pub begun: Option<usize>,
}

/// How a child ended.
#[derive(Debug)]
pub struct End {
    /// Whether it finished by itself.
    pub finished: bool,
    /// The end of its error output.
    pub error: Option<String>,
}

impl Child {
    /// Continues a workload; with `die`, it kills itself at that change of the medium.
    pub fn start(program: &Path, bench: &Bench, die: Option<u64>) -> Result<Child, Failure> {
        let mut command = Command::new(program);
        command.arg("child").arg("--dir").arg(&bench.path);
        let (seed, steps, from) = (bench.plan.seed, bench.length as u64, bench.acknowledged);
        for (name, value) in [("--seed", seed), ("--steps", steps), ("--from", from as u64)] {
            command.arg(name).arg(value.to_string());
        }
        if let Some(die) = die {
            command.arg("--die-at").arg(die.to_string());
        }
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = process.stdout.take().ok_or("no output of the child")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let parsed = line.split_once(' ').and_then(|(word, n)| match (word, n.parse().ok()?) {
                    ("begin", n) => Some(Line::Begin(n)),
                    ("done", n) => Some(Line::Done(n)),
                    _ => None,
                });
                if parsed.is_none_or(|l| send.send(l).is_err()) {
                    break;
                }
            }
        });
        Ok(Child { process, lines, acknowledged: from, begun: None })
    }

    /// Waits until it begins a step, until a time has passed, or until it is gone.
    pub fn wait_for(&mut self, step: usize, most: Duration) {
        let end = Instant::now() + most;
        while self.begun.is_none_or(|b| b < step) {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn note(&mut self, line: Line) {
        match line {
            Line::Begin(step) => self.begun = Some(step),
            Line::Done(step) => self.acknowledged = self.acknowledged.max(step + 1),
        }
    }

    /// Kills it, if it is still alive, and reads its remaining messages.
    pub fn kill(&mut self) -> Result<End, Failure> {
        let _ = self.process.kill();
        let status = self.process.wait()?;
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.note(line);
        }
        let mut error = String::new();
        if let Some(mut err) = self.process.stderr.take() {
            let _ = err.read_to_string(&mut error);
        }
        let error = (!error.trim().is_empty()).then(|| error.trim().to_owned());
        Ok(End { finished: status.success(), error })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child's work.
pub fn main(path: &Path, seed: u64, length: usize, from: usize, die: Option<u64>) -> Result<(), Failure> {
    let plan = Plan::new(seed, length);
    let fault = die.map(|at| Fault::Die { at, after: Random::of(&[seed, at]).chance(50) });
    let mut context = Context::new(faulty(fault), path);
    for (i, step) in plan.steps.iter().enumerate().skip(from) {
        println!("begin {i}");
        step.run(&mut context).map_err(|e| crate::check::in_step(i, step, &e))?;
        println!("done {i}");
    }
    Ok(())
}
