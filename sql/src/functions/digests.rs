//! `md5(x)` and `sha256(x)`: hexadecimal digests of texts and bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use gstore_core::sha256_hex;

use super::columnar::of_one;
use crate::error::SqlError;

/// The functions.
pub(super) fn functions() -> [ScalarUDF; 2] {
    [Kind::Md5, Kind::Sha256].map(|kind| {
        ScalarUDF::from(Digest { kind, signature: Signature::user_defined(Volatility::Immutable) })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Md5,
    Sha256,
}

impl Kind {
    fn digits(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&md5(bytes)),
            Self::Sha256 => sha256_hex(bytes),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Digest {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Digest {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Md5 => "md5",
            Kind::Sha256 => "sha256",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let name = self.name();
        match types {
            [of] if of.is_string() || of.is_null() => Ok(vec![DataType::Utf8]),
            [of] if of.is_binary() => Ok(vec![DataType::Binary]),
            [DataType::Dictionary(_, values)] if values.is_string() => Ok(vec![DataType::Utf8]),
            [of] => {
                let error = SqlError::invalid(format!("{name}() takes a text or bytes, not {of}"));
                Err(error.hint(format!("write {name}(x::VARCHAR)")).into())
            }
            _ => Err(SqlError::invalid(format!("{name}() is written {name}(x)")).into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), args, |values| Ok(Arc::new(digests(self.kind, values)?)))
    }
}

fn digests(kind: Kind, values: &ArrayRef) -> Result<StringArray, SqlError> {
    if let Some(texts) = values.as_string_opt::<i32>() {
        return Ok(texts.iter().map(|text| text.map(|text| kind.digits(text.as_bytes()))).collect());
    }
    let bytes = values.as_binary_opt::<i32>().ok_or_else(|| SqlError::internal("type of a digest"))?;
    Ok(bytes.iter().map(|bytes| bytes.map(|bytes| kind.digits(bytes))).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bits by which each step rotates, four of each of the four rounds in turn.
const SHIFTS: [u32; 16] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];

/// `floor(2^32 |sin(i + 1)|)` for each step.
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// The MD5 digest of bytes. Source: RFC 1321. It finds copies; it is no protection against forgery.
fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().for_each(|block| mix(&mut state, block));
    // The rest, a bit that ends it, and the number of all bits, in one block or two.
    let mut last = rest.to_vec();
    last.push(0x80);
    last.resize(if rest.len() < 56 { 56 } else { 120 }, 0);
    last.extend((bytes.len() as u64).wrapping_mul(8).to_le_bytes());
    last.as_chunks::<64>().0.iter().for_each(|block| mix(&mut state, block));
    let mut digest = [0; 16];
    for (part, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *part = word.to_le_bytes();
    }
    digest
}

/// Mixes a block into the state.
fn mix(state: &mut [u32; 4], block: &[u8; 64]) {
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d] = *state;
    for (step, sine) in SINES.iter().enumerate() {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(*sine).wrapping_add(words[word % 16]);
        let rotated = sum.rotate_left(SHIFTS[step / 16 * 4 + step % 4]);
        (a, b, c, d) = (d, b.wrapping_add(rotated), b, c);
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d]) {
        *old = old.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::BinaryArray;

    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        for (length, digest) in [
            (0, "d41d8cd98f00b204e9800998ecf8427e"),
            (55, "04364420e25c512fd958a70738aa8f72"),
            (56, "668a72d5ba17f08e62dabcafad6db14b"),
            (64, "c1bb4f81d892b2d57947682aeb252456"),
        ] {
            assert_eq!(Kind::Md5.digits(&vec![b'x'; length]), digest, "{length}");
        }
        assert_eq!(Kind::Md5.digits(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Kind::Sha256.digits(b"abc"), abc);
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"abc"[..]), None]));
        let found = digests(Kind::Sha256, &bytes).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(abc), None]);
    }
}
