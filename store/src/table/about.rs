//! Key-value metadata in the footer of a Parquet file: enough to rebuild its catalog entry.
//!
//! | key | in | value |
//! |---|---|---|
//! | `gstore.version` | all | `1` |
//! | `gstore.rows` | all | `{"first":..,"end":..}` |
//! | `gstore.created` | all | milliseconds since 1970: of two files with the same rows the newer one counts |
//! | `gstore.dataset` | samples | `{"name":..,"number":..}` |
//! | `gstore.columns` | samples | the metadata columns: name, key, type |
//! | `gstore.encoding` | token counts | `{"number":0,"key":..,"spec":..,"label":..,"dataset":..}` |
//!
//! The `number` of an encoding is 0 in a file; its folder has the number. Files of the first version
//! have none of these keys.

use super::bytes::VerifiedBytes;
use crate::error::{Damage, StorageError};
use crate::layout::NamedFile;
use crate::manifest::{CHUNK, ColumnDef, DatasetPart, Extra, FileEntry, VERSION, check_version};
use gstore_core::EncodingSpec;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

const KEY_VERSION: &str = "gstore.version";
const KEY_ROWS: &str = "gstore.rows";
const KEY_CREATED: &str = "gstore.created";
const KEY_DATASET: &str = "gstore.dataset";
const KEY_COLUMNS: &str = "gstore.columns";
const KEY_ENCODING: &str = "gstore.encoding";

/// The rows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RowRange {
    first: u64,
    end: u64,
}

/// The dataset of a sample file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AboutDataset {
    pub name: String,
    pub number: u32,
}

/// The encoding of a file of token counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AboutEncoding {
    /// 0 where it was not known yet.
    pub number: u32,
    pub key: String,
    pub spec: EncodingSpec,
    pub label: String,
    pub dataset: String,
}

/// What a writer puts into the footer.
#[derive(Debug, Clone)]
pub(crate) struct TableMetadata(Vec<(&'static str, String)>);

fn json<T: Serialize>(value: &T) -> String {
    // Plain structs of texts and numbers.
    serde_json::to_string(value).unwrap_or_default()
}

impl TableMetadata {
    /// A file of samples of a dataset that has these columns.
    pub(crate) fn samples(part: &DatasetPart, columns: &[ColumnDef]) -> TableMetadata {
        let dataset = AboutDataset { name: part.name.clone(), number: part.number };
        TableMetadata(vec![(KEY_DATASET, json(&dataset)), (KEY_COLUMNS, json(&columns))])
    }

    /// A file of token counts.
    pub(crate) fn encoding(dataset: &str, spec: &EncodingSpec, label: &str) -> TableMetadata {
        let about = AboutEncoding {
            number: 0,
            key: spec.key(),
            spec: spec.clone(),
            label: label.to_owned(),
            dataset: dataset.to_owned(),
        };
        TableMetadata(vec![(KEY_ENCODING, json(&about))])
    }

    /// All pairs, once the rows are known.
    pub(super) fn pairs(&self, first: u64, end: u64, created: u64) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            (KEY_VERSION, VERSION.to_string()),
            (KEY_ROWS, json(&RowRange { first, end })),
            (KEY_CREATED, created.to_string()),
        ];
        pairs.extend(self.0.iter().cloned());
        pairs
    }
}

/// A file that no catalog describes, by its own metadata.
#[derive(Debug, Clone)]
pub(crate) struct DescribedFile {
    pub entry: FileEntry,
    pub created: u64,
    pub dataset: Option<AboutDataset>,
    pub columns: Vec<ColumnDef>,
    pub encoding: Option<AboutEncoding>,
}

/// Reads a file and its metadata. Its digests are computed, so they prove nothing about its earlier content.
pub(crate) fn describe(own: NamedFile, uuid: Uuid) -> Result<DescribedFile, StorageError> {
    let name = own.name.clone();
    let io = |e| StorageError::io(format!("read {name}"), e);
    let file = own.vfs.open(&own.path).map_err(io)?;
    let len = file.len().map_err(io)?;
    let mut chunks = Vec::new();
    let mut buffer = vec![0; CHUNK as usize];
    for start in (0..len).step_by(CHUNK as usize) {
        let n = CHUNK.min(len - start) as usize;
        let bytes = buffer.split_at_mut(n).0;
        file.read_at(bytes, start).map_err(io)?;
        chunks.push(xxh3_64(bytes));
    }
    let mut entry = FileEntry { uuid, first_row: 0, end_row: 0, rows: 0, len, chunks, extra: Extra::new() };
    let bytes = VerifiedBytes::new(own, &entry);
    let metadata =
        ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).map_err(|e| bytes.explain(e))?;
    let metadata = metadata.metadata().file_metadata();
    let pairs = || metadata.key_value_metadata().into_iter().flatten();
    let text = |key: &str| pairs().find(|p| p.key == key).and_then(|p| p.value.as_deref());
    let damage = |what: &str, found: &str| -> StorageError {
        Damage::new(&name, format!("footer metadata {what}"), "a value of this format", found).into()
    };
    let version = text(KEY_VERSION).ok_or_else(|| damage(KEY_VERSION, "nothing"))?;
    check_version(&name, version.parse().map_err(|_| damage(KEY_VERSION, version))?, &[])?;
    let rows: RowRange = parse(text(KEY_ROWS)).ok_or_else(|| damage(KEY_ROWS, "others"))?;
    (entry.first_row, entry.end_row) = (rows.first, rows.end);
    entry.rows = rows.end.saturating_sub(rows.first);
    if entry.rows == 0 || u64::try_from(metadata.num_rows()).ok() != Some(entry.rows) {
        return Err(damage(KEY_ROWS, &metadata.num_rows().to_string()));
    }
    // What an older gstore did not say: no time, no columns.
    Ok(DescribedFile {
        entry,
        created: text(KEY_CREATED).and_then(|t| t.parse().ok()).unwrap_or(0),
        dataset: parse(text(KEY_DATASET)),
        columns: parse(text(KEY_COLUMNS)).unwrap_or_default(),
        encoding: parse(text(KEY_ENCODING)).filter(|e: &AboutEncoding| e.spec.key() == e.key),
    })
}

fn parse<T: serde::de::DeserializeOwned>(text: Option<&str>) -> Option<T> {
    serde_json::from_slice(text?.as_bytes()).ok()
}
