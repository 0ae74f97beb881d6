//! Values that look like options: `-1` or `- a text` after an option, and a statement that begins with a comment.

use std::ffi::{OsStr, OsString};

use clap::{Arg, CommandFactory};

use super::Cli;

/// The command line as clap parses it, with its help arranged. `-1` after an option is its value, so that the
/// message is about the value and not about an option `-1`. An empty variable of the environment is none.
pub fn command() -> clap::Command {
    fn with_negative_numbers(command: clap::Command) -> clap::Command {
        command
            .mut_args(|arg| {
                let is_option = arg.get_long().is_some() && arg.get_action().takes_values();
                without_empty_variable(arg.allow_negative_numbers(is_option))
            })
            .mut_subcommands(with_negative_numbers)
    }
    super::help::arrange_help(with_negative_numbers(Cli::command()))
        .mut_subcommand("train", super::train::with_underscores)
        .mut_subcommand("generate", super::train::with_underscores)
        .mut_subcommand("evaluate", |evaluate| evaluate.mut_subcommands(super::train::with_underscores))
}

/// clap would take the empty text for the value, also where the command line has one.
fn without_empty_variable(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(std::env::var_os);
    if value.is_some_and(|value| value.is_empty()) { arg.env(None::<&'static str>) } else { arg }
}

/// Puts an option and a value that begins with a dash into one word, since clap would take the value for an option:
/// texts such as `- first item` or `---`, and `-1GB` or `-5%`, for a message about the value. A statement that begins
/// with a comment gets a blank before it.
pub fn join_negative(root: &clap::Command, argv: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(argv.len());
    let (mut ended, mut command) = (false, root);
    for word in argv {
        ended |= word == "--";
        command = word.to_str().and_then(|name| command.find_subcommand(name)).unwrap_or(command);
        let option = joined.last().and_then(|last| last.to_str()).and_then(|last| last.strip_prefix("--"));
        match option {
            Some(name)
                if !ended && is_value(&word) && [root, command].iter().any(|c| takes_one_value(c, name)) =>
            {
                if let Some(last) = joined.last_mut() {
                    last.push("=");
                    last.push(word);
                }
            }
            _ if !ended && is_comment(&word) && joined.iter().any(|w| w == "query" || w == "view") => {
                let mut statement = OsString::from(" ");
                statement.push(word);
                joined.push(statement);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// Whether it is a text that begins with a comment of SQL. No option has a blank in its name.
fn is_comment(word: &OsStr) -> bool {
    let text = word.to_str().unwrap_or_default();
    let rest = text.strip_prefix("--").unwrap_or_default();
    rest.starts_with(char::is_whitespace)
        || (rest.lines().count() > 1 && rest.lines().next().is_some_and(|line| line.contains(' ')))
}

/// Whether a word that begins with `-` can be no option: it is `---`, or something else than a letter follows. `--`
/// ends the options.
fn is_value(word: &OsStr) -> bool {
    let text = word.to_str().unwrap_or_default();
    let rest = text.trim_start_matches('-');
    match rest.chars().next() {
        None => text.len() > 2,
        Some(next) => rest.len() < text.len() && !next.is_alphabetic(),
    }
}

fn takes_one_value(command: &clap::Command, name: &str) -> bool {
    let fits = |arg: &clap::Arg| {
        let one = arg.get_num_args().is_none_or(|values| values == 1.into());
        arg.get_long() == Some(name) && arg.get_action().takes_values() && one
    };
    command.get_arguments().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_value_with_a_unit_stays_with_its_option() {
        let joined = |words: &[&str]| -> Vec<String> {
            let words = words.iter().map(OsString::from).collect();
            join_negative(&command(), words).iter().map(|w| w.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(
            joined(&["gstore", "select", "--top", "-5%", "-o", "x"]),
            ["gstore", "select", "--top=-5%", "-o", "x"]
        );
        assert_eq!(
            joined(&["gstore", "ingest", "--max-memory", "-1GB"]),
            ["gstore", "ingest", "--max-memory=-1GB"]
        );
        assert_eq!(
            joined(&["gstore", "query", "-- why\nSELECT 1"]),
            ["gstore", "query", " -- why\nSELECT 1"]
        );
        for text in ["- item", "---", "-> x", "-\nb", "-- a"] {
            let expected = ["gstore", "ask", &format!("--prompt={text}"), "-k", "3"];
            assert_eq!(joined(&["gstore", "ask", "--prompt", text, "-k", "3"]), expected);
        }
        for number in ["-1e-5", "-.5", "-3"] {
            let expected = ["gstore", "select", &format!("--damping={number}")];
            assert_eq!(joined(&["gstore", "select", "--damping", number]), expected);
        }
        let commented = ["gstore", "query", "--force", "-- a\nSELECT 1"];
        assert_eq!(joined(&commented)[2..], ["--force", " -- a\nSELECT 1"]);
        for same in [
            &["gstore", "--top", "--worst"][..],
            &["gstore", "ask", "--prompt", "-"],
            &["gstore", "ask", "--prompt", "--completion=- a"],
            &["gstore", "ask", "--prompt", "-k", "3"],
            &["gstore", "--weights", "-1", "-2x"],
            &["gstore", "--", "--top", "-1x"],
        ] {
            assert_eq!(joined(same), same);
        }
    }
}
