//! Types of the values in files of numbers.

/// Type of the values of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberType {
    F64,
    F32,
    F16,
    Bf16,
    /// Integers and bools of so many bytes, of which a mask takes whether they are 0.
    Integer(usize),
    /// Double precision with all bits inverted, so that a hole of a file is a NaN.
    Inverted,
}

impl NumberType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 | Self::Inverted => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Integer(_) => "integers",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "f64" | "float64" | "F64" | "<f8" => Self::F64,
            "f32" | "float32" | "F32" | "<f4" => Self::F32,
            "f16" | "float16" | "F16" | "<f2" => Self::F16,
            "bf16" | "bfloat16" | "BF16" => Self::Bf16,
            "BOOL" | "I8" | "U8" | "|b1" | "|i1" | "|u1" => Self::Integer(1),
            "I16" | "U16" | "<i2" | "<u2" => Self::Integer(2),
            "I32" | "U32" | "<i4" | "<u4" => Self::Integer(4),
            "I64" | "U64" | "<i8" | "<u8" => Self::Integer(8),
            _ => return None,
        })
    }

    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::Inverted => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer(size) => size,
        }
    }

    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Integer(_))
    }

    /// Adds the values of some bytes; 1 for each integer that is not 0.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f64>) {
        match self {
            Self::F64 => out.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b))),
            Self::Inverted => {
                out.extend(bytes.as_chunks().0.iter().map(|b| f64::from_bits(!u64::from_le_bytes(*b))));
            }
            Self::F32 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))));
            }
            Self::F16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()));
            }
            Self::Bf16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()));
            }
            Self::Integer(size) => {
                let is_set = |value: &[u8]| value.iter().any(|byte| *byte != 0);
                out.extend(bytes.chunks_exact(size).map(|value| f64::from(u8::from(is_set(value)))));
            }
        }
    }
}
