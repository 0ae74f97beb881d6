//! `md5(x)` and `sha256(x)`: hexadecimal digests of texts and bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use gstore_core::{hex, sha256_hex};
use md5::{Digest, Md5};

use super::casts::is_text;
use super::columnar::of_one;
use crate::error::SqlError;
use crate::signatures;

/// The functions.
pub(super) fn functions() -> [ScalarUDF; 2] {
    [DigestKind::Md5, DigestKind::Sha256].map(ScalarUDF::from)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum DigestKind {
    Md5,
    Sha256,
}

impl DigestKind {
    fn digits(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(bytes)),
            Self::Sha256 => sha256_hex(bytes),
        }
    }
}

impl ScalarUDFImpl for DigestKind {
    fn name(&self) -> &str {
        match self {
            DigestKind::Md5 => "md5",
            DigestKind::Sha256 => "sha256",
        }
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let name = self.name();
        match types {
            [of] if is_text(of) || of.is_null() => Ok(vec![DataType::Utf8]),
            [of] if of.is_binary() => Ok(vec![DataType::Binary]),
            [of] => {
                let error = SqlError::invalid(format!("{name}() takes a text or bytes, not {of}"));
                Err(error.hint(format!("write {name}(x::VARCHAR)")).into())
            }
            _ => Err(SqlError::invalid(format!("{name}() is written {name}(x)")).into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), args, |values| Ok(Arc::new(digests(*self, values)?)))
    }
}

fn digests(kind: DigestKind, values: &ArrayRef) -> Result<StringArray, SqlError> {
    if let Some(texts) = values.as_string_opt::<i32>() {
        return Ok(texts.iter().map(|text| text.map(|text| kind.digits(text.as_bytes()))).collect());
    }
    let bytes = values.as_binary_opt::<i32>().ok_or_else(|| SqlError::internal("type of a digest"))?;
    Ok(bytes.iter().map(|bytes| bytes.map(|bytes| kind.digits(bytes))).collect())
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
            assert_eq!(DigestKind::Md5.digits(&vec![b'x'; length]), digest, "{length}");
        }
        assert_eq!(DigestKind::Md5.digits(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(DigestKind::Sha256.digits(b"abc"), abc);
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"abc"[..]), None]));
        let found = digests(DigestKind::Sha256, &bytes).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(abc), None]);
    }
}
