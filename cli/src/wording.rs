//! Messages of libraries and of the operating system in the words of the command
//! line, and quoting for shells.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;

use gstore_query::influence::OPTIONS;

/// Options as statements have them (`partial => true`), in the words of the command line (`--partial`). What
/// stands in double quotes, or in backticks with more around it, is the user's or SQL and stays.
pub fn in_flags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_quotes, mut in_code) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((flag, behind)) = option(&out, rest, in_code).filter(|_| !in_quotes) {
            out.push_str(&flag);
            rest = behind;
            continue;
        }
        match c {
            '"' => in_quotes = !in_quotes,
            '`' if !in_quotes => in_code = !in_code,
            _ => {}
        }
        // An escaped quote ends nothing.
        let escaped = rest.chars().nth(1).filter(|_| in_quotes && c == '\\');
        let (taken, behind) = rest.split_at(c.len_utf8() + escaped.map_or(0, char::len_utf8));
        out.push_str(taken);
        rest = behind;
    }
    out
}

/// The option that a text begins with, as a flag, and what is behind it.
fn option<'a>(before: &str, text: &'a str, in_code: bool) -> Option<(String, &'a str)> {
    let last = before.chars().next_back();
    if last.is_some_and(|c| !(c.is_whitespace() || matches!(c, '`' | '('))) {
        return None;
    }
    let known = OPTIONS
        .iter()
        .find(|option| text.strip_prefix(option.name).is_some_and(|behind| behind.starts_with(" => ")))?;
    let after = text.strip_prefix(known.name)?.strip_prefix(" => ")?;
    let (value, behind) = match after.strip_prefix('\'') {
        Some(quoted) => quoted.split_at_checked(end_of_quoted(quoted)?)?,
        None => {
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
            after.split_at_checked(end.unwrap_or(after.len()))?
        }
    };
    let behind = if after.starts_with('\'') { behind.strip_prefix('\'')? } else { behind };
    if in_code && !(last == Some('`') && behind.starts_with('`')) {
        return None;
    }
    let flag = format!("--{}", known.name.replace('_', "-"));
    Some(match value {
        "true" => (flag, behind),
        value if value.contains(char::is_whitespace) => (format!("{flag} '{value}'"), behind),
        value => (format!("{flag} {value}"), behind),
    })
}

/// Where a text in single quotes ends, which may have an apostrophe.
fn end_of_quoted(text: &str) -> Option<usize> {
    let is_end = |at: usize| !text[at + 1..].starts_with(|c: char| c.is_alphanumeric());
    text.match_indices('\'').map(|(at, _)| at).find(|at| is_end(*at))
}

/// Failures of files as `fs_err` and the operating system word them, in plain words: what, where, and what is
/// wrong with it.
pub fn reword_file_errors(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, found)) = rest.split_once(BEGIN) {
        out.push_str(before);
        match failure(found) {
            Some((said, behind)) => {
                out.push_str(&said);
                rest = behind;
            }
            None => {
                out.push_str(BEGIN);
                rest = found;
            }
        }
    }
    out.push_str(rest);
    for (number, said) in PLAIN {
        let raw = Error::from_raw_os_error(number).to_string();
        if out.contains(&raw) {
            out = out.replace(&raw, said);
        }
    }
    without_numbers(&out)
}

/// A text without the numbers that the operating system gives its errors: the words before them say the same.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(NUMBER);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')').filter(|(number, _)| number.parse::<i32>().is_ok()) {
            Some((_, behind)) => out.push_str(behind),
            None => out.extend([NUMBER, part]),
        }
    }
    out
}

/// How the number of an error of the operating system begins.
const NUMBER: &str = " (os error ";

/// How `fs_err` begins.
const BEGIN: &str = "failed to ";

/// What the operating system says where no path is named with it, by its number on Unix.
const PLAIN: [(i32, &str); 4] = [
    (2, "there is no such file or folder"),
    (13, "permission denied"),
    (20, "a part of the path is a file, not a folder"),
    (21, "it is a folder, not a file"),
];

/// A failed job on a file, in plain words, and what is behind it.
fn failure(text: &str) -> Option<(String, &str)> {
    let (job, rest) = text.split_once(" `")?;
    let (path, rest) = rest.split_once("`: ")?;
    let (says, rest) = rest.split_once(NUMBER)?;
    let (number, behind) = rest.split_once(')')?;
    let known = ["open", "read", "create", "write", "query", "remove", "canonicalize"];
    let (verb, what) = job.split_once(' ').unwrap_or((job, ""));
    if !known.contains(&verb) || says.contains(['`', '\n', ':']) {
        return None;
    }
    let (writes, done) = match verb {
        "create" | "write" => (true, "written"),
        "remove" => (false, "removed"),
        // To be read, written or made: the message does not say.
        "open" => (false, "opened"),
        _ => (false, "read"),
    };
    // Else a part of its path is one.
    let is_file = || fs_err::metadata(path).is_ok_and(|found| !found.is_dir());
    let said = match (Error::from_raw_os_error(number.parse().ok()?).kind(), writes) {
        (ErrorKind::NotFound, true) => format!("{path} cannot be written: there is no such folder"),
        (ErrorKind::NotFound, false) => format!("{path}: there is no such file or folder"),
        (ErrorKind::PermissionDenied, _) => format!("{path} cannot be {done}: permission denied"),
        (ErrorKind::IsADirectory, _) => format!("{path} is a folder, not a file"),
        (ErrorKind::NotADirectory | ErrorKind::AlreadyExists, _) if what == "directory" && is_file() => {
            format!("{path} is a file, not a folder")
        }
        (ErrorKind::NotADirectory, _) => format!("{path}: a part of this path is a file, not a folder"),
        (ErrorKind::ReadOnlyFilesystem, _) => {
            format!("{path} cannot be written: the file system is read-only")
        }
        _ => return None,
    };
    Some((said, behind))
}

/// A word as a shell reads it; one that is not UTF-8 in the quotes of bash, zsh and ksh that name bytes.
pub fn shell_word(word: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', r"'\''")),
        // No quote inside, so that the words of a line can be told apart by their quotes alone.
        None => format!("$'{}'", word.as_bytes().escape_ascii().to_string().replace(r"\'", r"\x27")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_as_flags_and_what_is_the_users_stays() {
        for (said, says) in [
            ("ask with `partial => true` to use it", "ask with `--partial` to use it"),
            ("quota => 'math': write value=rows", "--quota math: write value=rows"),
            ("quota => 'it's a b': why", "--quota 'it's a b': why"),
            (
                "`missing => 'exclude'` or `target_kind => grad-sgd`",
                "`--missing exclude` or `--target-kind grad-sgd`",
            ),
            ("`raw => true` asks it as text", "`--raw` asks it as text"),
            ("k => 3: sim => 'y", "--k 3: sim => 'y"),
            (" => it", " => it"),
        ] {
            assert_eq!(in_flags(said), says);
        }
        for stays in [
            "there is no dataset \"raw => true\"",
            "no column \"a \\\" k => 3\"",
            "`influence(..., per_token => true)` in SQL",
            "the files a => b: none",
            "C:\\k => x",
        ] {
            assert_eq!(in_flags(stays), stays);
        }
    }

    #[test]
    fn words_of_any_bytes_are_quoted_for_a_shell() {
        for (word, quoted) in [
            (&b"a/b-1.csv"[..], "a/b-1.csv"),
            (b"", "''"),
            (b"a b's", r"'a b'\''s'"),
            (b"a\xff b's\\", r"$'a\xff b\x27s\\'"),
        ] {
            assert_eq!(shell_word(OsStr::from_bytes(word)), quoted);
        }
    }

    #[test]
    fn failures_of_files_say_what_is_wrong_where() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().display().to_string();
        let file = dir.path().join("a.json");
        fs_err::write(&file, "x").expect("written");
        let missing = dir.path().join("no/b.json");
        let said =
            |error: Error| reword_file_errors(&format!("the log: {error}; again")).replace(&place, "D");
        for (error, says) in [
            (fs_err::read(&missing).expect_err("missing"), "D/no/b.json: there is no such file or folder"),
            (
                fs_err::write(&missing, "x").expect_err("no folder"),
                "D/no/b.json cannot be written: there is no such folder",
            ),
            (fs_err::read_dir(&file).map(|_| ()).expect_err("a file"), "D/a.json is a file, not a folder"),
            (
                fs_err::read_dir(file.join("x")).map(|_| ()).expect_err("no folder"),
                "D/a.json/x: a part of this path is a file, not a folder",
            ),
            (fs_err::create_dir_all(&file).expect_err("a file"), "D/a.json is a file, not a folder"),
            (fs_err::read_to_string(dir.path()).expect_err("a folder"), "D is a folder, not a file"),
            (Error::from_raw_os_error(2), "there is no such file or folder"),
        ] {
            assert_eq!(said(error), format!("the log: {says}; again"));
        }
        for (job, says) in [
            ("open file", "opened"),
            ("read from file", "read"),
            ("create file", "written"),
            ("remove file", "removed"),
        ] {
            let denied = format!("failed to {job} `s/LOCK`: Permission denied (os error 13)");
            let says = format!("s/LOCK cannot be {says}: permission denied");
            assert_eq!(reword_file_errors(&denied), says);
        }
        let refused = "failed to open file `x`: Connection refused (os error 111); no";
        assert_eq!(reword_file_errors(refused), "failed to open file `x`: Connection refused; no");
        for stays in [
            "an (os error x)",
            "it failed to `x`: y",
            "failed to open file `x`: disk quota",
            "failed to ",
            "",
        ] {
            assert_eq!(reword_file_errors(stays), stays);
        }
    }
}
