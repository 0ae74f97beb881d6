//! Methods of Python's strings that minijinja's own set of them lacks, or takes for something else.

use minijinja::value::{Tuple, from_args};
use minijinja::{Error, ErrorKind, Value};

/// What a method of this text gives; none if it is not one of these.
pub(super) fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "title" => {
            from_args::<()>(args)?;
            Value::from(title(text))
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
        "rsplit" => {
            let (separator, cuts): (&str, Option<i64>) = from_args(args)?;
            let pieces =
                usize::try_from(cuts.unwrap_or(-1)).map_or(usize::MAX, |cuts| cuts.saturating_add(1));
            let found: Vec<&str> = text.rsplitn(pieces, check_separator(separator)?).collect();
            found.into_iter().rev().map(Value::from).collect()
        }
        _ => return Ok(None),
    }))
}

fn parts(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn check_separator(separator: &str) -> Result<&str, Error> {
    match separator {
        "" => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a text is cut at a separator, and this one is empty",
        )),
        separator => Ok(separator),
    }
}

/// Each letter behind one is small and any other large: `it's a_b` becomes `It'S A_B`.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut behind_letter = false;
    for c in text.chars() {
        match behind_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        behind_letter = c.is_lowercase() || c.is_uppercase();
    }
    out
}
