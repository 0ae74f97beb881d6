//! Keys within objects, named by their path with dots: `translation.en`.

use gstore_core::json::parts;
use serde_json::{Map, Value};

use crate::json::{every_number, write_compact};

/// Whether a path leads into the object of another one.
pub(super) fn is_within(path: &str, object: &str) -> bool {
    path.strip_prefix(object).is_some_and(|rest| rest.starts_with('.'))
}

/// The keys of a record with those within objects in place of their object, as paths.
pub(super) fn paths(object: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in object {
        match value.as_object().filter(|inner| !inner.is_empty()) {
            Some(inner) => found.extend(paths_within(key, inner)),
            None => found.push(key.clone()),
        }
    }
    found
}

/// The paths of the keys within the object of a key.
pub(super) fn paths_within(key: &str, inner: &Map<String, Value>) -> Vec<String> {
    paths(inner).into_iter().map(|path| format!("{key}.{path}")).collect()
}

/// A record's compact JSON text with the values of some paths as keys of their own, called like their paths,
/// and the same as an object; `None` if it has none of them. They stand before what is left of the object
/// that had them; one of which nothing is left goes. `text` is the JSON that `object` was read from.
pub(super) fn lifted(
    object: &Map<String, Value>,
    text: &str,
    wanted: &[&str],
) -> Option<(String, Map<String, Value>)> {
    let mut lift = Lift { wanted, lifted: Map::new(), line: String::new() };
    let (mut line, mut all) = (String::with_capacity(text.len()), Map::new());
    for ((key, value), (_, text)) in object.iter().zip(parts(text)) {
        let before = lift.lifted.len();
        let rest = lift.take(key, value, text);
        for (path, value) in lift.lifted.iter().skip(before) {
            all.insert(path.clone(), value.clone());
        }
        add(&mut line, &std::mem::take(&mut lift.line));
        if let Some((value, text)) = rest {
            add_member(&mut line, key, &text);
            all.insert(key.clone(), value);
        }
    }
    (!lift.lifted.is_empty()).then(|| (format!("{{{line}}}"), all))
}

/// The values that were taken out of their objects.
struct Lift<'a> {
    wanted: &'a [&'a str],
    lifted: Map<String, Value>,
    /// The members that were taken last, as text.
    line: String,
}

impl Lift<'_> {
    /// Takes what is wanted out of the value of a path, and gives what is left of it.
    fn take(&mut self, path: &str, value: &Value, text: &str) -> Option<(Value, String)> {
        let inside = value.as_object().filter(|_| self.wanted.iter().any(|wanted| is_within(wanted, path)));
        let Some(object) = inside else { return Some((value.clone(), compact(value, text))) };
        let (mut rest, mut line) = (Map::new(), String::new());
        for ((key, value), (_, text)) in object.iter().zip(parts(text)) {
            let path = format!("{path}.{key}");
            // A path may be that of two values, if a key within has a dot.
            if self.wanted.contains(&path.as_str()) && !self.lifted.contains_key(&path) {
                add_member(&mut self.line, &path, &compact(value, text));
                self.lifted.insert(path, value.clone());
            } else if let Some((value, text)) = self.take(&path, value, text) {
                add_member(&mut line, key, &text);
                rest.insert(key.clone(), value);
            }
        }
        (!rest.is_empty()).then(|| (Value::Object(rest), format!("{{{line}}}")))
    }
}

fn compact(value: &Value, text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    write_compact(value, text, every_number, &mut line);
    line
}

/// Appends members of an object to others.
fn add(line: &mut String, members: &str) {
    if !line.is_empty() && !members.is_empty() {
        line.push(',');
    }
    line.push_str(members);
}

fn add_member(line: &mut String, key: &str, value: &str) {
    add(line, &format!("{}:{value}", Value::from(key)));
}
