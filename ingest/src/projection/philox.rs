//! Philox4x32-10 (Salmon et al. 2011): random words as a pure function of a counter and a key.
//!
//! Every projection entry is read from here, so it depends on nothing but the key and its own indices.

use super::key::{MatrixSide, derive_key};

// Multipliers of the pairs of counter words, and Weyl increments of the key words.
const M0: u64 = 0xD251_1F53;
const M1: u64 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// What the words are for; the last counter word, so that kinds never share words even under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum StreamTag {
    /// Signs of the dense +-1 matrix.
    Rademacher = 0,
    /// Uniforms of the dense normal matrix.
    Gaussian = 1,
    /// Row and sign of each non-zero of the sparse matrix.
    Sjlt = 2,
    /// Position inside each stratum.
    Mask = 3,
}

impl StreamTag {
    /// The kind that keys are derived from.
    fn kind(self) -> &'static str {
        match self {
            StreamTag::Rademacher => "rademacher",
            StreamTag::Gaussian => "gaussian",
            StreamTag::Sjlt => "sjlt",
            StreamTag::Mask => "mask",
        }
    }
}

/// Ten rounds over one counter. `key` is (low word, high word).
#[inline]
pub(crate) fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = M0 * u64::from(c0);
        let p1 = M1 * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(W0);
        k1 = k1.wrapping_add(W1);
    }
    [c0, c1, c2, c3]
}

/// A keyed generator for one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomWords {
    key: [u32; 2],
    tag: StreamTag,
}

impl RandomWords {
    /// Words of a side of a tensor.
    pub fn of(tag: StreamTag, tensor: &str, side: MatrixSide, seed: u64, checkpoint: Option<&str>) -> Self {
        Self::new(derive_key(tag.kind(), tensor, side, seed, checkpoint), tag)
    }

    /// Words of `tag` under a derived 64-bit key.
    pub fn new(key: u64, tag: StreamTag) -> Self {
        Self { key: [key as u32, (key >> 32) as u32], tag }
    }

    /// The four words at a 64-bit index and a 32-bit minor index.
    #[inline]
    pub fn at(&self, index: u64, minor: u32) -> [u32; 4] {
        philox4x32_10([index as u32, (index >> 32) as u32, minor, self.tag as u32], self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::philox4x32_10;

    #[test]
    fn known_answers_of_the_paper() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, want) in cases {
            assert_eq!(philox4x32_10(counter, key), want);
        }
    }
}
