//! Named tensors of one safetensors file whose bytes are in memory or mapped.
//!
//! Invariant: opening checks the header against the length of the bytes, which do not change, so that every
//! tensor lies within them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::tensors::{TensorEntry, parse_header};

/// The tensors of a file under their names in it.
#[derive(Debug)]
pub struct TensorMap<B> {
    path: PathBuf,
    bytes: B,
    entries: BTreeMap<String, TensorEntry>,
}

impl<B: AsRef<[u8]>> TensorMap<B> {
    /// Of the bytes of a file, which errors call `path`.
    ///
    /// # Errors
    /// Bytes that are no file of tensors.
    pub fn new(path: &Path, bytes: B) -> Result<Self, ModelError> {
        let all = bytes.as_ref();
        let entries = parse_header(path, 0, &mut &*all, all.len() as u64)?;
        Ok(Self { path: path.to_owned(), bytes, entries })
    }

    /// Names in the file, sorted by bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The entry of a tensor that must be there.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn require(&self, name: &str) -> Result<&TensorEntry, ModelError> {
        self.entries
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor { folder: self.path.clone(), name: name.to_owned() })
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn tensor(&self, name: &str) -> Result<&[u8], ModelError> {
        let entry = self.require(name)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let (start, end) = (place(entry.offset), place(entry.offset.saturating_add(entry.len)));
        let message = || format!("tensor {name} is not within the file");
        self.bytes
            .as_ref()
            .get(start..end)
            .ok_or_else(|| ModelError::Safetensors { path: self.path.clone(), message: message() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_bytes_are_found_and_what_is_cut_is_refused() {
        let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"I64","shape":[1],"data_offsets":[4,12]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        bytes.extend_from_slice(&7i64.to_le_bytes());
        let map = TensorMap::new(Path::new("f"), &bytes[..]).unwrap();
        assert_eq!(map.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (map.tensor("a").unwrap(), map.require("b").unwrap().shape.len()),
            (&1.5f32.to_le_bytes()[..], 1)
        );
        assert!(map.tensor("c").is_err());
        for len in [0, 7, 12, bytes.len() - 1] {
            assert!(TensorMap::new(Path::new("f"), &bytes[..len]).is_err(), "{len}");
        }
    }
}
