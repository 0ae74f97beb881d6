//! Storage types of values.

use serde::{Deserialize, Serialize};
use std::fmt;

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

impl DType {
    /// Every type.
    pub const ALL: [DType; 4] = [DType::F16, DType::F32, DType::I8, DType::I1];

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

    /// The name in descriptions: `f16`, `f32`, `i8` or `i1`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::I8 => "i8",
            DType::I1 => "i1",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
