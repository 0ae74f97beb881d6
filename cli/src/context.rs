//! Context of a command: the store, the threads, cancellation.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow, bail};
use gstore::JobContext;
use gstore_core::{Cancel, first_of, keep_ignored_signals, locked, no_thread};
use gstore_store::{Checks, Lease, Snapshot, SnapshotName, Store};
use rustix::fs::{Access, access};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::args::{Common, StateArgs};
use crate::failure::{STOPPED, UsageError};
use crate::new_store::{NewStore, is_store, refuse_inside};
use crate::progress::Reporter;
use crate::streams::say;
use crate::wording::shell_word;

/// Variable that is set for the stages of a pipeline.
pub const STAGE: &str = "GSTORE_STAGE";

/// Entries of a folder that are looked at for stores.
const LOOKED_AT: usize = 1000;
/// Stores that are named.
const NAMED: usize = 10;

/// Common options, as objects.
pub struct Context {
    store: Option<PathBuf>,
    /// Whether the store is that of the environment, not of the command line.
    store_of_environment: bool,
    pub threads: usize,
    /// Whether their number was given.
    pub threads_given: bool,
    /// Say nothing but results and errors.
    pub quiet: bool,
    /// The command line as the history of the store shows it.
    pub command: String,
    interrupt: Interrupt,
}

/// What Ctrl-C (or SIGTERM, or SIGHUP) raises, and what it says then.
#[derive(Clone, Default)]
struct Interrupt {
    raised: Arc<Cancel>,
    /// None while the command does nothing that could be stopped in its own way: a signal ends the process.
    message: Arc<Mutex<Option<&'static str>>>,
    /// Whether Ctrl-C is meant for another program in the terminal.
    elsewhere: Arc<AtomicBool>,
    /// While the terminal is asked for a line: how the terminal was before.
    before: Arc<Mutex<Option<Termios>>>,
}

impl Context {
    /// Reads the common options, and handles signals from here on. `store_of_environment` says where the
    /// store's comes from.
    pub fn new(common: Common, store_of_environment: bool) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Ok(Self {
            store: common.store,
            store_of_environment,
            threads_given: common.threads.is_some(),
            threads: common.threads.map_or(cores, std::num::NonZeroUsize::get),
            quiet: common.quiet,
            command: command_line(),
            interrupt: Interrupt::installed()?,
        })
    }

    /// The folder of the store, if one was named.
    pub fn named_store(&self) -> Option<&Path> {
        self.store.as_deref()
    }

    pub fn store_path(&self) -> Result<&Path> {
        Ok(self.named_store().ok_or_else(|| UsageError(which_store()))?)
    }

    /// The end of a command that a message proposes: the store as it was named, so that a shell takes the
    /// command as it stands. Nothing where the environment names it, which is there for the next command too.
    pub fn at_store(&self) -> String {
        match self.named_store().filter(|_| !self.store_of_environment) {
            Some(store) => format!(" --store {}", shell_word(store)),
            None => String::new(),
        }
    }

    /// The store, which must exist.
    pub fn open(&self) -> Result<Store> {
        Ok(Store::open(self.store_path()?)?)
    }

    /// The store; an empty or missing folder becomes one.
    pub fn open_or_create(&self) -> Result<Store> {
        let place = self.store_path()?;
        refuse_inside(place)?;
        Ok(Store::open_or_create(place)?)
    }

    /// The store, if one was named and there is one in its folder.
    pub fn open_if_there(&self) -> Result<Option<Store>> {
        let Some(path) = self.named_store() else { return Ok(None) };
        Ok(Store::open_if_there(path)?)
    }

    /// The store of a training: it has to be there where something of it `is_read`. One that is not there is
    /// made when there is something to keep in it, so that a training which is refused leaves none.
    pub fn open_for_training(&self, is_read: bool) -> Result<Option<Store>> {
        match is_read {
            true => Ok(Some(self.open()?)),
            false => self.open_if_there(),
        }
    }

    /// Refuses a place that no store can be made at, where one is named and none was `found`: before the
    /// training.
    pub fn check_place(&self, found: Option<&Store>) -> Result<()> {
        match self.named_store() {
            Some(place) if found.is_none() => NewStore::check(place),
            _ => Ok(()),
        }
    }

    /// Whether there is a store, and a run of this name in it.
    pub fn has_run(&self, name: &str) -> Result<bool> {
        let Some(store) = self.open_if_there()? else { return Ok(false) };
        Ok(store.snapshot()?.run(name).is_ok())
    }

    /// Refuses a store that cannot be written, before work whose result would have no place; with `may_make`
    /// also one that cannot be made.
    pub fn check_writable(&self, may_make: bool) -> Result<()> {
        let Some(path) = self.named_store() else { return Ok(()) };
        if may_make {
            refuse_inside(path)?;
        }
        let shown = path.display();
        if path.exists() {
            // What is no store has an error of its own.
            if let Some(why) = unwritable(path)
                && Store::open(path).is_ok()
            {
                bail!("the store {shown} cannot be written: {why}");
            }
            return Ok(());
        }
        let Ok(path) = std::path::absolute(path) else { return Ok(()) };
        let folder = path.ancestors().find(|folder| folder.exists()).filter(|_| may_make);
        if let Some((folder, why)) = folder.and_then(|folder| Some((folder, unwritable(folder)?))) {
            bail!("the store {shown} cannot be made: {} cannot be written: {why}", folder.display());
        }
        Ok(())
    }

    /// The snapshot that a command reads, held against `gstore gc` as long as the second value lives. On a
    /// medium that cannot be written to there is nothing to hold, and no process that could collect.
    pub fn snapshot(
        &self,
        store: &Store,
        name: Option<&SnapshotName>,
    ) -> Result<(Arc<Snapshot>, Option<Lease>)> {
        Ok(store.snapshot_leased(name, &self.command)?)
    }

    /// The same of the store, which must exist.
    pub fn open_at(&self, name: Option<&SnapshotName>) -> Result<(Arc<Snapshot>, Option<Lease>)> {
        self.snapshot(&self.open()?, name)
    }

    /// The same of a state whose vectors are read.
    pub fn state(&self, store: &Store, args: &StateArgs) -> Result<(Arc<Snapshot>, Option<Lease>)> {
        let (snapshot, lease) = self.snapshot(store, args.snapshot.as_ref())?;
        let snapshot = match args.checks {
            Checks::FirstTouch => snapshot,
            Checks::Off => Arc::new(snapshot.with_checks(args.checks)),
        };
        Ok((snapshot, lease))
    }

    /// Progress on standard error.
    pub fn reporter(&self) -> Reporter {
        Reporter::new(self.quiet)
    }

    /// How a job of this command is done.
    pub fn work<'a>(&'a self, reporter: &'a mut Reporter, cancel: &'a Cancel) -> JobContext<'a> {
        JobContext { threads: self.threads, command: &self.command, progress: reporter, cancel }
    }

    /// A line for people, on standard error.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            say!("{text}");
        }
    }

    /// Raised by the first Ctrl-C from here on, which then says what happens; the second ends the process at
    /// once. A command of several stages asks again at each: the flag stays the same, the message is the
    /// stage's. An empty one is not said.
    pub fn cancel_on_interrupt(&self, message: &'static str) -> Arc<Cancel> {
        *locked(&self.interrupt.message) = Some(message);
        Arc::clone(&self.interrupt.raised)
    }

    /// Asks the terminal for a line. Ctrl-C is a key of the line editor, so a signal is one from outside: it
    /// ends the process at once, as nothing runs that could be stopped.
    pub fn at_prompt<T>(&self, ask: impl FnOnce() -> T) -> T {
        let set = |terminal: Option<Termios>| *locked(&self.interrupt.before) = terminal;
        set(tcgetattr(std::io::stdin()).ok());
        let line = ask();
        set(None);
        line
    }

    /// Does work during which Ctrl-C is a key of another program in the terminal, such as a pager, and stops
    /// nothing here.
    pub fn without_interrupts<T>(&self, work: impl FnOnce() -> T) -> T {
        let set = |elsewhere: bool| self.interrupt.elsewhere.store(elsewhere, Ordering::Relaxed);
        set(true);
        let done = work();
        set(false);
        done
    }
}

impl Interrupt {
    /// Takes the signals, of which those stay ignored that the process was started to ignore.
    fn installed() -> Result<Self> {
        let interrupt = Self::default();
        let own = interrupt.clone();
        keep_ignored_signals(|| ctrlc::set_handler(move || own.answer())).map_err(|error| match error {
            ctrlc::Error::System(error) => anyhow!("signals cannot be handled: {}", no_thread(&error)),
            error => anyhow!("signals cannot be handled: {error}"),
        })?;
        Ok(interrupt)
    }

    /// What is done at a signal, in a thread of its own.
    fn answer(&self) {
        if self.elsewhere.load(Ordering::Relaxed) {
            return;
        }
        let left = locked(&self.before).as_ref().is_some_and(left_editor);
        let message = *locked(&self.message);
        let Some(message) = message.filter(|_| !left && !self.raised.is_raised()) else {
            std::process::exit(STOPPED.into());
        };
        self.raised.raise();
        if !message.is_empty() {
            say!("\n{message}");
        }
    }
}

/// Takes the terminal back from a line editor; whether one had it. Where Ctrl-C is still a signal, it may
/// have been meant for the statement that ended just now.
fn left_editor(before: &Termios) -> bool {
    let terminal = std::io::stdin();
    if tcgetattr(&terminal).is_ok_and(|now| now.local_modes.contains(LocalModes::ISIG)) {
        return false;
    }
    // The terminal may be gone, which a hang-up says. The second turns off the marks around what is pasted.
    let _ = tcsetattr(&terminal, OptionalActions::Now, before);
    let _ = rustix::io::write(std::io::stdout(), b"\x1b[?2004l\n");
    true
}

/// Why nothing can be made in a folder, if it is one and that is known.
pub fn unwritable(folder: &Path) -> Option<String> {
    let error = access(folder, Access::WRITE_OK | Access::EXEC_OK).err().filter(|_| folder.is_dir())?;
    let error = std::io::Error::from(error);
    Some(match error.kind() {
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        // Then the command finds out, and says what fails.
        _ => return None,
    })
}

/// The command line as the history of the store shows it: a shell takes it as it stands.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| shell_word(&word));
    words.fold("gstore".to_owned(), |line, word| line + " " + &word)
}

/// Asks for the store, and names those that are in the working folder, backups last.
fn which_store() -> String {
    let entries = fs_err::read_dir(".").into_iter().flatten().take(LOOKED_AT).flatten();
    let stores = entries.map(|entry| PathBuf::from(entry.file_name())).filter(|path| is_store(path));
    let mut stores: Vec<(bool, PathBuf)> =
        stores.map(|path| (path.join("backup.json").is_file(), path)).collect();
    stores.sort_unstable();
    let names = stores.iter().map(|(is_backup, path)| {
        format!("{}{}", path.display(), if *is_backup { " (a backup)" } else { "" })
    });
    let names = first_of(names, NAMED);
    let here = match stores.len() {
        0 => String::new(),
        1 => format!("; there is {names} here"),
        _ => format!("; there are {names} here"),
    };
    format!("which store? give --store DIR or set GSTORE_STORE{here}")
}
