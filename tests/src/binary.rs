//! The real `gstore` binary, run as a user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A command that runs `gstore` on a store.
///
/// # Panics
/// If the binary cannot be built.
pub fn gstore(store: &Path) -> Command {
    let mut command = Command::new(path());
    command.arg("--store").arg(store).env_remove("GSTORE_STORE");
    command
}

/// The binary of this build; built first if the test run has not done so.
///
/// # Panics
/// If it cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // The whole workspace is named so that the features, and with them the compiled dependencies, are those of the test run.
        cargo.args(["build", "--workspace", "--bin", "gstore", "--message-format=json", "--quiet"]);
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
            .next_back()
            .expect("cargo names the binary")
    })
}

/// What a finished command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code, -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run(command: &mut Command) -> Finished {
    command.output().expect("gstore runs").into()
}

/// Runs a command that must succeed; returns its standard output.
///
/// # Panics
/// If it fails.
pub fn ok(command: &mut Command) -> String {
    let finished = run(command);
    assert_eq!(finished.code, 0, "{command:?}\n{}", finished.stderr);
    finished.stdout
}
