//! JSON as Python's `json.dumps` writes it.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// How many lists and mappings may stand inside one another. Python has a limit as well.
const DEEPEST: usize = 500;

pub(super) struct JsonStyle {
    /// Other characters are written as UTF-16 escapes.
    pub(super) ascii: bool,
    /// Before what each level holds, on a line of its own; none writes one line.
    pub(super) indention: Option<String>,
    pub(super) between_items: String,
    pub(super) behind_key: String,
    /// Whether keys are in the order of the alphabet.
    pub(super) sorted: bool,
}

impl JsonStyle {
    pub(super) fn dumps(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(value, 0, &mut out)?;
        Ok(out)
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refused(format!("more than {DEEPEST} lists and mappings inside one another")));
        }
        match value.kind() {
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?;
                self.write_parts(['[', ']'], &items, depth, out, |item, out| {
                    self.write(item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let pairs = self.pairs(value)?;
                self.write_parts(['{', '}'], &pairs, depth, out, |(key, value), out| {
                    self.write_text(key, out);
                    out.push_str(&self.behind_key);
                    self.write(value, depth + 1, out)
                })?;
            }
            _ => out.push_str(&word(value)?),
        }
        Ok(())
    }

    /// The keys of a mapping as texts, and what they stand for.
    fn pairs(&self, map: &Value) -> Result<Vec<(String, Value)>, Error> {
        let mut pairs = Vec::new();
        for key in map.try_iter()?.checked() {
            let key = key?;
            let text = match key.as_str() {
                Some(text) => text.to_owned(),
                // Python sorts numbers before they are texts.
                None if self.sorted => return Err(refused("sorted keys that are not text".to_owned())),
                None => word(&key)?,
            };
            pairs.push((text, map.get_item(&key)?));
        }
        if self.sorted {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        Ok(pairs)
    }

    fn write_parts<T>(
        &self,
        [open, close]: [char; 2],
        parts: &[T],
        depth: usize,
        out: &mut String,
        write: impl Fn(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.between_items);
            }
            self.break_line(depth + 1, out);
            write(part, out)?;
        }
        if !parts.is_empty() {
            self.break_line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn break_line(&self, depth: usize, out: &mut String) {
        if let Some(indention) = &self.indention {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indention));
        }
    }

    fn write_text(&self, text: &str, out: &mut String) {
        let json = serde_json::Value::from(text).to_string();
        match self.ascii {
            true => push_as_ascii(&json, out),
            false => out.push_str(&json),
        }
    }
}

/// A number, `true`, `false` or `null`.
fn word(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Number => match f64::try_from(value.clone())? {
            number if number.is_nan() => Ok("NaN".to_owned()),
            f64::INFINITY => Ok("Infinity".to_owned()),
            f64::NEG_INFINITY => Ok("-Infinity".to_owned()),
            _ => format(FormatStyle::StrFormat, "{}", std::slice::from_ref(value)),
        },
        kind => Err(refused(format!("a value of the type {kind}"))),
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson cannot write {what}"))
}

/// JSON with other characters as UTF-16 escapes, as Python writes them; also the last one of ASCII.
fn push_as_ascii(json: &str, out: &mut String) {
    for c in json.chars() {
        match c.is_ascii() && c != '\x7f' {
            true => out.push(c),
            false => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}
