//! Canonical JSON: one spelling for each value, so that equal descriptions have equal digests.
//!
//! Invariants
//! - object keys are sorted by their UTF-8 bytes; there is no white space
//! - numbers that are equal are spelled alike: a float without a fraction is written as an integer
//!   (`1.0` is `1`, `-0.0` is `0`), any other float in the shortest form that reads back to the same
//!   bits (`0.9`, `1e-8`)
//! - strings escape only `"`, `\` and the control characters below U+0020; everything else is plain UTF-8

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a JSON value.
pub fn canonical_json(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    spell_alike(&mut value);
    value.to_string()
}

/// Below this, every float without a fraction is an exact integer of the same value.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Makes integers of the floats without a fraction.
fn spell_alike(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell_alike),
        Value::Object(map) => map.values_mut().for_each(spell_alike),
        Value::Number(number) => {
            let whole = |f: &f64| f.fract() == 0.0 && f.abs() <= EXACT;
            if let Some(float) = number.as_f64().filter(whole).filter(|_| number.is_f64()) {
                *number = (float as i64).into();
            }
        }
        _ => {}
    }
}

/// The SHA-256 of some bytes, as 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    hex(digest.as_slice())
}

/// The key of a description: SHA-256 of the canonical JSON of what `serde` makes of it.
pub fn key_of<T: Serialize>(description: &T) -> String {
    // Descriptions are plain structs of strings and numbers. One that cannot be written as JSON would
    // be a programming error; it gets the key of its type's name, which no description has, instead
    // of stopping the process.
    let value = serde_json::to_value(description)
        .unwrap_or_else(|_| Value::String(std::any::type_name::<T>().to_owned()));
    sha256_hex(canonical_json(&value).as_bytes())
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_numbers_have_one_spelling() {
        let v = json!({"b": 1.0, "a": [0.9, 1e-8, -0.0, 3, true, null], "Z": "é\n\u{1}\""});
        assert_eq!(canonical_json(&v), "{\"Z\":\"é\\n\\u0001\\\"\",\"a\":[0.9,1e-8,0,3,true,null],\"b\":1}");
    }

    #[test]
    fn sha256_of_nothing() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn order_of_insertion_does_not_matter() {
        let a: Value = serde_json::from_str(r#"{"x":1,"y":{"p":1,"q":2}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"y":{"q":2.0,"p":1},"x":1}"#).unwrap();
        assert_eq!(key_of(&a), key_of(&b));
    }
}
