//! Ranks and scores as keys of selected records.

use std::io::{Error, Write};

use gstore_core::Remedy;
use serde_json::{Map, Value};

use crate::answer::AnswerError;

/// The key of a rank, which is from 1.
pub(super) const RANK: &str = "gstore_rank";
/// The key of a score.
pub(super) const SCORE: &str = "gstore_score";

/// Writes a record as a line with its rank and score as its last keys; the rest of it stays as it is, byte
/// for byte.
///
/// # Errors
/// A record that has such a key, or is no JSON object; an output that fails.
pub fn write_scored_line(
    out: &mut impl Write,
    (row, record): (u64, &[u8]),
    (rank, score): (u64, f32),
) -> Result<(), AnswerError> {
    let object: Map<String, Value> = serde_json::from_slice(record).map_err(|error| {
        AnswerError::Refused(format!("the record of row {row} is not a JSON object: {error}"))
    })?;
    check_keys(&format!("row {row}"), |key| object.contains_key(key))?;
    // White space may follow.
    let end = record.iter().rposition(|byte| *byte == b'}').unwrap_or(record.len());
    let (keys, end) = record.split_at(end);
    out.write_all(keys)?;
    write!(out, "{}\"{RANK}\":{rank},\"{SCORE}\":", if object.is_empty() { "" } else { "," })?;
    serde_json::to_writer(&mut *out, &score).map_err(Error::from)?;
    out.write_all(end)?;
    Ok(out.write_all(b"\n")?)
}

/// Refuses what has such keys of its own.
pub(super) fn check_keys(of: &str, has: impl Fn(&str) -> bool) -> Result<(), AnswerError> {
    match [RANK, SCORE].into_iter().find(|key| has(key)) {
        Some(key) => Err(AnswerError::Refused(format!(
            "{of} has a `{key}` already, so it cannot be added: leave {} out, or rename the one that is there",
            Remedy::Option("with_scores", "")
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_bytes() {
        let line = |record: &str| {
            let mut out = Vec::new();
            let written = write_scored_line(&mut out, (7, record.as_bytes()), (2, 0.1));
            written.map(|()| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(
            line("{ \"text\": \"a}\", \"n\": 1.50 }\r").unwrap(),
            "{ \"text\": \"a}\", \"n\": 1.50 ,\"gstore_rank\":2,\"gstore_score\":0.1}\r\n"
        );
        assert_eq!(line("{}").unwrap(), "{\"gstore_rank\":2,\"gstore_score\":0.1}\n");
        let refused = line("{\"text\":\"a\",\"gstore_score\":null}").unwrap_err();
        assert!(refused.starts_with("row 7 has a `gstore_score` already"), "{refused}");
        assert!(line("[]").unwrap_err().starts_with("the record of row 7 is not a JSON object"));
    }
}
