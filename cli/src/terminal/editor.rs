//! The line editor of the shell: history across runs, completion, colours, and statements of several lines.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Helper};

use super::names::SnapshotNames;
use crate::shell::colour::coloured;
use crate::shell::complete::complete;
use crate::shell::dot::{WORDS, complete_word, is_dot, is_misplaced};
use crate::shell::lexer::is_complete;

/// Statements that the history keeps.
const KEPT: usize = 10_000;

/// What is said of a command inside of a statement.
const OPEN: &str = "  -- a statement is open: end it with `;` instead, or give it up with Ctrl-C";

/// What a new line of an open statement shows until something is typed there.
const MORE: &str = "... `;` runs the statement, Ctrl-C gives it up";

/// The same where a text, a name or a comment is open, in which `;` ends nothing.
const QUOTED: &str = "... a quotation or a comment is open; Ctrl-C gives it up";

/// Reads statements and dot commands.
pub struct Editor<'a> {
    editor: rustyline::Editor<EditorHelper<'a>, FileHistory>,
    /// The file of the history, if there is a place for it.
    history: Option<PathBuf>,
}

/// What is read next.
pub enum EditorInput {
    /// A statement, several, or a dot command.
    Input(String),
    /// Nothing: what was typed was given up.
    GivenUp,
    /// Nothing that can be read: a byte is not UTF-8.
    NotText,
    /// The end of the input.
    End,
}

impl<'a> Editor<'a> {
    /// An editor with the history of earlier runs.
    pub fn new(names: &'a SnapshotNames<'a>, colour: bool) -> Result<Self> {
        let config = Config::builder()
            .max_history_size(KEPT)?
            .history_ignore_dups(true)?
            .completion_type(CompletionType::List)
            .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
            .build();
        let mut editor = rustyline::Editor::with_config(config)?;
        editor.set_helper(Some(EditorHelper { names, files: FilenameCompleter::new() }));
        let history = history_file();
        if let Some(file) = &history {
            // The first run has none yet, and a shell without its history is better than none.
            let _ = editor.load_history(file);
        }
        Ok(Self { editor, history })
    }

    /// The next statement or dot command.
    pub fn read(&mut self) -> Result<EditorInput> {
        match self.editor.readline("gstore> ") {
            Ok(input) => {
                self.remember(&input);
                Ok(EditorInput::Input(input))
            }
            Err(ReadlineError::Interrupted) => Ok(EditorInput::GivenUp),
            Err(ReadlineError::Eof) => Ok(EditorInput::End),
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                Ok(EditorInput::NotText)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to the history and its file at once: a shell may end at any time.
    fn remember(&mut self, input: &str) {
        let input = input.trim();
        if input.is_empty() || !self.editor.add_history_entry(input).unwrap_or(false) {
            return;
        }
        if let Some(file) = &self.history {
            let made = file.parent().map_or(Ok(()), fs_err::create_dir_all);
            if made.is_err() || self.editor.append_history(file).is_err() {
                self.history = None;
            }
        }
    }
}

/// `gstore/history` in the folder that the desktop's rules have for states of programs.
fn history_file() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("gstore/history"))
}

/// What the line editor asks while it edits.
struct EditorHelper<'a> {
    names: &'a SnapshotNames<'a>,
    files: FilenameCompleter,
}

impl Helper for EditorHelper<'_> {}

/// What is shown behind the text and never becomes part of it.
struct HintText(&'static str);

impl Hint for HintText {
    fn display(&self) -> &str {
        self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

/// What stands in the place of a prompt on a line that goes on with a statement: the editor has one prompt.
fn continuation_hint(input: &str, at: usize) -> Option<HintText> {
    let is_new_line = at == input.len() && input.ends_with('\n');
    let is_quoted = || !is_complete(&format!("{input};"));
    (is_new_line && !is_complete(input)).then(|| HintText(if is_quoted() { QUOTED } else { MORE }))
}

impl Hinter for EditorHelper<'_> {
    type Hint = HintText;

    fn hint(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> Option<HintText> {
        continuation_hint(line, at)
    }
}

impl Validator for EditorHelper<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let word = input.trim();
        let whole = is_dot(input) || WORDS.contains(&word) || is_complete(input);
        Ok(match whole {
            true => ValidationResult::Valid(None),
            false if is_misplaced(input) => ValidationResult::Invalid(Some(OPEN.to_owned())),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Highlighter for EditorHelper<'_> {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(coloured(line))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Completer for EditorHelper<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if is_dot(line) {
            let typed = &line[..at];
            let path = [".read ", ".output ", "\\i ", "\\o "]
                .iter()
                .any(|name| typed.trim_start().starts_with(name));
            if path {
                return self.files.complete(line, at, context);
            }
            let names = || {
                let words = self.names.words().ok()?;
                Some(words.tables.iter().map(|table| table.name.clone()).collect::<Vec<String>>())
            };
            let (from, found) = complete_word(typed, names);
            return Ok((from, found.into_iter().map(pair).collect()));
        }
        // What cannot be read now is reported by the statement that reads it.
        let Ok(words) = self.names.words() else { return Ok((at, Vec::new())) };
        let (from, found) = complete(&words, line, at);
        Ok((from, found.into_iter().map(pair).collect()))
    }
}

fn pair(text: String) -> Pair {
    Pair { display: text.trim_end().to_owned(), replacement: text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_line_of_an_open_statement_says_how_it_ends() {
        for (input, shown) in [
            ("SELECT 1\n", Some(MORE)),
            ("SELECT 1 -- ;\n", Some(MORE)),
            ("SELECT 'half;\n", Some(QUOTED)),
            ("/* half\n", Some(QUOTED)),
            ("SELECT 1\nFROM", None),
            ("SELECT 1;\n", None),
            ("\n", None),
        ] {
            assert_eq!(continuation_hint(input, input.len()).map(|hint| hint.0), shown, "{input:?}");
        }
        assert!(continuation_hint("SELECT 1\n", 3).is_none());
    }
}
