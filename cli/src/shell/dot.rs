//! Dot commands of the shell, and the backslash commands that stand for some of them.

mod known;

use std::path::PathBuf;

use super::lexer::{is_complete_with, pieces};
use super::settings::Mode;

pub use known::{COMMANDS, complete_word, help};

use known::{ALIASES, unknown_command};

/// Words that are commands of the shell where they stand alone.
pub const WORDS: [&str; 3] = ["help", "quit", "exit"];

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum DotCommand {
    /// The list of commands.
    Help,
    /// Tables whose name contains a text.
    Tables(String),
    /// Columns of a table.
    Schema(Option<String>),
    /// What is set.
    Settings,
    /// The way to show results.
    Mode(Mode),
    /// Whether times are shown; none: the other way round.
    Timer(Option<bool>),
    /// Rows that are shown; none: all.
    MaxRows(Option<u64>),
    /// Whether there is a pager; none: the other way round.
    Pager(Option<bool>),
    /// Where results go; none: to the screen.
    Output(Option<PathBuf>),
    /// Where the next result goes.
    Once(PathBuf),
    /// Records below each other, or what was before.
    Lines,
    Read(PathBuf),
    Quit,
}

/// Whether a line is a dot or backslash command, and no SQL.
pub fn is_dot(line: &str) -> bool {
    line.trim_start().starts_with(['.', '\\'])
}

/// Whether there is such a command among the statements of a text, or in one that is open.
pub fn has_commands(text: &str) -> bool {
    // Most texts have none: then they are not taken apart.
    if !text.lines().any(is_dot) {
        return false;
    }
    let mut held = String::new();
    text.split_inclusive('\n').any(|line| {
        held.push_str(line);
        let found = is_dot(&held) || is_misplaced(&held);
        if is_complete_with(&held, line) {
            held.clear();
        }
        found
    })
}

/// Whether the last line of an open statement is a command, which would be read as SQL there.
pub fn is_misplaced(text: &str) -> bool {
    let Some((before, last)) = text.trim_end().rsplit_once('\n') else { return false };
    let name = last.split_whitespace().next().unwrap_or_default().trim_end_matches(';');
    let mut commands =
        COMMANDS.iter().map(|(known, ..)| *known).chain(ALIASES.iter().map(|(alias, _)| *alias));
    // Within a text or a comment it is one of its lines.
    let is_outside = |before: &str| {
        pieces(before).last().is_none_or(|piece| piece.closed || piece.of(before).starts_with("--"))
    };
    commands.any(|known| known == name) && is_outside(before)
}

/// Reads a dot or backslash command.
///
/// # Errors
/// A command that there is not, and words that it does not take.
pub fn parse(line: &str) -> Result<DotCommand, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (given, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    if given == "\\x" {
        return Ok(DotCommand::Lines);
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == given).map(|(_, name)| *name);
    let name = match (alias, rest) {
        // Without a name `\d` lists the tables.
        (Some(".schema"), "") if given == "\\d" => ".tables",
        (Some(name), _) => name,
        (None, _) => given,
    };
    let path = || path_of(rest);
    Ok(match name {
        ".help" => DotCommand::Help,
        ".quit" => DotCommand::Quit,
        ".tables" => DotCommand::Tables(rest.to_owned()),
        ".schema" => DotCommand::Schema((!rest.is_empty()).then(|| rest.to_owned())),
        ".mode" | ".maxrows" if rest.is_empty() => DotCommand::Settings,
        ".mode" => DotCommand::Mode(rest.parse()?),
        ".timer" => DotCommand::Timer(parse_switch(name, rest)?),
        ".pager" => DotCommand::Pager(parse_switch(name, rest)?),
        ".maxrows" if matches!(rest, "all" | "0") => DotCommand::MaxRows(None),
        ".maxrows" => match rest.parse() {
            Ok(rows) => DotCommand::MaxRows(Some(rows)),
            Err(_) => return Err(format!(".maxrows takes a number of rows, or `all`, not `{rest}`")),
        },
        ".output" => DotCommand::Output((!rest.is_empty()).then(path)),
        ".once" if rest.is_empty() => return Err(".once takes a file for the next result".to_owned()),
        ".once" => DotCommand::Once(path()),
        ".read" if rest.is_empty() => return Err(".read takes a file of statements".to_owned()),
        ".read" => DotCommand::Read(path()),
        other => return Err(unknown_command(other)),
    })
}

/// A path as it is typed: in quotes, or with a backslash before what is special, as completion writes it.
fn path_of(typed: &str) -> PathBuf {
    let inside = typed.trim_matches(['\'', '"']);
    if cfg!(windows) || typed.starts_with('\'') {
        return inside.into();
    }
    let (mut plain, mut chars) = (String::new(), inside.chars());
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain.into()
}

fn parse_switch(name: &str, word: &str) -> Result<Option<bool>, String> {
    match word {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        other => Err(format!("{name} is on or off, not `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::known::ELSEWHERE;
    use super::*;
    use crate::args::check_commands;

    #[test]
    fn commands_and_their_other_names() {
        for (line, dot) in [
            (".help", DotCommand::Help),
            ("\\?", DotCommand::Help),
            (".quit;", DotCommand::Quit),
            ("\\q", DotCommand::Quit),
            ("\\d", DotCommand::Tables(String::new())),
            ("\\d pool", DotCommand::Schema(Some("pool".into()))),
            (".schema", DotCommand::Schema(None)),
            (".tables po", DotCommand::Tables("po".into())),
            (".mode line", DotCommand::Mode(Mode::Line)),
            ("\\x", DotCommand::Lines),
            (".mode", DotCommand::Settings),
            (".maxrows", DotCommand::Settings),
            (".maxrows 7", DotCommand::MaxRows(Some(7))),
            (".maxrows all", DotCommand::MaxRows(None)),
            (".timer off", DotCommand::Timer(Some(false))),
            (".timer", DotCommand::Timer(None)),
            (".output 'a b.csv'", DotCommand::Output(Some("a b.csv".into()))),
            (".output", DotCommand::Output(None)),
            (".read a\\ b\\=c.sql", DotCommand::Read("a b=c.sql".into())),
            (".read \"a b\\$.sql\"", DotCommand::Read("a b$.sql".into())),
            (".read 'a\\b.sql'", DotCommand::Read("a\\b.sql".into())),
            (".read x.sql ;", DotCommand::Read("x.sql".into())),
            (".once a.csv", DotCommand::Once("a.csv".into())),
        ] {
            assert_eq!(parse(line), Ok(dot), "{line}");
        }
        for (line, says) in [
            (".tabels", "did you mean `.tables`?"),
            ("\\zz", ".help lists them"),
            (".mode tabel", "table, line"),
            (".maxrows few", "`few`"),
            (".timer yes", "on or off"),
            (".read", "a file"),
            (".once", "a file"),
        ] {
            assert!(parse(line).is_err_and(|error| error.contains(says)), "{line}");
        }
        assert!(Mode::words().all(|word| help().contains(word)), "{}", help());
        for (name, ..) in COMMANDS {
            let words = format!("{name} 1");
            assert!(!parse(&words).is_err_and(|error| error.contains("there is no command")), "{words}");
            assert!(help().contains(name));
        }
    }

    #[test]
    fn commands_of_other_shells_are_answered_with_those_of_this_one() {
        let is_known = |name: &str| {
            let mut aliases = ALIASES.iter().map(|(alias, _)| *alias);
            COMMANDS.iter().any(|(known, ..)| *known == name) || aliases.any(|alias| alias == name)
        };
        for (names, meant) in ELSEWHERE {
            check_commands(meant);
            for code in meant.split('`').skip(1).step_by(2).filter(|code| code.starts_with('.')) {
                assert!(code.split(' ').next().is_some_and(is_known), "{code}");
            }
            for name in *names {
                assert!(!is_known(name), "{name} is a command");
                let line = format!("{name} on");
                assert_eq!(parse(&line), Err(format!("there is no command `{name}`; {meant}")));
            }
        }
    }

    #[test]
    fn commands_stand_between_statements() {
        for text in
            [".mode json;\nSELECT 1", "SELECT 1;\n-- two\n\\q\n", "\n .tables", "SELECT 1\n.mode json\n, 2"]
        {
            assert!(has_commands(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT 1\n.5", "SELECT '\n.mode json';", "-- a\nSELECT 1 +\n.5;", ""] {
            assert!(!has_commands(text), "{text}");
        }
    }

    #[test]
    fn commands_in_an_open_statement_are_noticed() {
        for text in ["SELECT 1\n.quit", "SELECT 1 -- a\n  \\q;\n", "SELECT 1\nFROM\n.mode json"] {
            assert!(is_misplaced(text), "{text}");
        }
        for text in
            ["SELECT 1\n+ .5", "SELECT\n.5", ".quit", "SELECT '\n.quit", "/*\n.quit", "SELECT 1\n.quit\n, 2"]
        {
            assert!(!is_misplaced(text), "{text}");
        }
    }

    #[test]
    fn dot_commands_and_their_words_are_completed() {
        let none = || Some(vec!["pool".to_owned()]);
        assert_eq!(complete_word(".ti", none), (0, vec![".timer ".to_owned()]));
        assert_eq!(complete_word(".mode j", none), (6, vec!["json".to_owned()]));
        assert_eq!(complete_word(".timer ", none), (7, vec!["on".to_owned(), "off".to_owned()]));
        assert_eq!(complete_word(".", none).1.len(), COMMANDS.len());
    }
}
