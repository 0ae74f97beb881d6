//! Missing options of a command line, each with its explanation.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, Command};
use gstore_core::wrapped;

use super::elsewhere::named_command;

/// Widest line of an explanation.
const WIDEST: usize = 100;

/// What stands before an explanation.
const INDENT: &str = "      ";

/// What the help of a model says that a run can stand for.
const OF_RUN: &str = "that of --run";

/// What may be given instead of an option, by the name of its command: clap lists the option alone.
const ALTERNATIVES: &[(&[&str], &str, &str)] = &[
    (&["train", "text"], "--data", "--dataset NAME"),
    (&["train"], "--models", "--until agreement=X"),
    (&["lds", "loo", "brittleness"], "--truth", "--ensemble NAME, or --subsets FILE with --outputs FILE"),
    (&["gram"], "--dataset", "--extend or --mix"),
    (&["apply"], "--output", "--predictions FILE"),
    (&["select"], "--output", "--estimate"),
    (&["import"], "<MANIFEST>", "--losses FILE with --dataset NAME"),
];

/// The error about options that are missing, with the help of each, and with the names of the `runs` where
/// one of them would do; `None` for another error.
pub fn explained_missing(
    root: &Command,
    argv: &[OsString],
    error: &clap::Error,
    runs: &dyn Fn() -> Vec<String>,
) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let command = named_command(root, argv.iter().skip(1).filter_map(|word| word.to_str()));
    let mut text = String::new();
    for line in error.to_string().lines() {
        // clap lists it where the environment gives it, as if the command lacked it.
        text.push_str(&line.replace(" --store <DIR>", ""));
        if let Some(other) = alternative(command.get_name(), line) {
            text.push_str(&format!(" (or {other})"));
        }
        text.push('\n');
        let help = line.strip_prefix("  ").and_then(|name| find_argument(root, command, name)?.get_help());
        let mut help = help.map(ToString::to_string).unwrap_or_default();
        let known = if help.contains(OF_RUN) { runs() } else { Vec::new() };
        if !known.is_empty() {
            help.push_str(&format!("; the store has --run {}", known.join(", --run ")));
        }
        let fits = |line: &str| INDENT.len() + line.chars().count() <= WIDEST;
        for line in wrapped(help.split_whitespace(), fits) {
            text.push_str(&format!("{INDENT}{line}\n"));
        }
    }
    Some(text)
}

/// What may be given instead of the option that a line of clap's list names.
fn alternative(command: &str, line: &str) -> Option<&'static str> {
    let name = line.strip_prefix("  ")?.split([' ', '=']).next()?;
    let found = ALTERNATIVES.iter().find(|(of, option, _)| of.contains(&command) && *option == name);
    found.map(|(.., other)| *other)
}

/// The option or argument that is written so in a usage.
fn find_argument<'a>(root: &'a Command, command: &'a Command, name: &str) -> Option<&'a Arg> {
    let mut all = command.get_arguments().chain(root.get_arguments());
    match name.strip_prefix("--") {
        Some(long) => {
            let long = long.split([' ', '=']).next();
            all.find(|arg| arg.get_long() == long)
        }
        None => {
            let value = name.strip_prefix('<')?.split('>').next()?;
            all.find(|arg| {
                let called = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
                arg.is_positional() && called == Some(value)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    #[test]
    fn what_is_missing_is_explained() {
        let said = |words: &[&str]| {
            let argv: Vec<OsString> = ["gstore"].iter().chain(words).map(OsString::from).collect();
            let error = command().try_get_matches_from(&argv).expect_err("refused");
            explained_missing(&command(), &argv, &error, &|| vec!["warmup".to_owned(), "tuned".to_owned()])
        };
        let text = said(&["prefilter", "fit", "--pool", "a", "--target", "b"]).expect("explained");
        let lines: Vec<&str> = text.lines().collect();
        for name in ["  --inputs <", "  <NAME>"] {
            let at = lines.iter().position(|line| line.starts_with(name)).expect("named");
            assert!(lines[at + 1].starts_with(INDENT), "{text}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= 120), "{text}");
        assert!(!text.contains("warmup"), "{text}");
        assert_eq!(said(&["ls", "--nothing"]), None);
        let ingest = ["ingest", "--dataset", "pool", "--features", "loss"];
        for words in [&ingest[..], &["generate", "--prompt", "Is 7 odd?"]] {
            let text = said(words).expect("explained");
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ");
            assert!(text.contains("that of --run]; the store has --run warmup, --run tuned"), "{text}");
        }
    }

    #[test]
    fn what_does_in_place_of_a_missing_option_is_said() {
        for (words, says) in [
            (&["train", "--model", "m", "--output", "o"][..], "--data <PATH>... (or --dataset NAME)\n"),
            (&["daunce", "train", "--model", "m", "--output", "o"], " (or --until agreement=X)\n"),
            (&["evaluate", "text"], "--data <[NAME=]PATH>... (or --dataset NAME)\n"),
            (
                &["evaluate", "lds", "--random"],
                "--truth <DIR> (or --ensemble NAME, or --subsets FILE with --outputs FILE)\n",
            ),
            (&["evaluate", "brittleness"], "--truth <DIR> (or --ensemble NAME, or "),
            (&["prefilter", "apply", "p", "--pool", "a"], "--output <FILE> (or --predictions FILE)\n"),
            (&["select", "--pool", "a", "--target", "b", "--top", "1"], "--output <FILE> (or --estimate)\n"),
            (&["import"], "<MANIFEST> (or --losses FILE with --dataset NAME)\n"),
            (&["factors", "gram", "g"], "(or --extend or --mix)\n"),
        ] {
            let argv: Vec<OsString> = ["gstore"].iter().chain(words).map(OsString::from).collect();
            let error = command().try_get_matches_from(&argv).expect_err("refused");
            let text = explained_missing(&command(), &argv, &error, &Vec::new).unwrap_or_default();
            assert!(text.contains(says), "{words:?}: {text}");
        }
        let argv = ["gstore", "evaluate", "lds", "--random", "--subsets", "p"];
        let text = command().try_get_matches_from(argv).expect_err("refused").to_string();
        assert!(text.contains("--outputs <FILE>") && !text.contains("  --truth"), "{text}");
    }
}
