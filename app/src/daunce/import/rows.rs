//! Rows of a dataset by the ids of given losses.

use std::collections::HashMap;
use std::path::Path;

use gstore_core::Cancel;
use gstore_store::{DatasetPart, Snapshot};

use super::manifest::{RowList, TextOrNumber};
use crate::daunce::DaunceError;

/// Ids of given losses, in their order, each with its row.
///
/// Memory: about 200 bytes for each id.
#[derive(Debug, Default)]
pub(super) struct SampleRows {
    pub ids: Vec<String>,
    pub places: HashMap<String, usize>,
    /// Row of each id.
    pub rows: Vec<u64>,
}

impl SampleRows {
    /// Some ids, each once.
    pub fn of(ids: Vec<String>) -> Self {
        let places = ids.iter().enumerate().map(|(place, id)| (id.clone(), place)).collect();
        Self { ids, places, rows: Vec::new() }
    }

    /// Adds an id; false if it is there already.
    pub fn add(&mut self, id: &str) -> bool {
        let is_new = !self.places.contains_key(id);
        if is_new {
            self.places.insert(id.to_owned(), self.ids.len());
            self.ids.push(id.to_owned());
        }
        is_new
    }

    /// The ids of a list.
    ///
    /// # Errors
    /// A file that is no list; an id that stands there twice.
    pub fn of_list(list: &RowList, losses: &Path) -> Result<Self, DaunceError> {
        let mut rows = Self::default();
        let (path, ids) = match list {
            RowList::Ids(ids) => (losses, ids.iter().map(TextOrNumber::text).collect::<Vec<String>>()),
            RowList::File(path) => {
                let text = String::from_utf8(fs_err::read(path)?).map_err(|_| {
                    let expected =
                        "it is not text; `rows` is a file with one id per line, or with a JSON list of ids";
                    DaunceError::file(path, expected)
                })?;
                // Editors of Windows begin files with a byte order mark.
                let text = text.trim_start_matches('\u{feff}');
                let ids = match text.trim_start().starts_with('[') {
                    true => {
                        let ids: Vec<TextOrNumber> = serde_json::from_str(text)
                            .map_err(|error| DaunceError::file(path, error.to_string()))?;
                        ids.iter().map(TextOrNumber::text).collect()
                    }
                    false => text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
                };
                (path.as_path(), ids)
            }
        };
        for id in ids {
            if !rows.add(&id) {
                let detail = format!("the id {id:?} appears twice among the rows");
                return Err(DaunceError::file(path, detail));
            }
        }
        Ok(rows)
    }

    /// Finds the row of each id.
    ///
    /// # Errors
    /// Ids that the dataset does not have.
    pub fn find(
        &mut self,
        snapshot: &Snapshot,
        dataset: &DatasetPart,
        losses: &Path,
        cancel: &Cancel,
    ) -> Result<(), DaunceError> {
        const NONE: u64 = u64::MAX;
        self.rows = vec![NONE; self.ids.len()];
        snapshot.samples(dataset)?.each_id(cancel, |row, id| {
            if let Some(slot) = self.places.get(id).and_then(|place| self.rows.get_mut(*place)) {
                *slot = row;
            }
        })??;
        let lost = self.rows.iter().zip(&self.ids).filter(|(row, _)| **row == NONE);
        let mut lost = lost.map(|(_, id)| id.clone());
        match lost.next() {
            None => Ok(()),
            Some(first) => Err(DaunceError::NoIds {
                path: losses.to_owned(),
                dataset: dataset.name.clone(),
                first,
                others: lost.count(),
            }),
        }
    }

    /// Places of the ids, by row.
    pub fn by_row(&self) -> Vec<(u64, usize)> {
        let mut order: Vec<(u64, usize)> =
            self.rows.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        order.sort_unstable();
        order
    }
}
