//! Storage types of values.

use serde::{Deserialize, Serialize};

/// Signs of a word.
pub const SIGNS: usize = u64::BITS as usize;

/// Storage type of a feature's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE half precision with a power-of-two scale per module group.
    F16,
    /// IEEE single precision, scale 1.
    F32,
    /// Signed bytes with a scale per module group.
    I8,
    /// Signs with a scale per module group, 64 to a word; of new features those of a rotated group.
    I1,
}

// Names in descriptions.
crate::named!(DType { F16 = "f16", F32 = "f32", I8 = "i8", I1 = "i1" });

impl DType {
    /// Stored items of a module group of `len` coordinates: its values, or the words of its signs.
    pub const fn items(self, len: usize) -> usize {
        match self {
            DType::I1 => len.div_ceil(SIGNS),
            _ => len,
        }
    }

    /// Bytes of a stored item.
    pub const fn item_bytes(self) -> usize {
        match self {
            DType::F16 => 2,
            DType::F32 => 4,
            DType::I8 => 1,
            DType::I1 => SIGNS / 8,
        }
    }
}
