//! JSON files, with errors that name the file and the key.

use std::path::Path;

use gstore_core::python_json_with;
use serde_json::Value;

use super::error::ModelError;

/// Parses a JSON file. Numbers that are none, as Python writes them, become texts: where a setting must be a
/// number they are refused, and where nothing reads them they do no harm.
pub(crate) fn read(path: &Path) -> Result<Value, ModelError> {
    let bytes = fs_err::read(path)?;
    python_json_with(&bytes, |word| format!("{word:?}"))
        .map_err(|source| ModelError::Json { path: path.to_owned(), source })
}

/// Typed access to the keys of one JSON object; `null` counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct JsonObject<'a> {
    pub path: &'a Path,
    pub value: &'a Value,
}

impl<'a> JsonObject<'a> {
    pub fn error(&self, message: impl Into<String>) -> ModelError {
        ModelError::Config { path: self.path.to_owned(), message: message.into() }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    pub fn object(&self, key: &str) -> Result<Option<JsonObject<'a>>, ModelError> {
        self.typed(key, "an object", |v| v.is_object().then_some(v))
            .map(|v| v.map(|value| JsonObject { path: self.path, value }))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn bool(&self, key: &str) -> Result<bool, ModelError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub fn integer(&self, key: &str) -> Result<Option<i64>, ModelError> {
        self.typed(key, "a whole number", Value::as_i64)
    }

    /// A size of 1 to 2^31.
    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.typed(key, "a whole number from 1 to 2147483648", |v| {
            v.as_u64().filter(|n| (1..=1 << 31).contains(n)).map(|n| n as usize)
        })
    }

    /// A number of things, zero to 2^31.
    pub fn count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.typed(key, "a whole number from 0 to 2147483648", |v| {
            v.as_u64().filter(|n| *n <= 1 << 31).map(|n| n as usize)
        })
    }

    pub(crate) fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| self.error(format!("{key} is missing")))
    }

    fn typed<T>(
        &self,
        key: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(v) => Ok(Some(v)),
            None => Err(self.error(format!("{key} must be {what}, not {value}"))),
        }
    }
}
