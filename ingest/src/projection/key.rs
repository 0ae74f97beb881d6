//! Generator keys: one of 64 bits per (kind, tensor, side, seed, checkpoint), by hashing.
//!
//! No arithmetic on seeds: two different parts of a model can never be given overlapping streams.

use sha2::{Digest, Sha256};

/// Which side of a tensor a matrix acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatrixSide {
    /// The flattened tensor.
    Whole,
    /// The output gradients of a module.
    Out,
    /// The inputs of a module.
    In,
    /// The product of both projected sides.
    Post,
}

impl MatrixSide {
    fn name(self) -> &'static str {
        match self {
            MatrixSide::Whole => "",
            MatrixSide::Out => "out",
            MatrixSide::In => "in",
            MatrixSide::Post => "post",
        }
    }
}

/// The first eight bytes, little endian, of SHA-256 over
/// `"gstore-proj-v1" 00 kind 00 tensor 00 side 00 seed(u64 LE) [00 checkpoint]`.
pub(crate) fn derive_key(
    kind: &str,
    tensor: &str,
    side: MatrixSide,
    seed: u64,
    checkpoint: Option<&str>,
) -> u64 {
    let mut hash = Sha256::new();
    for part in ["gstore-proj-v1", kind, tensor, side.name()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(seed.to_le_bytes());
    if let Some(checkpoint) = checkpoint {
        hash.update([0]);
        hash.update(checkpoint.as_bytes());
    }
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::{MatrixSide, derive_key};

    #[test]
    fn golden_keys() {
        let key = |kind| derive_key(kind, "layers.0.w", MatrixSide::Whole, 42, None);
        assert_eq!(key("rademacher"), 0xc25943c953f1f3fb);
        assert_eq!(key("gaussian"), 0x49c1d9ef35ba9cef);
        assert_eq!(key("sjlt"), 0xd07872259babe0a8);
        assert_eq!(key("mask"), 0xd2a09ea0a506a72a);
    }

    #[test]
    fn golden_keys_of_sides() {
        let key = |kind, side, seed| derive_key(kind, "layers.0.w", side, seed, None);
        assert_eq!(key("rademacher", MatrixSide::Out, 4), 0xba11db6356f5f3f9);
        assert_eq!(key("rademacher", MatrixSide::In, 4), 0x37c0c344232c01a9);
        assert_eq!(key("mask", MatrixSide::Out, 42), 0xd41e6db069723abc);
        assert_eq!(key("mask", MatrixSide::In, 42), 0xc699012f9abf4f0e);
        assert_eq!(key("sjlt", MatrixSide::Out, 42), 0x7b11636e2d0af315);
        assert_eq!(key("sjlt", MatrixSide::In, 42), 0x49dc238ddf76094d);
        assert_eq!(key("sjlt", MatrixSide::Post, 42), 0xc2b0464432128f27);
    }

    #[test]
    fn every_part_matters() {
        let keys = [
            derive_key("sjlt", "a", MatrixSide::Whole, 0, None),
            derive_key("sjlt", "a", MatrixSide::Whole, 1, None),
            derive_key("sjlt", "b", MatrixSide::Whole, 0, None),
            derive_key("mask", "a", MatrixSide::Whole, 0, None),
            derive_key("sjlt", "a", MatrixSide::Out, 0, None),
            derive_key("sjlt", "a", MatrixSide::In, 0, None),
            derive_key("sjlt", "a", MatrixSide::Post, 0, None),
            derive_key("sjlt", "a", MatrixSide::Whole, 0, Some("")),
            derive_key("sjlt", "a", MatrixSide::Whole, 0, Some("c")),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b));
        }
    }
}
