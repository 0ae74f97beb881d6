//! Python's calls and strings: arguments by names, methods that minijinja's own set lacks or takes for
//! something else, and what is white space and a line.

use minijinja::value::{Kwargs, Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

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
        "isspace" => {
            from_args::<()>(args)?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        "title" => {
            from_args::<()>(args)?;
            Value::from(title(text))
        }
        "capitalize" => {
            from_args::<()>(args)?;
            Value::from(capitalize(text))
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
        _ => return Ok(None),
    }))
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

/// What `str.isspace` is true of: four separators more than Unicode's white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// What ends a line for `str.splitlines`.
fn ends_line(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
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

/// What begins a word large and all else small: `it's a_b` becomes `It's A_b`.
pub(super) fn title_of_words(text: &str) -> String {
    let ends_word = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let title = |word: &str| {
        let mut chars = word.chars();
        let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
        first + &chars.as_str().to_lowercase()
    };
    text.split_inclusive(ends_word).map(title).collect()
}

/// Each letter behind one is small and any other large: `it's a_b` becomes `It'S A_B`.
fn title(text: &str) -> String {
    // Not by single letters: a sigma at the end of a word is written differently.
    let small = text.to_lowercase();
    let mut small = small.as_str();
    let mut out = String::with_capacity(text.len());
    let mut behind_letter = false;
    for c in text.chars() {
        let (own, rest) = small.split_at_checked(length_in_lowercase(c)).unwrap_or((small, ""));
        small = rest;
        match behind_letter {
            true => out.push_str(own),
            false => push_title(c, &mut out),
        }
        // Letters such as `ǅ` are neither.
        behind_letter = c.is_lowercase() || c.is_uppercase() || c.to_lowercase().next() != Some(c);
    }
    out
}

/// The first letter large and all others small.
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    if let Some(first) = text.chars().next() {
        push_title(first, &mut out);
        out.push_str(text.to_lowercase().get(length_in_lowercase(first)..).unwrap_or_default());
    }
    out
}

fn length_in_lowercase(c: char) -> usize {
    c.to_lowercase().map(char::len_utf8).sum()
}

/// A letter as it begins a word. Those of two letters, and Greek ones with an iota below, are not as in a text
/// of large letters.
fn push_title(c: char, out: &mut String) {
    let title = match c {
        '\u{1c4}'..='\u{1c6}' => "\u{1c5}",
        '\u{1c7}'..='\u{1c9}' => "\u{1c8}",
        '\u{1ca}'..='\u{1cc}' => "\u{1cb}",
        '\u{1f1}'..='\u{1f3}' => "\u{1f2}",
        // Georgian has large letters for texts of them alone.
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => return out.push(c),
        '\u{1f80}'..='\u{1faf}' => return out.extend(char::from_u32(u32::from(c) | 8)),
        '\u{1fb3}' | '\u{1fbc}' => "\u{1fbc}",
        '\u{1fc3}' | '\u{1fcc}' => "\u{1fcc}",
        '\u{1ff3}' | '\u{1ffc}' => "\u{1ffc}",
        '\u{1fb2}' => "\u{1fba}\u{345}",
        '\u{1fb4}' => "\u{386}\u{345}",
        '\u{1fb7}' => "\u{391}\u{342}\u{345}",
        '\u{1fc2}' => "\u{1fca}\u{345}",
        '\u{1fc4}' => "\u{389}\u{345}",
        '\u{1fc7}' => "\u{397}\u{342}\u{345}",
        '\u{1ff2}' => "\u{1ffa}\u{345}",
        '\u{1ff4}' => "\u{38f}\u{345}",
        '\u{1ff7}' => "\u{3a9}\u{342}\u{345}",
        _ => {
            let mut large = c.to_uppercase();
            let first = large.next().unwrap_or(c);
            out.push(first);
            return match first.is_uppercase() {
                true => out.extend(large.flat_map(char::to_lowercase)),
                false => out.extend(large),
            };
        }
    };
    out.push_str(title);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_ends_of_lines_are_those_of_python() {
        let all = |is: fn(char) -> bool| ('\0'..=char::MAX).filter(|c| is(*c)).collect::<String>();
        // "".join(c for c in map(chr, range(0x110000)) if c.isspace())
        let spaces = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\
            \u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
        assert_eq!(all(is_space), spaces);
        // The same with: if len(f"a{c}b".splitlines()) == 2
        assert_eq!(all(ends_line), "\n\x0b\x0c\r\x1c\x1d\x1e\u{85}\u{2028}\u{2029}");
    }

    #[test]
    fn letters_begin_a_word_as_in_python() {
        let with = |found: &mut String, c: char| {
            let mut title = String::new();
            push_title(c, &mut title);
            if !title.chars().eq(c.to_uppercase()) {
                found.push(c);
                found.push_str(&title);
            }
        };
        let mut found = String::new();
        ('\0'..=char::MAX).for_each(|c| with(&mut found, c));
        // hashlib.sha256("".join(c + c.title() for c in map(chr, ..) if c.title() != c.upper()).encode())
        assert_eq!(
            gstore_store::sha256_hex(found.as_bytes()),
            "1601e3816fdbe1ebea1121de85e68d0398b6bf2a278b32aa4d818cd18a8682f6"
        );
    }
}
