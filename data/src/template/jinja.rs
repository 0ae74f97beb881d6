//! The Jinja environment that chat templates are written for, that of transformers, on top of minijinja.
//!
//! Invariants
//! - rendering depends on the template and its input only: `strftime_now` shows a fixed day, because an
//!   encoding has to mean the same tokens tomorrow
//! - an endless template ends with an error, and no single width or count lets a short one write gigabytes.
//!   Text that a template doubles again and again is not bounded: a template is a program, to be trusted as
//!   far as the source of the model

use std::error::Error as _;
use std::fmt;

use chrono::{NaiveDate, NaiveTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::{globals, pycompat};

use super::filters::{add_filters, check_width, format_by_characters};
use super::python;
use super::tags::{Rewritten, as_written, rewrite};

const NAME: &str = "chat_template";

/// Steps of one rendering: enough for a conversation of a hundred thousand turns.
const STEPS: u64 = 10_000_000;

/// How the error begins where a template formats a string with `%`, which minijinja has for numbers only.
const PERCENT_OF_TEXT: &str = "tried to use % operator on unsupported types string";

pub(super) struct ChatEnvironment {
    env: Environment<'static>,
    /// Whether the template marks the model's words.
    pub(super) has_marks: bool,
}

impl ChatEnvironment {
    /// # Errors
    /// What is wrong in the source.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        let mut env = Environment::new();
        // Errors have their place then, and the name of what is undefined.
        env.set_debug(true);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|error| reason(&error))?);
        env.set_unknown_method_callback(|state, value, method, args| {
            if method == "format" && value.as_str().is_some() {
                return format_by_characters(value, args, |args| {
                    pycompat::unknown_method_callback(state, value, method, args)
                });
            }
            if ["center", "ljust", "rjust", "zfill"].contains(&method) {
                args.iter().try_for_each(check_width)?;
            }
            let given = match value.as_str() {
                Some(text) => python::text_method(state, text, method, args)?,
                None => python::list_method(value, method, args)?,
            };
            match given {
                Some(given) => Ok(given),
                None => pycompat::unknown_method_callback(state, value, method, args),
            }
        });
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        env.add_function("cycler", |values: Rest<Value>| globals::cycler(values.0));
        env.add_function("dict", python::dict);
        env.add_function("joiner", globals::joiner);
        env.add_function("strftime_now", |format: String| strftime_fixed(&format));
        env.set_fuel(Some(STEPS));
        add_filters(&mut env);
        env.add_test("iterable", is_iterable);
        env.add_test("sequence", is_sequence);
        // Jinja has none of these.
        ["endingwith", "int", "safe", "startingwith"].into_iter().for_each(|name| env.remove_test(name));
        env.remove_global("debug");
        // Jinja turns any line end into a newline; other line ends would reach the tokens.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let Rewritten { source, has_marks } = rewrite(&source)?;
        guarded(|| env.add_template_owned(NAME, source))?;
        Ok(Self { env, has_marks })
    }

    /// # Errors
    /// The message that the template raised, or what went wrong in it.
    pub(super) fn render(&self, context: Value) -> Result<String, String> {
        guarded(|| self.env.get_template(NAME)?.render(context))
    }
}

/// A call into minijinja, which panics on some templates (`loop.cycle()`); a panic must not end the process.
fn guarded<T>(f: impl FnOnce() -> Result<T, Error>) -> Result<T, String> {
    let found = gstore_store::caught(f).ok_or("the template library gave up on the template")?;
    found.map_err(|error| reason(&error))
}

/// What an error comes from whose message the template has.
#[derive(Debug)]
struct Raised;

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Raised {}

/// The message that a template raised, or what went wrong in it and where.
fn reason(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    if error.source().is_some_and(|source| source.is::<Raised>()) {
        return detail.to_owned();
    }
    let what = match error.kind() {
        _ if detail.starts_with(PERCENT_OF_TEXT) => {
            format!("{detail}: write text | format(value) for Python's text % value")
        }
        kind @ (ErrorKind::CannotUnpack | ErrorKind::SyntaxError) => format!("{kind}: {detail}"),
        kind if detail.is_empty() => kind.to_string(),
        _ => detail.to_owned(),
    };
    match (error.line(), expression(error)) {
        (Some(line), Some(expression)) => format!("{what} (line {line}: {expression})"),
        (Some(line), None) => format!("{what} (line {line})"),
        (None, _) => what,
    }
}

/// The expression that an error is about, as far as its first line shows it.
fn expression(error: &Error) -> Option<String> {
    // Those of the syntax have one of several words.
    let range = error.range().filter(|_| error.kind() != ErrorKind::SyntaxError)?;
    let written = as_written(error.template_source()?, range)?.trim();
    let shown: String = written.lines().next()?.chars().take(80).collect();
    let end = if shown.len() < written.len() { "..." } else { "" };
    Some(format!("{shown}{end}")).filter(|shown| !shown.is_empty())
}

/// As in Python, where None is not iterable: `tools is iterable and tools | length > 0` relies on that.
fn is_iterable(value: &Value) -> bool {
    value.kind() != ValueKind::None && value.try_iter().is_ok()
}

/// As in Python, where strings, lists and parts of them, ranges, mappings and undefined values are sequences,
/// and what has no length is none.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

/// `strftime` of Friday, 26 July 2024, midnight: the day that templates fall back to without a clock. What is
/// no directive stays.
fn strftime_fixed(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let flagged = behind.trim_start_matches(['-', '_', '0', '^', '#']);
        let flag = behind[..behind.len() - flagged.len()].chars().last();
        let mut chars = flagged.strip_prefix(['E', 'O']).unwrap_or(flagged).chars();
        match chars.next().and_then(directive) {
            Some(text) => {
                out.push_str(&with_flag(&text, flag));
                rest = chars.as_str();
            }
            None => {
                out.push('%');
                rest = behind;
            }
        }
    }
    out + rest
}

/// What a directive of Python stands for on that day.
fn directive(letter: char) -> Option<String> {
    match letter {
        'f' => Some("000000".to_owned()),
        // The day has no zone.
        'z' | 'Z' => Some(String::new()),
        letter if "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%".contains(letter) => {
            let day = NaiveDate::from_ymd_opt(2024, 7, 26)?.and_time(NaiveTime::MIN);
            Some(day.format(&format!("%{letter}")).to_string())
        }
        _ => None,
    }
}

/// A number with other padding, a name in other letters.
fn with_flag(text: &str, flag: Option<char>) -> String {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ');
    let own = text.trim_start_matches(['0', ' ']);
    let (digits, width) = (if own.is_empty() { "0" } else { own }, text.len());
    match flag {
        Some('-') if is_number => digits.to_owned(),
        Some('_') if is_number => format!("{digits:>width$}"),
        Some('0') if is_number => format!("{digits:0>width$}"),
        Some('#') if text == "AM" => "am".to_owned(),
        Some('^' | '#') => text.to_uppercase(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
