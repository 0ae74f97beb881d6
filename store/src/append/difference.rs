//! Comparison of a record with the stored one of its id, for messages.

use crate::error::RecordDifference;
use serde_json::{Map, Value};

/// How a record differs from another one.
pub(super) fn difference_of(stored: &[u8], record: &[u8]) -> RecordDifference {
    if without_return(stored) == without_return(record) {
        return RecordDifference::InLineEnd;
    }
    let parsed = |record: &[u8]| serde_json::from_slice::<Value>(record).ok();
    match parsed(stored).zip(parsed(record)) {
        Some((stored, record)) if says_the_same(&stored, &record) => RecordDifference::InSpelling,
        _ => RecordDifference::Otherwise,
    }
}

/// A record without the carriage return that a file with CRLF leaves at its end.
fn without_return(record: &[u8]) -> &[u8] {
    record.strip_suffix(b"\r").unwrap_or(record)
}

/// Whether two values are the same, where a key that is null counts as one that is absent.
fn says_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let given =
                |object: &Map<String, Value>| object.values().filter(|value| !value.is_null()).count();
            let is_there = |(key, value): (&String, &Value)| {
                value.is_null() || other.get(key).is_some_and(|other| says_the_same(value, other))
            };
            given(one) == given(other) && one.iter().all(is_there)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| says_the_same(one, other))
        }
        // Integers of more than 64 bits were read as floats, which may lack the digits that differ.
        (Value::Number(number), _)
            if number.is_f64() && number.as_f64().is_some_and(|x| x.abs() >= 2_f64.powi(63)) =>
        {
            false
        }
        (one, other) => one == other,
    }
}
