//! Files of training data, their formats, and what names say of these.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::cells::Cells;

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
    pub(super) format: Format,
    pub(super) compression: Compression,
    /// What separates the columns of its text, where its name says otherwise.
    separated: Option<&'static str>,
    /// What the columns of a CSV file hold, once that was looked at.
    pub(super) cells: OnceLock<Vec<Cells>>,
}

impl DataFile {
    pub(super) fn new(
        path: &Path,
        format: Format,
        compression: Compression,
        separated: Option<&'static str>,
    ) -> Self {
        Self { path: path.to_owned(), format, compression, separated, cells: OnceLock::new() }
    }

    /// The file, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is Parquet.
    pub fn is_parquet(&self) -> bool {
        self.format == Format::Parquet
    }

    /// Whether it is Arrow IPC.
    pub fn is_arrow(&self) -> bool {
        matches!(self.format, Format::ArrowStream | Format::ArrowFile)
    }

    /// Whether its bytes are compressed as a whole.
    pub fn is_packed(&self) -> bool {
        self.compression != Compression::None
    }

    /// What separates the columns of text.
    pub fn delimiter(&self) -> Option<u8> {
        match self.format {
            Format::Csv { delimiter } => Some(delimiter),
            _ => None,
        }
    }

    /// What was found in the file and its name does not say.
    pub fn note(&self) -> Option<String> {
        let called = self.separated?;
        Some(format!("{}: its columns are separated by {called}", self.path.display()))
    }
}

pub(super) fn is_data_name(path: &Path) -> bool {
    // Files that describe a dataset, next to its data.
    const DESCRIPTIONS: [&str; 4] =
        ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
    let name = path.file_name().unwrap_or_default();
    format_of(path).is_some() && !DESCRIPTIONS.iter().any(|description| name == *description)
}

pub(super) fn format_of(path: &Path) -> Option<Format> {
    // What is no text in a name is in no ending.
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
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

/// What stands behind an error about a file that is not read: how it is converted, where its name says it.
pub fn conversion_hint(path: &Path) -> String {
    let Some(line) = conversion(path) else { return String::new() };
    let trust = match line.contains("read_pickle(") {
        true => ", if you trust it (opening a pickle can run any program)",
        false => "",
    };
    format!("\n  to convert it{trust}: {line}")
}

/// The command of a shell that converts a file to one that is read.
fn conversion(path: &Path) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    let name = path.to_str().filter(|name| name.chars().all(plain)).unwrap_or("FILE");
    let stem = Path::new(name).with_extension("");
    let pandas = |read: &str| {
        format!(
            "python -c \"import pandas; pandas.{read}('{name}').to_parquet('{}.parquet', index=False)\"",
            stem.display()
        )
    };
    match path.extension()?.to_string_lossy().to_ascii_lowercase().as_str() {
        "pkl" | "pickle" => Some(pandas("read_pickle")),
        "xlsx" | "xls" => Some(pandas("read_excel")),
        "zip" => Some(format!("unzip {name} -d {}", stem.display())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_programs_are_converted_by_one_line() {
        let said = |name: &str| conversion(Path::new(name));
        let pickled = "read_pickle('d/a.pkl').to_parquet('d/a.parquet', index=False)\"";
        let told = "\n  to convert it, if you trust it (opening a pickle can run any program): python -c \"import pandas; pandas.";
        assert_eq!(conversion_hint(Path::new("d/a.pkl")), format!("{told}{pickled}"));
        let excel = "read_excel('A.XLSX').to_parquet('A.parquet', index=False)\"";
        assert!(said("A.XLSX").is_some_and(|line| line.ends_with(excel)));
        assert!(said("it's $x.xls").is_some_and(|line| line.contains("read_excel('FILE')")));
        assert_eq!(said("pool.zip").as_deref(), Some("unzip pool.zip -d pool"));
        assert_eq!((said("a.txt"), said("zip")), (None, None));
    }

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
