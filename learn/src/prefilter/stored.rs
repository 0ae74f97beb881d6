//! The stored form of a prefilter, and its versions.

use serde_json::Value;

use super::Prefilter;
use crate::error::LearnError;

/// The form of the stored value: with 2 labelled rows of the top are kept, with 3 in the pool alone.
pub(super) const VERSION: u32 = 3;

/// The oldest form that is read.
const OLDEST: u32 = 1;

impl Prefilter {
    /// As a value to store.
    pub fn to_value(&self) -> Value {
        // Numbers are finite and keys are text.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Of a stored value.
    ///
    /// # Errors
    /// A value of another form, or of a later version.
    pub fn from_value(value: Value) -> Result<Prefilter, LearnError> {
        let version = value.get("version").and_then(Value::as_u64);
        if !version.is_some_and(|version| (u64::from(OLDEST)..=u64::from(VERSION)).contains(&version)) {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(LearnError::Invalid(format!(
                "the stored prefilter has version {found}, and this program reads {OLDEST} to {VERSION}"
            )));
        }
        let mut stored: Prefilter = serde_json::from_value(value)
            .map_err(|error| LearnError::Invalid(format!("the stored prefilter cannot be read: {error}")))?;
        // Before the third form the provenance alone says which dataset was labelled.
        stored.pool = stored.pool.or_else(|| Some(stored.provenance.get("pool")?.as_str()?.to_owned()));
        Ok(stored)
    }
}
