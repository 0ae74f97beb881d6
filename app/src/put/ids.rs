//! Rows of samples by their ids, batch by batch, without an index in memory.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_store::SampleReader;

use super::PutError;

/// The samples of a dataset, looked through as ids are asked for.
pub(super) struct IdLookup {
    samples: SampleReader,
    /// The row after the last one that was found.
    next: u64,
}

impl IdLookup {
    pub(super) fn new(samples: SampleReader) -> Self {
        Self { samples, next: 0 }
    }

    /// The rows of some ids, in their order. Ids mostly come in the order of the rows, so the search goes on
    /// where the last one ended: a whole dataset is read once then, and for each batch otherwise.
    pub(super) fn rows_of(&mut self, dataset: &str, ids: &[&str]) -> Result<Vec<u64>, PutError> {
        let mut places = HashMap::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            if places.insert(*id, at).is_some() {
                return Err(PutError::IdTwice((*id).to_owned()));
            }
        }
        let mut rows = vec![0; ids.len()];
        let from = self.next;
        for range in [from..u64::MAX, 0..from] {
            if places.is_empty() {
                break;
            }
            for batch in self.samples.scan(&["row", "id"], Some(range)) {
                let batch = batch?;
                let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
                for (row, id) in numbers.iter().zip(batch.column(1).as_string::<i32>()) {
                    let Some(at) = id.and_then(|id| places.remove(id)) else { continue };
                    if let Some(slot) = rows.get_mut(at) {
                        *slot = *row;
                    }
                    self.next = row + 1;
                }
                if places.is_empty() {
                    break;
                }
            }
        }
        match places.into_iter().min_by_key(|(_, at)| *at) {
            Some((id, _)) => Err(PutError::NoId { dataset: dataset.to_owned(), id: id.to_owned() }),
            None => Ok(rows),
        }
    }
}
