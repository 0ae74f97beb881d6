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
    command.arg("--store").arg(store).env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG");
    command
}

/// The binary of this build. `cargo test --workspace` builds it before any test runs, since
/// `gstore-cli` has tests of it too.
///
/// # Panics
/// If it is not there.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
        let path = profile.join(format!("gstore{}", std::env::consts::EXE_SUFFIX));
        assert!(
            path.is_file(),
            "{} is not built; run the tests with `cargo test --workspace`",
            path.display()
        );
        path
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
