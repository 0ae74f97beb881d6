//! Header of a file of tensors, in the format safetensors.

use serde_json::{Map, Value, json};

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorNote {
    /// Its name.
    pub name: String,
    /// Type of its values as the format has it: `F64`, `F32`, `I64`, ...
    pub dtype: &'static str,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Bytes of its values.
    pub bytes: usize,
}

/// What a file of tensors begins with: the length of its header, and the header, after which the values of
/// the tensors stand in this order. It is filled up, so that they begin at a multiple of 8 bytes. `texts` are
/// kept in it.
///
/// # Errors
/// The name that two of them have.
pub fn tensor_header(
    tensors: impl IntoIterator<Item = TensorNote>,
    texts: &Map<String, Value>,
) -> Result<Vec<u8>, String> {
    let mut header = Map::new();
    if !texts.is_empty() {
        header.insert("__metadata__".to_owned(), Value::Object(texts.clone()));
    }
    let mut offset = 0;
    for TensorNote { name, dtype, shape, bytes } in tensors {
        let end = offset + bytes;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] });
        if header.contains_key(&name) {
            return Err(name);
        }
        header.insert(name, entry);
        offset = end;
    }
    Ok(header_bytes(header))
}

/// A header as a file begins with it: its length, and the header, filled up to a multiple of 8 bytes.
pub fn header_bytes(header: Map<String, Value>) -> Vec<u8> {
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_stand_one_after_the_other_behind_a_header_of_whole_words() {
        let note = |name: &str, shape: &[usize], bytes| TensorNote {
            name: name.to_owned(),
            dtype: "F32",
            shape: shape.to_vec(),
            bytes,
        };
        let mut texts = Map::new();
        texts.insert("of".to_owned(), json!("us"));
        let found = tensor_header([note("b", &[2, 1], 8), note("a", &[1], 4)], &texts).unwrap();
        let len = u64::from_le_bytes(*found.first_chunk().unwrap()) as usize;
        assert_eq!((len + 8, len % 8), (found.len(), 0));
        let header: Value = serde_json::from_slice(&found[8..]).unwrap();
        let expected = json!({
            "__metadata__": { "of": "us" },
            "a": { "dtype": "F32", "shape": [1], "data_offsets": [8, 12] },
            "b": { "dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8] },
        });
        assert_eq!(header, expected);
        assert_eq!(tensor_header([note("a", &[1], 4), note("a", &[1], 4)], &Map::new()), Err("a".to_owned()));
    }
}
