//! A stage's process: what it says goes into its log and, as it comes, to standard error.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use gstore_core::Cancel;
use rustix::process::{Pid, Signal, kill_process};

use crate::context::STAGE;
use crate::pipeline::report;

/// Bytes that are looked at for what a stage said last, and of a summary: the journal has them all.
const LAST: u64 = 1 << 16;
const SUMMARY: u64 = 1 << 16;

/// Lines of an error and of what to do about it, and characters of each.
const LINES: usize = 4;
const CHARS: usize = 300;

/// How long a command that changes nothing may go on once it was told to stop: it may be reading a model, which
/// looks at nothing else for a minute.
const GRACE: Duration = Duration::from_secs(1);

pub struct ChildCommand<'a> {
    /// The words behind the program's name.
    pub argv: &'a [OsString],
    pub base: &'a Path,
    /// File for what it says; it is appended to.
    pub log: PathBuf,
    /// Length of that file before it begins.
    pub said_before: u64,
    /// File for what it prints.
    pub printed: PathBuf,
    /// Its standard input.
    pub lock: &'a File,
    /// Whether what it says is passed on.
    pub quiet: bool,
}

impl ChildCommand<'_> {
    /// Runs it to its end; where `cancel` is raised, it is told to stop. `started` gets its process.
    pub fn run(&self, cancel: &Cancel, started: impl FnOnce(u32) -> Result<()>) -> Result<ExitStatus> {
        self.run_until(cancel, None, started)
    }

    /// The same of a command that changes nothing: it is killed if it does not stop soon. The folder for its
    /// temporary files, which it cannot remove then, goes with it.
    pub fn run_dry(&self, cancel: &Cancel) -> Result<ExitStatus> {
        let temporary = tempfile::tempdir()?;
        self.run_until(cancel, Some(temporary.path()), |_| Ok(()))
    }

    /// `temporary`: the folder for the temporary files of a command that changes nothing.
    fn run_until(
        &self,
        cancel: &Cancel,
        temporary: Option<&Path>,
        started: impl FnOnce(u32) -> Result<()>,
    ) -> Result<ExitStatus> {
        let log = fs_err::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let printed = fs_err::File::create(&self.printed)?;
        let mut said = fs_err::File::open(&self.log)?;
        said.seek(SeekFrom::End(0))?;
        // Its own group: Ctrl-C on the terminal reaches this process alone, which tells the stage once.
        let mut child = Command::new(std::env::current_exe()?)
            .args(self.argv)
            .current_dir(self.base)
            .env_remove("GSTORE_STORE")
            // The words of a stage are all of it: what a config file adds would not be in the journal.
            .env("GSTORE_CONFIG", "")
            .env(STAGE, "1")
            .envs(temporary.map(|folder| ("TMPDIR", folder)))
            .stdin(Stdio::from(self.lock.try_clone()?))
            .stdout(Stdio::from(printed.into_file()))
            .stderr(Stdio::from(log.into_file()))
            .process_group(0)
            .spawn()?;
        let grace = temporary.map(|_| GRACE);
        let ended = started(child.id()).and_then(|()| self.wait(&mut child, &mut said, (cancel, grace)));
        if ended.is_err() {
            // The stage must not go on without anyone who notes its end.
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }

    fn wait(
        &self,
        child: &mut Child,
        said: &mut impl Read,
        (cancel, grace): (&Cancel, Option<Duration>),
    ) -> Result<ExitStatus> {
        let mut told: Option<Instant> = None;
        loop {
            let ended = child.try_wait()?;
            let mut bytes = Vec::new();
            said.read_to_end(&mut bytes)?;
            if !self.quiet {
                // Without a reader of messages the work goes on.
                let _ = std::io::stderr().write_all(&bytes);
            }
            if let Some(status) = ended {
                return Ok(status);
            }
            match told {
                None if cancel.is_raised() => {
                    let _ = kill_process(Pid::from_child(child), Signal::TERM);
                    told = Some(Instant::now());
                }
                Some(told) if grace.is_some_and(|grace| told.elapsed() > grace) => child.kill()?,
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// What it printed, if that is one JSON value.
    pub fn summary(&self) -> Result<Option<serde_json::Value>> {
        let file = fs_err::File::open(&self.printed)?;
        if file.metadata()?.len() > SUMMARY {
            return Ok(None);
        }
        Ok(serde_json::from_reader(std::io::BufReader::new(file)).ok())
    }

    /// Its error, with what to do about it, if it told one; else the last line that it said.
    pub fn said(&self) -> Result<Option<String>> {
        let mut file = fs_err::File::open(&self.log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LAST).max(self.said_before)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(error_of(&String::from_utf8_lossy(&bytes)))
    }
}

/// The error of what a command said, with what to do about it, if there is one; else the last line.
fn error_of(said: &str) -> Option<String> {
    let is_said = |line: &&str| !line.trim().is_empty() && !line.starts_with("# gstore ");
    let lines: Vec<&str> = said.lines().filter(is_said).collect();
    let error = lines.iter().rposition(|line| line.starts_with("error: "));
    let from = error.or(lines.len().checked_sub(1))?;
    // What follows on a wrong command line is no hint.
    let lines = lines[from..].iter().take_while(|line| !line.starts_with("Usage:")).take(LINES);
    // A line may end as the clause that it is.
    let lines = lines.map(|line| line.trim().trim_end_matches([';', ',']).chars().take(CHARS).collect());
    Some(lines.collect::<Vec<String>>().join("; "))
}

/// A line in the log above what a command of these words says.
pub fn header(log: &Path, began: u64, argv: &[OsString]) -> Result<()> {
    let words: Vec<String> = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
    let words = words.join(" ");
    match began {
        0 => writeln!(file, "# gstore {words}")?,
        began => writeln!(file, "# gstore {words} ({})", report::date(began))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_said_is_of_this_run_and_begins_with_its_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, printed) = (dir.path().join("log"), dir.path().join("out"));
        fs_err::write(&log, "of the run before\n# gstore ls\n").expect("written");
        let lock = tempfile::tempfile().expect("a file");
        let said_before = fs_err::metadata(&log).expect("there").len();
        let task = ChildCommand {
            argv: &[],
            base: dir.path(),
            log: log.clone(),
            said_before,
            printed: printed.clone(),
            lock: &lock,
            quiet: true,
        };
        assert_eq!(task.said().expect("readable"), None);
        fs_err::write(&log, "of the run before\n# gstore ls\nnow\n\n").expect("written");
        let said = || task.said().expect("readable");
        assert_eq!(said().as_deref(), Some("now"));
        for (text, expected) in [
            ("error: no\n  try another\n", "error: no; try another"),
            ("error: no\n\n  tip: --a\n\nUsage: gstore a\n\nFor more information\n", "error: no; tip: --a"),
            ("error: a;\n  or b;\n  or c\n", "error: a; or b; or c"),
            ("error: one\nerror: two\nthe same command goes on\n", "error: two; the same command goes on"),
        ] {
            fs_err::write(&log, format!("of the run before\n# gstore ls\nnow\n{text}")).expect("written");
            assert_eq!(said().as_deref(), Some(expected));
        }
        fs_err::write(&printed, format!("\"{}\"", "x".repeat(1 << 16))).expect("written");
        assert_eq!(task.summary().expect("readable"), None);
    }
}
