//! Encoding of the ledger's values as bytes, in this one place.
//!
//! Layout: version (u8, 1) | XXH3-64 over version, key and payload (u64 LE) | payload (bincode 2, standard
//! configuration). The digest covers the key, so a value under a wrong key is damage too. bincode finds
//! little of that by itself: most damaged records decode to another value.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

const VERSION: u8 = 1;
/// No value is longer; a forged length cannot make the decoder allocate more.
const LIMIT: usize = 4096;

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("version {0}, expected {VERSION}")]
    Version(u8),
    #[error("digest differs")]
    Digest,
    #[error("{0}")]
    Content(String),
}

fn digest(key: &[u8], payload: &[u8]) -> [u8; 8] {
    let mut hash = Xxh3::new();
    hash.update(&[VERSION]);
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(payload);
    hash.digest().to_le_bytes()
}

/// The value of a key that has this payload.
pub(crate) fn with_head(key: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[VERSION][..], &digest(key, payload), payload].concat()
}

pub(crate) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, CodecError> {
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| CodecError::Content(e.to_string()))?;
    if payload.len() > LIMIT {
        return Err(CodecError::Content(format!("{} bytes, the limit is {LIMIT}", payload.len())));
    }
    Ok(with_head(key, &payload))
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, CodecError> {
    let Some((version, rest)) = bytes.split_first() else { return Err(CodecError::Digest) };
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let Some((stored, payload)) = rest.split_first_chunk::<8>() else { return Err(CodecError::Digest) };
    if *stored != digest(key, payload) {
        return Err(CodecError::Digest);
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice::<T, _>(payload, config) {
        Ok((value, used)) if used == payload.len() => Ok(value),
        Ok((_, used)) => Err(CodecError::Content(format!("{} bytes, {used} expected", payload.len()))),
        Err(e) => Err(CodecError::Content(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Value {
        row: u64,
        name: String,
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_found() {
        let value = Value { row: 77, name: "a sample".into() };
        let bytes = encode(b"key", &value).unwrap();
        assert_eq!(decode::<Value>(b"key", &bytes).unwrap(), value);
        assert!(decode::<Value>(b"kez", &bytes).is_err());
        for i in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert!(decode::<Value>(b"key", &bad).is_err(), "bit {i}");
        }
        for n in 0..bytes.len() {
            assert!(decode::<Value>(b"key", &bytes[..n]).is_err(), "length {n}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<Value>(b"key", &longer).is_err());
    }

    #[test]
    fn a_forged_length_allocates_nothing() {
        let mut payload = vec![0];
        payload.extend_from_slice(&[253, 0, 0, 0, 0, 0, 1, 0, 0]);
        let bytes = with_head(b"k", &payload);
        assert!(matches!(decode::<Value>(b"k", &bytes), Err(CodecError::Content(_))));
    }

    #[test]
    fn values_have_a_limit() {
        let value = Value { row: 0, name: "x".repeat(LIMIT) };
        assert!(encode(b"k", &value).is_err());
    }
}
