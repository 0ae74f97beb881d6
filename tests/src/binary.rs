//! The real `gstore` binary, run as a user would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A command that runs `gstore` on a store.
pub fn gstore(store: &Path) -> Command {
    let mut command = Command::new(path());
    command.arg("--store").arg(store).env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG");
    command
}

/// A command that runs `gstore` in a folder, on no store.
pub fn bare(folder: &Path) -> Command {
    let mut command = Command::new(path());
    command.current_dir(folder).env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG");
    command
}

/// The binary of this build. `cargo test --workspace` builds it before any test runs, since
/// `gstore-cli` has tests of it too; `cargo test -p gstore-tests` runs the one that is there.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
        let path = profile.join(format!("gstore{}", std::env::consts::EXE_SUFFIX));
        assert!(
            path.is_file(),
            "{} is not built: `cargo build -p gstore-cli` does, as `cargo test --workspace` does by itself",
            path.display()
        );
        path
    })
}

/// An interpreter of Python that can do an import, or `None` after saying that the test is skipped.
///
/// # Panics
/// Where it has to be there, in CI.
pub fn python(import: &str) -> Option<String> {
    let python = std::env::var("GSTORE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if Command::new(&python).args(["-c", import]).output().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let missing =
        format!("{python} cannot {import}; set GSTORE_PYTHON to one with docs/python-requirements.txt");
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    None
}

/// What a finished command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// The command, where it was run here.
    command: String,
    /// Exit code, -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Checks how the command ended, and that it said all of this on standard error.
    #[track_caller]
    pub fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.command, self.stderr);
        self.has(&self.stderr, words)
    }

    /// The same, where the words may also be on standard output.
    #[track_caller]
    pub fn told(&self, code: i32, words: &[&str]) -> &Self {
        self.says(code, &[]).has(&format!("{}{}", self.stdout, self.stderr), words)
    }

    /// Checks that the command failed, whatever its code, and said all of this on standard error.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> &Self {
        assert_ne!(self.code, 0, "{}\n{}", self.command, self.stderr);
        self.has(&self.stderr, words)
    }

    /// Checks that the command said nothing of this on standard error.
    #[track_caller]
    pub fn lacks(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(!self.stderr.contains(word), "{}\n{word:?} in: {}", self.command, self.stderr);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{}\n{e}: {}{}", self.command, self.stdout, self.stderr))
    }

    #[track_caller]
    fn has(&self, text: &str, words: &[&str]) -> &Self {
        for word in words {
            assert!(text.contains(word), "{}\nno {word:?} in: {text}", self.command);
        }
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            command: String::new(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Finished {
    let output = command.output().expect("gstore runs");
    Finished { command: format!("{command:?}"), ..output.into() }
}

/// Runs a command that must succeed.
#[track_caller]
pub fn done(command: &mut Command) -> Finished {
    let finished = run(command);
    finished.says(0, &[]);
    finished
}

/// The same; returns its standard output.
#[track_caller]
pub fn ok(command: &mut Command) -> String {
    done(command).stdout
}

/// The same, as JSON.
#[track_caller]
pub fn json(command: &mut Command) -> Value {
    done(command).json()
}

/// Starts a command and discards its output.
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("gstore runs")
}

/// Sends Ctrl-C to a command; where that is ignored, as in the background of a script, SIGTERM in its place.
pub fn interrupt(child: &Child) {
    // SIGINT is signal 2.
    signal(child, if ignored_signals(child) & 0b10 == 0 { "INT" } else { "TERM" });
}

/// Signals that a command ignores: bit 0 is that of signal 1.
pub fn ignored_signals(child: &Child) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

/// Sends a signal to a command, by its name.
pub fn signal(child: &Child, name: &str) {
    let (name, id) = (format!("-{name}"), child.id().to_string());
    let sent = Command::new("kill").args([name, id]).status().expect("kill runs");
    assert!(sent.success());
}

/// Starts a command whose work needs a lock that is held here, and sends Ctrl-C after some seconds.
pub fn interrupted_at(lock: &Path, command: &mut Command, seconds: u64) -> Finished {
    let held =
        fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(lock).expect("opened");
    held.file().lock().expect("locked");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("gstore runs");
    std::thread::sleep(Duration::from_secs(seconds));
    interrupt(&child);
    // The handler runs in a separate thread.
    std::thread::sleep(Duration::from_millis(300));
    drop(held);
    let output = child.wait_with_output().expect("ends");
    Finished { command: format!("{command:?}"), ..output.into() }
}

/// Starts a command and kills it after a time; returns whether it was still running.
pub fn killed_after(command: &mut Command, time: Duration) -> bool {
    let mut child = start(command);
    std::thread::sleep(time);
    let at_work = child.try_wait().expect("a state").is_none();
    child.kill().expect("killed");
    child.wait().expect("gone");
    at_work
}

/// Starts a command and kills it once a condition holds; returns whether it was still running.
///
/// # Panics
/// If it neither ends nor meets the condition in ten minutes.
pub fn killed_once(command: &mut Command, is_so: impl Fn() -> bool) -> bool {
    let mut child = start(command);
    let begun = Instant::now();
    while !is_so() && child.try_wait().expect("a state").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(600), "{command:?} still runs after ten minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    !child.wait().expect("gone").success()
}
