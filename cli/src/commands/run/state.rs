//! The folder that a pipeline keeps: journal, logs, report, and two locks.
//!
//! Invariants
//! - one process at a time runs a pipeline: it holds `lock`
//! - a stage has `stage.lock` as its standard input, and so holds it for as long as it lives, also when the
//!   process that started it was killed

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use gstore_core::Cancel;
use rustix::process::{Pid, Signal, kill_process};

use crate::context::Context;
use crate::output::path_beside;
use crate::pipeline::{Journal, StageState};

#[derive(Debug, Clone)]
pub struct StateFolder(PathBuf);

/// The locks of a run, released when they are dropped.
#[derive(Debug)]
pub struct RunLocks {
    _run: File,
    /// What stages get as their standard input; nothing is in it.
    pub stage: File,
}

impl StateFolder {
    /// `NAME.state` for `NAME.toml`.
    pub fn of(pipeline: &Path) -> Self {
        Self(path_beside(&pipeline.with_extension(""), ".state"))
    }

    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.json")
    }

    /// What a stage says.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.0.join("logs").join(format!("{stage}.log"))
    }

    /// What a stage prints.
    pub fn printed(&self, stage: &str) -> PathBuf {
        self.0.join("logs").join(format!("{stage}.out"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, and takes the locks once no stage of a killed run is at work any more; none if it
    /// was told to stop before.
    pub fn lock(&self, context: &Context, cancel: &Cancel) -> Result<Option<RunLocks>> {
        fs_err::create_dir_all(self.0.join("logs"))?;
        let run = self.open("lock")?;
        match run.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another process runs this pipeline; {} is locked", self.0.join("lock").display())
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let stage = self.open("stage.lock")?;
        let mut told = false;
        loop {
            match stage.try_lock() {
                Ok(()) => return Ok(Some(RunLocks { _run: run, stage })),
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                self.stop_orphan(context)?;
                told = true;
            }
            if cancel.is_raised() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Tells the stage of a run that was killed to stop. It holds its lock, so the process that the journal
    /// names is still that stage: a run that begins takes all others out.
    fn stop_orphan(&self, context: &Context) -> Result<()> {
        let journal = Journal::read(&self.journal())?;
        let mut running = journal.stages.iter().filter(|(_, record)| record.state == StageState::Running);
        let process = |number: u32| Pid::from_raw(i32::try_from(number).ok()?);
        let orphan = running.find_map(|(name, record)| Some((name, process(record.process?)?)));
        let Some((name, process)) = orphan else {
            context.say("waiting for a stage of a killed run to end");
            return Ok(());
        };
        context.say(&format!("stage {name} of a killed run is still running; stopping it"));
        if let Err(error) = kill_process(process, Signal::TERM) {
            context.say(&format!("it could not be signalled: {}", std::io::Error::from(error)));
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<File> {
        let mut options = fs_err::OpenOptions::new();
        Ok(options.create(true).truncate(false).read(true).write(true).open(self.0.join(name))?.into_file())
    }
}
