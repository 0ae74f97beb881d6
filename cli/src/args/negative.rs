//! Values that look like options: `-1` after an option, and a statement that begins with a comment.

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

/// Puts an option and a value such as `-1GB` or `-5%` into one word, so that the message is about the value:
/// alone, it would be taken for an option `-1`. A statement that begins with a comment gets a blank before
/// it.
pub fn join_negative(root: &clap::Command, argv: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(argv.len());
    let mut ended = false;
    for word in argv {
        ended |= word == "--";
        let option = joined.last().and_then(|last| last.to_str()).and_then(|last| last.strip_prefix("--"));
        match option {
            Some(name) if !ended && is_negative(&word) && takes_one_value(root, name) => {
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

/// Whether it is `-` and a digit, and then something that makes it no number.
fn is_negative(word: &OsStr) -> bool {
    let text = word.to_str().unwrap_or_default();
    let digit = text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    digit && text.parse::<f64>().is_err()
}

fn takes_one_value(command: &clap::Command, name: &str) -> bool {
    let fits = |arg: &clap::Arg| {
        let several = arg.get_num_args().is_some_and(|values| values.max_values() > 1);
        arg.get_long() == Some(name) && arg.get_action().takes_values() && !several
    };
    command.get_arguments().any(fits) || command.get_subcommands().any(|c| takes_one_value(c, name))
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
        for same in [
            &["gstore", "--top", "--worst"][..],
            &["gstore", "--weights", "-1", "-2x"],
            &["gstore", "--", "--top", "-1x"],
        ] {
            assert_eq!(joined(same), same);
        }
    }
}
