//! JSON as Python writes it, with infinities and NaN, which JSON lacks.

use serde_json::Value;

/// What Python writes for such numbers.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The value of JSON in which `NaN`, `Infinity` and `-Infinity` may stand for numbers; they become null.
///
/// # Errors
/// What is no JSON otherwise.
pub fn python_json(bytes: &[u8]) -> serde_json::Result<Value> {
    python_json_with(bytes, |_| "null".to_owned())
}

/// The same with other JSON in place of each of these words.
///
/// # Errors
/// What is no JSON otherwise.
pub fn python_json_with(bytes: &[u8], instead: impl Fn(&str) -> String) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| {
        let plain = replaced(bytes, instead);
        // Places in the message are those of the file.
        if plain == bytes { Err(error) } else { serde_json::from_slice(&plain) }
    })
}

/// The bytes with other JSON in place of each of the words, outside of strings.
fn replaced(bytes: &[u8], instead: impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut in_string) = (bytes, false);
    while let [byte, after @ ..] = rest {
        if in_string && *byte == b'\\' {
            let pair = rest.len().min(2);
            out.extend_from_slice(&rest[..pair]);
            rest = &rest[pair..];
            continue;
        }
        if let Some(word) = WORDS.iter().find(|word| !in_string && rest.starts_with(word.as_bytes())) {
            out.extend_from_slice(instead(word).as_bytes());
            rest = &rest[word.len()..];
            continue;
        }
        in_string ^= *byte == b'"';
        out.push(*byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_are_none_become_what_is_asked_for() {
        let text = br#"{"a": [NaN, -Infinity,Infinity, 1.5], "NaN": "a \"NaN\", -Infinity\\"}"#;
        let note = "a \"NaN\", -Infinity\\";
        assert_eq!(python_json(text).unwrap(), json!({"a": [null, null, null, 1.5], "NaN": note}));
        let words = python_json_with(text, |word| format!("{word:?}")).unwrap();
        assert_eq!(words, json!({"a": ["NaN", "-Infinity", "Infinity", 1.5], "NaN": note}));
        let place = python_json(b"{\"a\":\n nan}").unwrap_err();
        assert_eq!((place.line(), python_json(b"[NaNs]").is_err()), (2, true));
    }
}
