//! New samples with texts that the dataset has already, under other ids.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use gstore_core::{Cancel, Digest, Remedy, many, many_of};
use gstore_data::Content;
use gstore_store::{DatasetPart, ReadError, Snapshot};

/// Stored rows that are read however few samples are new.
const ROWS: u64 = 10_000;
/// Further ones for each new sample: reading them takes about as long as registering it does.
const ROWS_EACH: u64 = 4;

/// How many new samples have each text. Memory: about 50 bytes for each text.
#[derive(Default)]
pub(super) struct NewTexts(HashMap<Digest, u64>);

impl NewTexts {
    /// For data that goes to a dataset with rows.
    pub(super) fn beside(part: Option<&DatasetPart>) -> Option<Self> {
        part.filter(|part| part.rows > 0).map(|_| Self::default())
    }

    pub(super) fn add(&mut self, content: &Content) {
        *self.0.entry(content.digest()).or_default() += 1;
    }

    /// What people are told of them. Damage of stored rows is left to their readers: new rows do not depend on
    /// it.
    pub(super) fn told(self, before: &Snapshot, part: &DatasetPart, cancel: &Cancel) -> Option<String> {
        let new: u64 = self.0.values().sum();
        if new == 0 || part.rows > new.saturating_mul(ROWS_EACH).saturating_add(ROWS) {
            return None;
        }
        let known = self.known(before, part, cancel).unwrap_or_default();
        (known > 0).then(|| {
            format!(
                "of {}, {} a text that `{}` has already under another id: {} lists such texts",
                many(new, "new sample"),
                many_of(known, "has", "have"),
                part.name,
                Remedy::RepeatedTexts(&part.name)
            )
        })
    }

    /// How many of them have the text of a stored sample.
    fn known(mut self, before: &Snapshot, part: &DatasetPart, cancel: &Cancel) -> Result<u64, ReadError> {
        let mut known = 0;
        for batch in before.samples(part)?.scan(&["record"], None) {
            let batch = batch?;
            let records = batch.column_by_name("record").and_then(|column| column.as_binary_opt::<i32>());
            for record in records.into_iter().flatten().flatten() {
                let content = Content::read(record).ok();
                known += content.and_then(|content| self.0.remove(&content.digest())).unwrap_or_default();
            }
            if self.0.is_empty() || cancel.is_raised() {
                break;
            }
        }
        Ok(known)
    }
}
