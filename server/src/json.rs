//! Parsing of JSON requests.

use serde::de::DeserializeOwned;
use tonic::Status;

/// What types of the code are called in messages.
const WORDS: [(&str, &str); 5] = [
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected f64", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected an object"),
];

/// Reads an object, which messages call `what`.
pub(crate) fn read_object<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Status> {
    let refused = |why: &str| Status::invalid_argument(format!("{what} is not understood: {why}"));
    // serde also reads the fields of a type from a list, in the order of its source code.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused("it is no JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let text = e.to_string();
        refused(&WORDS.iter().fold(text, |text, (ty, words)| text.replace(ty, words)))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    struct Body {
        rows: Option<usize>,
        within: Option<Box<Body>>,
    }

    #[test]
    fn messages_are_in_words_of_json() {
        let read = |text: &str| read_object::<Body>("the request", text.as_bytes());
        let good = read(r#" {"within": {"rows": 3}}"#).unwrap();
        assert_eq!((good.rows, good.within.and_then(|within| within.rows)), (None, Some(3)));
        for (bad, why) in [
            ("[3, null]", "the request is not understood: it is no JSON object"),
            ("", "no JSON object"),
            ("{", "EOF while parsing"),
            (r#"{"rows": -1}"#, "integer `-1`, expected a whole number, 0 or more at line 1"),
            (r#"{"within": 3}"#, "integer `3`, expected an object at line 1"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.message().contains(why), "{bad}: {error}");
        }
    }
}
