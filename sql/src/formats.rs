//! Formats of files that can be tables.

use std::path::Path;

/// The format of such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Separated(u8),
    Json,
}

impl Format {
    /// By the ending of its name; `None` of any other file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let packed = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end));
        let (_, ending) = packed.unwrap_or(&name).rsplit_once('.')?;
        Some(match ending {
            // It is read from its end, and packs its columns itself.
            "parquet" if packed.is_none() => Self::Parquet,
            "csv" => Self::Separated(b','),
            "tsv" => Self::Separated(b'\t'),
            "jsonl" | "ndjson" | "json" => Self::Json,
            _ => return None,
        })
    }
}
