//! Ids in their order, with their places.

use std::collections::HashMap;

use crate::error::EvaluateError;

/// Ids, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    ids: Vec<String>,
    places: HashMap<String, usize>,
}

impl Ids {
    /// These ids in their order; `of` says what they are of.
    ///
    /// # Errors
    /// An id that comes twice, and none at all.
    pub fn new(ids: impl IntoIterator<Item = String>, of: &str) -> Result<Ids, EvaluateError> {
        let mut found = Ids::default();
        for id in ids {
            if found.places.insert(id.clone(), found.ids.len()).is_some() {
                return Err(EvaluateError::RepeatedId { id, of: of.to_owned() });
            }
            found.ids.push(id);
        }
        match found.ids.is_empty() {
            true => Err(EvaluateError::Nothing(of.to_owned())),
            false => Ok(found),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none, which [`Ids::new`] does not make.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The place of an id.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The id at a place; empty beyond the last.
    pub fn id(&self, place: usize) -> &str {
        self.ids.get(place).map_or("", String::as_str)
    }

    /// The ids in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }
}
