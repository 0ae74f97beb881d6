//! Promise: every command explains itself, and completions know every command.

use std::process::Command;

const COMMANDS: [&str; 19] = [
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
    "view",
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
        assert!(script.contains("COMPLETE") && script.contains("gstore"), "{shell}: {script}");
        let mut ask = Command::new(env!("CARGO_BIN_EXE_gstore"));
        ask.args(["--", "gstore", ""]).env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "1");
        let output = ask.env("_CLAP_IFS", "\n").output().expect("gstore runs");
        let offered = String::from_utf8_lossy(&output.stdout);
        for command in COMMANDS {
            assert!(offered.contains(command), "{shell}: {command} in {offered}");
        }
    }
}
