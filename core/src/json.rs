//! JSON text, checked and read by path, without building a tree.
//!
//! Invariants
//! - what is found is a part of the document as it is written, so nothing is longer than the document
//! - a document that is no JSON gives nothing, or what its sound beginning gives; it never fails

use std::borrow::Cow;

use memchr::memchr2;
use serde::de::IgnoredAny;

/// Whether a text is JSON.
pub fn is_json(text: &str) -> bool {
    check(text).is_ok()
}

/// Refuses a text that is not JSON.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<IgnoredAny>(text).map(drop)
}

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// An element by its place, from 0; a negative one counts from the end.
    Index(i64),
    /// An element by how far it is from the end, where none is at 0: the last is at 1.
    FromEnd(u64),
    /// A place in a list, or a key of an object: which of them it is depends on the value.
    Token(String),
    /// Every element, or every value.
    Each,
}

/// Most steps of a path.
const MOST: usize = 100;

/// The steps of a path: `$.a.b[0]`, `$."a b"`, `$.list[*].c`, `/a/b/0`, or a key alone. `None` for text that
/// begins like a path and is none, and for one of more than 100 steps.
pub fn steps(text: &str) -> Option<Vec<Step>> {
    let steps = match text.chars().next() {
        Some('$') => dollar(text)?,
        Some('/') => text.split('/').skip(1).map(pointer).collect(),
        _ => vec![Step::Key(text.to_owned())],
    };
    (steps.len() <= MOST).then_some(steps)
}

/// One part of a path in the manner of RFC 6901.
fn pointer(part: &str) -> Step {
    Step::Token(part.replace("~1", "/").replace("~0", "~"))
}

/// A place in a list as RFC 6901 writes it: no sign, and no zeros before it.
fn place(token: &str) -> Option<usize> {
    let is_place = token == "0" || !token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit());
    is_place.then(|| token.parse().ok()).flatten()
}

fn dollar(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (place, after) = inside.split_once(']')?;
            let place = place.trim();
            steps.push(match place {
                "*" => Step::Each,
                _ => match place.strip_prefix("#-") {
                    // A number may have a sign.
                    Some(back) if back.starts_with('+') => return None,
                    Some(back) => Step::FromEnd(back.parse().ok()?),
                    None => Step::Index(place.parse().ok()?),
                },
            });
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let quoted = after.starts_with('"');
            let (key, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(['.', '[']).unwrap_or(after.len())),
            };
            // `$..key`, at any depth, is no path here; a key that is empty stands in quotes.
            if key.is_empty() && !quoted {
                return None;
            }
            steps.push(if key == "*" { Step::Each } else { Step::Key(key.to_owned()) });
            rest = after;
        }
    }
    Some(steps)
}

/// What the steps lead to, as JSON; where one of them is [`Step::Each`], a list of what is there.
pub fn find<'a>(json: &'a str, steps: &[Step]) -> Option<Cow<'a, str>> {
    match steps.contains(&Step::Each) {
        false => steps.iter().try_fold(leading_value(json)?, child).map(Cow::Borrowed),
        true => {
            let mut found = Vec::new();
            every(leading_value(json)?, steps, &mut found);
            Some(Cow::Owned(format!("[{}]", found.join(","))))
        }
    }
}

fn every<'a>(json: &'a str, steps: &[Step], found: &mut Vec<&'a str>) {
    match steps.split_first() {
        None => found.extend(leading_value(json)),
        Some((Step::Each, rest)) => parts(json).for_each(|(_, part)| every(part, rest, found)),
        Some((step, rest)) => {
            if let Some(part) = child(json, step) {
                every(part, rest, found);
            }
        }
    }
}

fn child<'a>(json: &'a str, step: &Step) -> Option<&'a str> {
    match step {
        Step::Token(token) if json.starts_with('[') => list(json)?.nth(place(token)?),
        Step::Key(key) | Step::Token(key) => {
            parts(json).find(|(name, _)| name.is_some_and(|n| is_key(n, key))).map(|(_, v)| v)
        }
        Step::Index(index) => match usize::try_from(*index) {
            Ok(index) => list(json)?.nth(index),
            Err(_) => from_end(json, index.unsigned_abs()),
        },
        Step::FromEnd(back) => from_end(json, *back),
        Step::Each => None,
    }
}

fn from_end(json: &str, back: u64) -> Option<&str> {
    let place = list(json)?.count().checked_sub(usize::try_from(back).ok()?)?;
    list(json)?.nth(place)
}

fn list(json: &str) -> Option<impl Iterator<Item = &str>> {
    json.starts_with('[').then(|| parts(json).map(|(_, part)| part))
}

/// The elements of a list, or the values of an object with their keys as they are written, quotes included.
pub fn parts(json: &str) -> Parts<'_> {
    let json = json.trim_start();
    let at = if json.starts_with(['[', '{']) { 1 } else { json.len() };
    Parts { json, at, named: json.starts_with('{') }
}

/// See [`parts`].
pub struct Parts<'a> {
    json: &'a str,
    at: usize,
    named: bool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = (Option<&'a str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.part();
        if found.is_none() {
            self.at = self.json.len();
        }
        found
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Option<(Option<&'a str>, &'a str)> {
        let bytes = self.json.as_bytes();
        let mut at = space(bytes, self.at);
        let mut name = None;
        if self.named {
            let end = string_end(bytes, at)?;
            name = self.json.get(at..end);
            at = space(bytes, end);
            if bytes.get(at) != Some(&b':') {
                return None;
            }
            at = space(bytes, at + 1);
        }
        let end = value_end(bytes, at)?;
        let value = self.json.get(at..end)?;
        let after = space(bytes, end);
        self.at = match bytes.get(after) {
            Some(b',') => after + 1,
            Some(b']' | b'}') => self.json.len(),
            _ => return None,
        };
        Some((name, value))
    }
}

/// The value that a text begins with.
fn leading_value(json: &str) -> Option<&str> {
    let at = space(json.as_bytes(), 0);
    json.get(at..value_end(json.as_bytes(), at)?)
}

/// White space of JSON, which has no form feed.
#[inline]
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_space(**byte)).count()
}

/// One past the closing quote of a string that begins here.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// One past the value that begins here.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'[' | b'{' => {
            let (mut depth, mut at) = (0usize, at);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = bytes.get(at..)?;
            let ends = |b: &u8| matches!(b, b',' | b']' | b'}' | b':') || is_space(*b);
            let length = rest.iter().position(ends).unwrap_or(rest.len());
            (length > 0).then_some(at + length)
        }
    }
}

/// Whether a key as it is written, quotes included, is this one.
fn is_key(written: &str, key: &str) -> bool {
    match written.contains('\\') {
        true => text(written).is_some_and(|text| text == key),
        false => written.get(1..written.len().saturating_sub(1)) == Some(key),
    }
}

/// A value as text: a string without its quotes and escapes, all else as it is written. None for null.
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' if value.contains('\\') => serde_json::from_str(value).ok().map(Cow::Owned),
        b'"' => value.get(1..value.len().checked_sub(1)?).map(Cow::Borrowed),
        _ if value == "null" => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(json: &'a str, path: &str) -> Option<Cow<'a, str>> {
        find(json, &steps(path)?)
    }

    #[test]
    fn paths_lead_to_parts_as_they_are_written() {
        let json = r#" {"a": {"b": [1, {"c": "x\ny"}, 2.50]}, "k\u0065y": null, "s t": true} "#;
        for (path, found) in [
            ("$.a.b[0]", Some("1")),
            ("$.a.b[1].c", Some(r#""x\ny""#)),
            ("$.a.b[-1]", Some("2.50")),
            ("$.a.b[#-3]", Some("1")),
            ("$.a.b[#-1]", Some("2.50")),
            ("$.a.b[#-0]", None),
            ("$.a.b[#-4]", None),
            ("$.a.b[#-18446744073709551615]", None),
            ("$.a.b[-9223372036854775808]", None),
            ("$.a.b[3]", None),
            ("$.a.b[-4]", None),
            ("/a/b/2", Some("2.50")),
            ("key", Some("null")),
            ("$.\"s t\"", Some("true")),
            ("$.a.b[*].c", Some(r#"["x\ny"]"#)),
            ("$.a[*][0]", Some("[1]")),
            ("$.nothing[*]", Some("[]")),
            ("b", None),
            ("$.a.c", None),
        ] {
            assert_eq!(get(json, path).as_deref(), found, "{path}");
        }
        assert_eq!(get(json, "$").as_deref(), Some(json.trim()));
    }

    #[test]
    fn what_a_pointer_says_is_a_key_where_the_value_is_an_object() {
        let json = r#"{"a": {"0": 1, "01": 2, "-1": 3, "": 4, "b/~1": 5}, "l": [6, {"2": 7}]}"#;
        for (path, found) in [
            ("/a/0", Some("1")),
            ("/a/01", Some("2")),
            ("/a/-1", Some("3")),
            ("/a/", Some("4")),
            ("/a/b~1~01", Some("5")),
            ("/a/1", None),
            ("/l/0", Some("6")),
            ("/l/1/2", Some("7")),
            ("/l/2", None),
            ("/l/00", None),
            ("/l/01", None),
            ("/l/+1", None),
            ("/l/-1", None),
            ("/l/-", None),
            ("/l/", None),
            ("/l/18446744073709551617", None),
        ] {
            assert_eq!(get(json, path).as_deref(), found, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_or_no_json_gives_nothing() {
        for path in ["$a", "$.a[", "$[x]", "$.\"a", "$..a", "$."] {
            assert_eq!(steps(path), None, "{path}");
        }
        for back in ["", "-1", "+1", " 1", "-9223372036854775808", "18446744073709551616"] {
            assert_eq!(steps(&format!("$[#-{back}]")), None, "{back}");
        }
        for json in ["", "{", "{\"a\"", "{\"a\":", "{\"a\" 1}", "[1", "\"a", "{\"a\":[1}"] {
            assert_eq!(get(json, "$.a").as_deref(), None, "{json}");
        }
    }

    #[test]
    fn texts_lose_their_quotes() {
        assert_eq!(text(r#""a\"b""#).as_deref(), Some("a\"b"));
        assert_eq!(text("\"é\"").as_deref(), Some("é"));
        assert_eq!(text("1.50").as_deref(), Some("1.50"));
        assert_eq!(text("null"), None);
        assert_eq!(text("\""), None);
    }
}
