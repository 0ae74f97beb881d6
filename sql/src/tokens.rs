//! The text of tokens: samples are cut into tokens again, if the encoder finds their tokenizer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use gstore_query::influence::{Encoder, TokenRequest};
use gstore_store::{EncodingSpec, Snapshot};

use super::error::{SqlError, SqlErrorKind};

/// The tokens of some samples, by row.
pub(crate) struct TokenTexts(HashMap<u64, Vec<String>>);

impl TokenTexts {
    /// Cuts the records of rows, which stand in step. Nothing where the encoder, the encoding or its
    /// tokenizer is missing.
    pub(crate) fn of(
        snapshot: &Snapshot,
        encoder: Option<&Arc<dyn Encoder>>,
        encoding: Option<&EncodingSpec>,
        rows: &[u64],
        records: &ArrayRef,
    ) -> Result<Self, SqlError> {
        let (Some(encoder), Some(encoding)) = (encoder, encoding) else { return Ok(Self(HashMap::new())) };
        let records = records.as_string_opt::<i32>().ok_or_else(|| SqlError::internal("type of a record"))?;
        let known = || rows.iter().zip(records).filter_map(|(row, record)| Some((*row, record?)));
        let texts: Vec<&str> = known().map(|(_, record)| record).collect();
        let request = TokenRequest { snapshot, encoding, records: &texts };
        let cut = encoder.tokens(&request);
        let cut = cut.map_err(|error| SqlError::new(SqlErrorKind::Failed, error.to_string()))?;
        let cut = cut.unwrap_or_default();
        Ok(Self(known().map(|(row, _)| row).zip(cut).collect()))
    }

    /// The text of a token, if it is known.
    pub(crate) fn get(&self, row: u64, pos: u32) -> Option<&str> {
        Some(self.0.get(&row)?.get(pos as usize)?.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_row_and_position() {
        let texts = TokenTexts(HashMap::from([(3, vec!["a".to_owned(), " b".to_owned()])]));
        assert_eq!(texts.get(3, 1), Some(" b"));
        assert_eq!((texts.get(3, 2), texts.get(4, 0)), (None, None));
    }
}
