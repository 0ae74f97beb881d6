//! Records that cannot be used: how many there are, and the first of them in full.

use std::collections::BTreeMap;

use gstore_core::{first_of, many};
use gstore_data::{Content, Place, Role};

use super::IngestError;

/// Records that are named.
const SHOWN: usize = 10;

/// Records beyond those that may be left out, after which reading ends: the file is of another kind.
const ENOUGH: u64 = 10_000;

/// Records that cannot be read or added, as they are found.
#[derive(Default)]
pub(super) struct BadRecords {
    /// With how many more lack the same.
    first: Vec<(IngestError, u64)>,
    count: u64,
    /// How many may be left out.
    allowed: u64,
    /// Records that can be read.
    pub(super) good: u64,
}

impl BadRecords {
    /// None yet; up to `allowed` are left out.
    pub(super) fn allowing(allowed: u64) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Takes one. There is an error when there are so many that the rest need not be read.
    pub(super) fn note(&mut self, error: IngestError) -> Result<(), IngestError> {
        self.count += 1;
        let like = self.first.iter_mut().position(|(known, _)| known.takes(&error));
        match like {
            Some(at) => self.first[at].1 += 1,
            None if self.first.len() < SHOWN => self.first.push((error, 0)),
            None => {}
        }
        if self.are_enough() { std::mem::take(self).check() } else { Ok(()) }
    }

    fn are_enough(&self) -> bool {
        self.count >= self.allowed.saturating_add(ENOUGH)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What people are told where they are left out.
    pub(super) fn told(&self) -> Option<String> {
        let count = many(self.count, "record");
        (self.count > 0).then(|| format!("left out {count} that cannot be read:{}", self.list()))
    }

    /// An error if there are more than may be left out.
    pub(super) fn check(mut self) -> Result<(), IngestError> {
        if self.count <= self.allowed {
            return Ok(());
        }
        match (self.count, self.first.pop()) {
            // Skipping is not offered for the only record: nothing would be left.
            (1, Some((only, _))) if self.good > 0 || !only.is_of_text() => Err(only),
            (_, last) => {
                self.first.extend(last);
                let (list, count) = (self.list(), self.count);
                let of_text = self.first.iter().all(|(error, _)| error.is_of_text());
                let (enough, all) = (self.are_enough(), self.good == 0);
                Err(IngestError::BadRecords { count, list, of_text, enough, all })
            }
        }
    }

    /// The same once all are read: none may be left out where nothing would be left.
    pub(super) fn check_left(self) -> Result<(), IngestError> {
        let allowed = if self.good == 0 { 0 } else { self.allowed };
        Self { allowed, ..self }.check()
    }

    /// The first ones, a line each.
    fn list(&self) -> String {
        let mut list = String::new();
        let mut more = self.count;
        for (error, alike) in &self.first {
            list.push_str(&format!("\n  {error}"));
            if *alike > 0 {
                list.push_str(&format!("\n  and {alike} more like it"));
            }
            more = more.saturating_sub(1 + alike);
        }
        if more > 0 {
            list.push_str(&format!("\n  and {more} more"));
        }
        list
    }
}

/// Records without a token that could be scored, by why that is.
#[derive(Default)]
pub(super) struct UnscorableRecords {
    why: BTreeMap<&'static str, Vec<String>>,
    count: u64,
}

impl UnscorableRecords {
    pub(super) fn look(&mut self, place: &Place, content: &Content) {
        let why = match content {
            Content::Text(text) if text.is_empty() => "empty text",
            Content::Messages(messages) if messages.iter().all(|m| m.role != Role::Assistant) => {
                "no message of the assistant"
            }
            Content::Messages(messages) if messages.iter().all(|m| !m.scored) => {
                "the assistant's messages have the weight 0"
            }
            _ => return,
        };
        self.count += 1;
        let places = self.why.entry(why).or_default();
        if places.len() <= SHOWN {
            places.push(place.to_string());
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn told(&self, records: u64) -> Option<String> {
        let why = self.why.iter().map(|(why, places)| format!("{why}: {}", first_of(places, SHOWN)));
        let why: Vec<String> = why.collect();
        let (of, verb) = (many(records, "record"), if self.count == 1 { "has" } else { "have" });
        (self.count > 0).then(|| {
            let count = self.count;
            format!("{count} of {of} {verb} nothing to score and will have no score ({})", why.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstore_data::{KeysOf, Message, RecordError};

    fn missing(row: u64) -> IngestError {
        IngestError::NoRecord { row }
    }

    #[test]
    fn ten_are_named_and_the_others_counted() {
        let mut bad = BadRecords::default();
        bad.note(missing(0)).unwrap();
        assert_eq!(std::mem::take(&mut bad).check().unwrap_err().to_string(), missing(0).to_string());
        for row in 0..12 {
            bad.note(missing(row)).unwrap();
        }
        let told = bad.told().unwrap();
        assert!(
            told.contains("row 9 ") && !told.contains("row 10 ") && told.ends_with("and 2 more"),
            "{told}"
        );
        assert!(BadRecords { count: 12, ..BadRecords::allowing(12) }.check().is_ok());
        bad.allowed = 11;
        let error = bad.check().unwrap_err().to_string();
        assert!(error.starts_with("12 records cannot be added:") && error.contains("row 9 "), "{error}");
    }

    #[test]
    fn records_that_lack_the_same_are_told_once() {
        let lacking = |line: u64, key: &str| IngestError::Record {
            place: Place::from(line),
            source: RecordError::Nothing { keys: vec![key.to_owned()], of: KeysOf::Record, talk: None },
        };
        let mut bad = BadRecords::default();
        for line in 2..30 {
            bad.note(lacking(line, if line == 7 { "b" } else { "a" })).unwrap();
        }
        let error = bad.check().unwrap_err().to_string();
        assert!(error.contains("line 2: ") && error.ends_with("\n  and 27 more like it"), "{error}");
        assert!(error.lines().count() == 3 && error.contains("it has `a`, `b`;"), "{error}");
    }

    #[test]
    fn a_file_of_another_kind_is_not_read_to_its_end() {
        for allowed in [0, 7, ENOUGH] {
            let mut bad = BadRecords::allowing(allowed);
            let ended = (0..3 * ENOUGH).position(|row| bad.note(missing(row)).is_err());
            assert_eq!(ended, Some((allowed + ENOUGH) as usize - 1));
        }
    }

    #[test]
    fn what_can_never_be_scored_is_counted_by_its_reason() {
        let mut found = UnscorableRecords::default();
        let message = |role| Message::new(role, "x");
        for (line, content) in [
            (1, Content::Text("x".to_owned())),
            (2, Content::Text(String::new())),
            (3, Content::Messages(vec![message(Role::User), message(Role::Tool)])),
            (4, Content::Messages(vec![message(Role::User), message(Role::Assistant)])),
            (5, Content::Messages(vec![Message { scored: false, ..message(Role::Assistant) }])),
        ] {
            found.look(&Place::from(line), &content);
        }
        let want = "3 of 5 records have nothing to score and will have no score (empty text: line 2; \
                    no message of the assistant: line 3; the assistant's messages have the weight 0: line 5)";
        assert_eq!(found.told(5).as_deref(), Some(want));
    }
}
