//! `md5(x)` and `sha256(x)`: hexadecimal digests of texts and bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::{hex, sha256_hex};
use md5::{Digest, Md5};

use super::columnar::checked;
use super::types::is_text;
use crate::error::FunctionError;

pub(super) fn functions() -> [ScalarUDF; 2] {
    [
        checked("md5", coerced, DataType::Utf8, |arrays| Ok(Arc::new(of_bytes(arrays, md5_hex)?))),
        checked("sha256", coerced, DataType::Utf8, |arrays| Ok(Arc::new(of_bytes(arrays, sha256_hex)?))),
    ]
}

fn coerced(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types {
        [of] if is_text(of) || of.is_null() => Ok(vec![DataType::Utf8]),
        [of] if of.is_binary() => Ok(vec![DataType::Binary]),
        [of] => {
            let error = FunctionError::invalid(format!("{name}() takes a text or bytes, not {of}"));
            Err(error.hint(format!("write {name}(x::VARCHAR)")).into())
        }
        _ => Err(FunctionError::invalid(format!("{name}() is called as {name}(x)")).into()),
    }
}

fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// What `text` makes of the bytes of each value of the only column, which are those of its text if it is one.
pub(super) fn of_bytes(arrays: &[ArrayRef], text: fn(&[u8]) -> String) -> Result<StringArray, FunctionError> {
    let values = arrays.first().ok_or_else(|| FunctionError::internal("no texts or bytes"))?;
    if let Some(texts) = values.as_string_opt::<i32>() {
        return Ok(texts.iter().map(|value| value.map(|value| text(value.as_bytes()))).collect());
    }
    let bytes = values.as_binary_opt::<i32>().ok_or_else(|| FunctionError::internal("type of bytes"))?;
    Ok(bytes.iter().map(|value| value.map(text)).collect())
}

#[cfg(test)]
mod tests {
    use arrow_array::BinaryArray;

    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(md5_hex(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"abc"[..]), None]));
        let found = of_bytes(&[bytes], sha256_hex).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(abc), None]);
    }
}
