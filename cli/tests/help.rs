//! Promise: every command explains itself, and completions know every command.

use std::process::Command;

fn ok(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gstore")).args(args).output().expect("gstore runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = ok(&["--help"]);
    let (_, listed) = help.split_once("\nCommands:\n").expect("a list of commands");
    let listed = listed.split("\n\n").next().unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    // What goes on from the line above begins further right.
    let names = names.filter(|name| !name.is_empty() && *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn every_command_explains_itself() {
    let commands = commands();
    assert!(commands.len() > 30 && commands.contains(&"completions".to_owned()), "{commands:?}");
    for command in &commands {
        assert!(ok(&[command, "--help"]).contains(&format!("Usage: gstore {command}")), "{command}");
    }
}

#[test]
fn help_lists_the_options_of_its_command_alone() {
    for (command, has, lacks) in [
        (&["demo"][..], "sjlt", &["ekfac"][..]),
        (&["ask"], "--within", &["--method", "--ensemble", "--signal", "--min-models"]),
        (&["plot", "tokens"], "--within", &["--method", "--ensemble", "--signal", "--min-models"]),
        (&["plot", "scores"], "--ensemble", &[]),
        (&["evaluate", "text"], "--against", &["--random"]),
        (&["train"], "the maps of attention]", &["daunce train"]),
        (&["daunce", "prepare"], "[default: all-linear]", &["the maps of attention"]),
        (&["ingest"], "devices]", &["longer are refused"]),
        (&["generate"], "Prompts that are longer are refused", &[]),
        (&["evaluate", "tasks"], "without examples are refused", &["--block"]),
        (&["factors", "fit"], "--max-length", &["--block"]),
        (&["daunce", "losses"], "--max-length", &["--block"]),
        (&["score"], "--max-length", &["--block"]),
    ] {
        let help = ok(&[command, &["--help"]].concat());
        let listed: Vec<_> = lacks.iter().filter(|word| help.contains(**word)).collect();
        assert!(help.contains(has) && listed.is_empty(), "{command:?}: {listed:?} in {help}");
    }
}

#[test]
fn completions_know_every_command() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completions", shell]);
        assert!(script.contains("COMPLETE") && script.contains("gstore"), "{shell}: {script}");
        let mut ask = Command::new(env!("CARGO_BIN_EXE_gstore"));
        ask.args(["--", "gstore", ""]).env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "1");
        let output = ask.env("_CLAP_IFS", "\n").output().expect("gstore runs");
        let offered = String::from_utf8_lossy(&output.stdout);
        for command in &commands {
            assert!(offered.contains(command.as_str()), "{shell}: {command} in {offered}");
        }
    }
}
