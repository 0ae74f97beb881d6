//! File formats, detected by the first bytes of a file where they tell, else by its name.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::DataError;
use super::cells::Cells;
use super::unpack::Input;

/// How records are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object a line.
    Lines,
    /// Text with a header line.
    Csv {
        /// Between two fields.
        delimiter: u8,
    },
    /// Arrow IPC, to be read in order.
    ArrowStream,
    /// Arrow IPC with an index at the end; only its first bytes tell the two apart.
    ArrowFile,
    /// Parquet.
    Parquet,
}

/// How the bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A file of training data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    path: PathBuf,
    format: Format,
    compression: Compression,
    /// What the columns of a CSV file hold, once that was looked at.
    cells: OnceLock<Vec<Cells>>,
}

impl DataFile {
    /// Looks at the name and the first bytes of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or whose format is not known.
    pub fn detect(path: &Path) -> Result<Self, DataError> {
        let mut file = Self {
            path: path.to_owned(),
            format: Format::Lines,
            compression: compression_of(&first_bytes(&mut fs_err::File::open(path)?)?),
            cells: OnceLock::new(),
        };
        let mut start = Vec::new();
        // A packed stream that is damaged at once keeps the format of its name; reading it says what is
        // wrong.
        if let Ok(mut input) = Input::open(&file) {
            start = first_bytes(&mut input.bytes).unwrap_or_default();
        }
        let by_content = if start.starts_with(b"PAR1") {
            Some(Format::Parquet)
        } else if start.starts_with(b"ARROW1") {
            Some(Format::ArrowFile)
        } else {
            None
        };
        file.format = by_content
            .or_else(|| format_of(path))
            .ok_or_else(|| DataError::Unknown { path: path.to_owned() })?;
        Ok(file)
    }

    /// The file, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of the file, unpacked.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn bytes(&self) -> Result<Box<dyn Read + Send>, DataError> {
        Ok(Input::open(self)?.bytes)
    }

    /// Reads a table of text, whatever its name, for rows that are none of it.
    ///
    /// # Errors
    /// A file that cannot be read, two columns of one name, a row with fewer or more fields than the header, a
    /// quote that is not closed, and a field that is not UTF-8.
    pub fn check_rows(&self, delimiter: u8) -> Result<(), DataError> {
        super::csv::check(self, delimiter)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn cells(&self) -> &OnceLock<Vec<Cells>> {
        &self.cells
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }
}

/// Whether a name says that a file is data.
pub(super) fn is_data_name(path: &Path) -> bool {
    // Files that describe a dataset, next to its data.
    const DESCRIPTIONS: [&str; 4] =
        ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
    let name = path.file_name().unwrap_or_default();
    format_of(path).is_some() && !DESCRIPTIONS.iter().any(|description| name == *description)
}

fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "jsonl" | "ndjson" | "json" => Format::Lines,
        "csv" => Format::Csv { delimiter: b',' },
        "tsv" => Format::Csv { delimiter: b'\t' },
        "arrow" | "feather" | "ipc" => Format::ArrowStream,
        "parquet" => Format::Parquet,
        _ => return None,
    })
}

fn compression_of(start: &[u8]) -> Compression {
    if start.starts_with(&[0x1F, 0x8B]) {
        Compression::Gzip
    } else if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        Compression::Zstd
    } else {
        Compression::None
    }
}

fn first_bytes(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    source.take(8).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format() {
        let csv = Format::Csv { delimiter: b',' };
        let cases = [
            ("a.jsonl", Some(Format::Lines)),
            ("dir.v1/A.JSONL.GZ", Some(Format::Lines)),
            ("a.b.csv.zst", Some(csv)),
            ("a.tsv", Some(Format::Csv { delimiter: b'\t' })),
            ("train-00000-of-00002.parquet", Some(Format::Parquet)),
            ("data.arrow", Some(Format::ArrowStream)),
            ("notes.txt", None),
            ("jsonl", None),
            ("a.gz", None),
        ];
        for (name, want) in cases {
            assert_eq!(format_of(Path::new(name)), want, "{name}");
        }
        assert!(is_data_name(Path::new("d/pool.json")) && !is_data_name(Path::new("d/state.json")));
    }
}
