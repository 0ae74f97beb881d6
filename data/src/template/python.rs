//! Python's calls and methods: arguments by names, methods that minijinja's own set lacks or takes for something
//! else, and lines.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value, functions};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::letters::{ends_line, is_space};
use super::{letters, numbers};

/// What a call gives for each of these names, by its place or by the name; undefined where it gives nothing.
pub(super) fn arguments(args: &[Value], names: &[&str]) -> Result<Vec<Value>, Error> {
    let (by_place, by_name): (&[Value], Kwargs) = from_args(args)?;
    if by_place.len() > names.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut given = by_place.to_vec();
    given.resize(names.len(), Value::UNDEFINED);
    for (at, &name) in names.iter().enumerate() {
        if !by_name.has(name) {
            continue;
        }
        if at < by_place.len() {
            let twice = format!("the argument {name} is given twice");
            return Err(Error::new(ErrorKind::TooManyArguments, twice));
        }
        given[at] = by_name.get(name)?;
    }
    by_name.assert_all_used()?;
    Ok(given)
}

/// What a method of this text gives; none if it is not one of these.
pub(super) fn text_method(
    state: &mut State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let is_stripped = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            Value::from(match method {
                "lstrip" => text.trim_start_matches(is_stripped),
                "rstrip" => text.trim_end_matches(is_stripped),
                _ => text.trim_matches(is_stripped),
            })
        }
        "split" | "rsplit" => {
            let args = arguments(args, &["sep", "maxsplit"])?;
            let (separator, cuts): (Option<&str>, Option<i64>) = from_args(&args)?;
            let cuts = usize::try_from(cuts.unwrap_or(-1)).unwrap_or(usize::MAX);
            let from_end = method == "rsplit";
            let found: Vec<&str> = match separator.map(check_separator).transpose()? {
                None if from_end => words_from_end(text, cuts),
                None => words(text, cuts),
                Some(separator) if from_end => {
                    let mut found: Vec<&str> = text.rsplitn(cuts.saturating_add(1), separator).collect();
                    found.reverse();
                    found
                }
                Some(separator) => text.splitn(cuts.saturating_add(1), separator).collect(),
            };
            found.into_iter().map(Value::from).collect()
        }
        "splitlines" => {
            let args = arguments(args, &["keepends"])?;
            let (with_ends,): (Option<bool>,) = from_args(&args)?;
            lines(text, with_ends.unwrap_or(false)).into_iter().map(Value::from).collect()
        }
        "startswith" | "endswith" | "find" | "rfind" | "index" | "rindex" | "count" => {
            look_for(state, text, method, args)?
        }
        "center" | "expandtabs" | "ljust" | "rjust" | "zfill" => {
            Value::from(filled(state, text, method, args)?)
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let found = text.split_once(check_separator(separator)?);
            parts(found.map_or([text, "", ""], |(before, after)| [before, separator, after]))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let found = text.rsplit_once(check_separator(separator)?);
            parts(found.map_or(["", "", text], |(before, after)| [before, separator, after]))
        }
        _ => match of_characters(text, method) {
            Some(found) => {
                from_args::<()>(args)?;
                found
            }
            None => return Ok(None),
        },
    }))
}

/// What a method without arguments says of the characters of a text, or makes of them; none if it is not one of
/// these.
fn of_characters(text: &str, method: &str) -> Option<Value> {
    let all = |is: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(is));
    Some(match method {
        "capitalize" => Value::from(letters::capitalize(text)),
        "casefold" => Value::from(letters::casefold(text)),
        "swapcase" => Value::from(letters::swapcase(text)),
        "title" => Value::from(letters::title(text)),
        "isdecimal" => all(|c| numbers::decimal(c).is_some()),
        "isdigit" => all(numbers::is_digit),
        "isidentifier" if text.is_ascii() => {
            let is_begun = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            Value::from(is_begun && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        }
        "isprintable" => Value::from(text.chars().all(letters::is_printable)),
        "isspace" => all(is_space),
        "istitle" => Value::from(letters::is_title(text)),
        _ => return None,
    })
}

/// The methods that fill a text up to a width, or its tabs up to a column.
fn filled(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    if method == "expandtabs" {
        let (size,): (Option<i64>,) = from_args(&arguments(args, &["tabsize"])?)?;
        let size = usize::try_from(size.unwrap_or(8)).unwrap_or(0);
        let most = size.saturating_mul(text.matches('\t').count());
        state.consume_fuel(u64::try_from(most / 64).unwrap_or(u64::MAX))?;
        let mut column = 0;
        for c in text.chars() {
            let blanks = if c == '\t' && size > 0 { size - column % size } else { 0 };
            out.extend(std::iter::repeat_n(' ', blanks));
            out.extend(Some(c).filter(|c| *c != '\t'));
            column = match c {
                '\n' | '\r' => 0,
                '\t' => column + blanks,
                _ => column + 1,
            };
        }
        return Ok(out);
    }
    let (width, fill): (i64, Option<char>) = match method {
        "zfill" => from_args::<(i64,)>(args).map(|(width,)| (width, Some('0')))?,
        _ => from_args(args)?,
    };
    let width = usize::try_from(width).unwrap_or(0);
    let lacking = width.saturating_sub(text.chars().count());
    let signs = if method == "zfill" { text.len() - text.trim_start_matches(['-', '+']).len() } else { 0 };
    let (sign, text) = text.split_at(signs.min(1));
    let before = match method {
        "center" => lacking / 2 + (lacking & width & 1),
        "ljust" => 0,
        _ => lacking,
    };
    let blank = |count| std::iter::repeat_n(fill.unwrap_or(' '), count);
    out.push_str(sign);
    out.extend(blank(before));
    out.push_str(text);
    out.extend(blank(lacking - before));
    Ok(out)
}

/// What a method of a list or a mapping gives; none if it is not one of these.
pub(super) fn list_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match (value.kind(), method) {
        // Nothing changes them.
        (ValueKind::Seq | ValueKind::Map, "copy") => from_args::<()>(args).map(|()| Some(value.clone())),
        (ValueKind::Seq, "index") => {
            let (sought, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
            let items = value.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?;
            let place = |at: i64| match usize::try_from(at) {
                Ok(at) => at,
                Err(_) => {
                    items.len().saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX))
                }
            };
            let mut among = items.iter().take(end.map_or(items.len(), place)).enumerate();
            let found = among.find(|(at, item)| *at >= start.map_or(0, place) && *item == sought);
            let lacks = || Error::new(ErrorKind::InvalidOperation, "index() of what is not in the list");
            found.map(|(at, _)| Some(Value::from(at))).ok_or_else(lacks)
        }
        _ => Ok(None),
    }
}

/// The function `dict`, of pairs as well.
pub(super) fn dict(of: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let of = match of {
        Some(list) if matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) => {
            Some(Value::from_pairs(list.try_iter()?.checked().map(pair).collect::<Result<Vec<_>, Error>>()?))
        }
        of => of,
    };
    functions::dict(of, named)
}

fn pair(of: Result<Value, Error>) -> Result<(Value, Value), Error> {
    let both: Vec<Value> = of?.try_iter()?.checked().collect::<Result<_, Error>>()?;
    let both: Result<[Value; 2], _> = both.try_into();
    let wrong = |_| Error::new(ErrorKind::InvalidOperation, "dict() takes pairs of a key and a value");
    both.map(|[key, value]| (key, value)).map_err(wrong)
}

/// The methods that look for a text in this one, or between two of its characters.
fn look_for(state: &mut State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (sought, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let by = match method {
        "index" => "find",
        "rindex" => "rfind",
        method => method,
    };
    let gives_place = by.ends_with("find");
    let found = match between(text, start, end) {
        Some((before, part)) => {
            let found = unknown_method_callback(state, &Value::from(part), by, std::slice::from_ref(sought))?;
            match found.as_i64() {
                Some(at) if gives_place && at >= 0 => Value::from(at.saturating_add(before)),
                _ => found,
            }
        }
        None if gives_place => Value::from(-1),
        None if by == "count" => Value::from(0),
        None => Value::from(false),
    };
    if method != by && found == Value::from(-1) {
        return Err(Error::new(ErrorKind::InvalidOperation, "index() of a text that does not occur"));
    }
    Ok(found)
}

/// What stands between two characters, which are counted as in Python, and how many are before it; none if it
/// would end before it begins.
fn between(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(i64, &str)> {
    let length = i64::try_from(text.chars().count()).ok()?;
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)).min(length));
    if start > end {
        return None;
    }
    let byte = |at: i64| {
        let mut starts = text.char_indices().map(|(byte, _)| byte);
        Some(starts.nth(usize::try_from(at).ok()?).unwrap_or(text.len()))
    };
    Some((start, text.get(byte(start)?..byte(end)?)?))
}

fn parts(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn check_separator(separator: &str) -> Result<&str, Error> {
    match separator {
        "" => Err(Error::new(ErrorKind::InvalidOperation, "the separator is empty")),
        separator => Ok(separator),
    }
}

/// A text without the white space around it.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// What stands between white space; after so many cuts the rest is one, with the white space behind it.
fn words(text: &str, cuts: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = if words.len() < cuts { rest.find(is_space) } else { None };
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = behind.trim_start_matches(is_space);
    }
    words
}

/// The same from the end: after so many cuts the rest is one, with the white space before it.
fn words_from_end(text: &str, cuts: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let cut = if words.len() < cuts { rest.rsplit_once(is_space) } else { None };
        let (before, word) = cut.unwrap_or(("", rest));
        words.push(word);
        rest = before.trim_end_matches(is_space);
    }
    words.reverse();
    words
}

/// The lines of a text, each with what ends it or without.
pub(super) fn lines(text: &str, with_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.find(ends_line).unwrap_or(rest.len()));
        let end = match behind.starts_with("\r\n") {
            true => 2,
            false => behind.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(if with_ends { &rest[..line.len() + end] } else { line });
        rest = &behind[end..];
    }
    lines
}
