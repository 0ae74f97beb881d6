//! Promise: every command explains itself, and completions know every command.

use std::process::Command;

const COMMANDS: [&str; 18] = [
    "demo",
    "add",
    "ingest",
    "generate",
    "run",
    "daunce",
    "import",
    "attach",
    "query",
    "select",
    "plot",
    "ls",
    "info",
    "snapshots",
    "verify",
    "serve",
    "token",
    "completions",
];

fn ok(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gstore")).args(args).output().expect("gstore runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_names_every_command() {
    let help = ok(&["--help"]);
    for command in COMMANDS {
        assert!(help.contains(command), "{command}");
        assert!(ok(&[command, "--help"]).contains("Usage: gstore"), "{command}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
