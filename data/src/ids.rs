//! Ids for records that have none.

use std::collections::HashMap;

use serde::Deserialize;

use super::record::Record;

/// What happens to a record whose id an earlier one of the same data has. Uploads to a server say it by these
/// words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// It is an error.
    #[default]
    Refuse,
    /// The first one stays, and the others are counted.
    First,
}

/// Gives each record its id: its own, or one made from its line.
///
/// A made id is `x` and the first 16 hex digits of the BLAKE3 hash of the record's JSON text as it is stored
/// (of JSON lines: the line); the second equal one of a registration gets `-2` at the end, the third `-3`,
/// and so on. The same files therefore have the same ids whenever they are read, and a line keeps its id when
/// others are added, removed or moved, except among its exact copies.
#[derive(Debug, Default)]
pub struct IdAllocator {
    seen: HashMap<u64, u64>,
}

impl IdAllocator {
    /// For a new registration.
    pub fn new() -> Self {
        Self::default()
    }

    /// The id of the next record; `line` is its text.
    pub fn id_of(&mut self, record: &Record, line: &[u8]) -> String {
        match &record.id {
            Some(id) => id.clone(),
            None => self.make(line),
        }
    }

    /// The id of a record that has none; `line` is its text.
    pub(crate) fn make(&mut self, line: &[u8]) -> String {
        let mut first = [0u8; 8];
        first.copy_from_slice(&blake3::hash(line).as_bytes()[..8]);
        let digits = u64::from_be_bytes(first);
        let times = self.seen.entry(digits).or_insert(0);
        *times += 1;
        match *times {
            1 => format!("x{digits:016x}"),
            n => format!("x{digits:016x}-{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::parse_record;
    use super::IdAllocator;

    #[test]
    fn ids_come_from_the_content() {
        let mut ids = IdAllocator::new();
        let mut id = |line: &str| ids.id_of(&parse_record(line.as_bytes()).unwrap(), line.as_bytes());
        let a = id(r#"{"text": "a"}"#);
        assert_eq!(a, format!("x{}", &blake3::hash(br#"{"text": "a"}"#).to_hex()[..16]));
        assert_eq!(id(r#"{"text": "a", "id": "mine"}"#), "mine");
        assert_eq!(id(r#"{"text": "a"}"#), format!("{a}-2"));
        assert_ne!(id(r#"{"text": "b"}"#), a);
        assert_eq!(id(r#"{"text": "a"}"#), format!("{a}-3"));
        let null = r#"{"id": null, "text": "a"}"#;
        assert_eq!(id(null), format!("x{}", &blake3::hash(null.as_bytes()).to_hex()[..16]));
    }
}
