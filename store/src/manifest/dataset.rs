//! A dataset part: the sample files of a dataset, its columns and its encodings.

mod files;

pub(crate) use files::CHUNK;
pub use files::{DeletedIdsEntry, FileEntry, TombstoneEntry};

use super::Extra;
use super::entry::Entry;
use super::file::{Link, TOMBSTONES, require};
use super::page::{Order, PageReader, PageWriter, Pages};
use super::part::{Part, mismatch};
use crate::error::StorageError;
use gstore_core::{EncodingSpec, RowSet, named, sha256_hex};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Type of a metadata column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// 64-bit signed integers.
    Int,
    /// 64-bit floats.
    Float,
    /// Text; nested JSON as its text.
    Text,
}

named!(ColumnType { Bool = "bool", Int = "int", Float = "float", Text = "text" });

/// A metadata column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Its name in queries.
    pub name: String,
    /// Its key in the records; differs from the name where that would clash with a built-in column.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: ColumnType,
}

/// One encoding of the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodingEntry {
    /// Number of its folder.
    pub number: u32,
    /// Key of its description.
    pub key: String,
    /// The description.
    pub spec: EncodingSpec,
    /// Short name.
    pub label: String,
    /// Its files. Their rows may overlap: the counts of a live sample follow from the key.
    pub files: Vec<FileEntry>,
    /// Files that hold the older ones.
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub(crate) files_pages: Pages<FileEntry>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl EncodingEntry {
    /// An encoding with one file and no number yet.
    pub(crate) fn of_file(spec: EncodingSpec, label: String, file: FileEntry) -> Self {
        let (number, key) = (0, spec.key());
        let (files_pages, extra) = (Pages::default(), Extra::new());
        EncodingEntry { number, key, spec, label, files: vec![file], files_pages, extra }
    }

    /// The rows it covers.
    pub fn rows(&self) -> RowSet {
        RowSet::from_ranges(self.files.iter().map(FileEntry::range))
    }
}

/// Where samples came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceNote {
    /// Snapshot that added them.
    pub snapshot: u64,
    /// First row added.
    pub first_row: u64,
    /// One past the last row added.
    pub end_row: u64,
    /// Name of the source, if it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The command.
    pub command: String,
}

impl Entry for SourceNote {
    fn rows(&self) -> Range<u64> {
        self.first_row..self.end_row
    }
}

/// A dataset in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetPart {
    pub(crate) version: u32,
    pub(crate) requires: Vec<String>,
    /// Its name.
    pub name: String,
    /// Number of its folder.
    pub number: u32,
    /// The row that the next new sample gets.
    pub next_row: u64,
    /// Live samples.
    pub rows: u64,
    /// Metadata columns, in the order of their first appearance.
    pub columns: Vec<ColumnDef>,
    /// Sample files, by rows.
    pub files: Vec<FileEntry>,
    /// Files that hold the older ones of them.
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub(crate) files_pages: Pages<FileEntry>,
    /// Deleted rows. The bitmaps are disjoint, and every row in them is in one of the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<TombstoneEntry>,
    /// Deleted ids that are in no file any more. Versions that do not know the list keep it,
    /// and add such ids again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_ids: Option<DeletedIdsEntry>,
    /// Encodings, by number.
    pub encodings: Vec<EncodingEntry>,
    /// Where the samples came from.
    pub sources: Vec<SourceNote>,
    /// Files that hold the older ones of them.
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub(crate) sources_pages: Pages<SourceNote>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl DatasetPart {
    pub(crate) fn new(name: &str, number: u32) -> Self {
        DatasetPart {
            version: super::VERSION,
            requires: Vec::new(),
            name: name.to_owned(),
            number,
            next_row: 0,
            rows: 0,
            columns: Vec::new(),
            files: Vec::new(),
            files_pages: Pages::default(),
            tombstones: Vec::new(),
            deleted_ids: None,
            encodings: Vec::new(),
            sources: Vec::new(),
            sources_pages: Pages::default(),
            extra: Extra::new(),
        }
    }

    /// The rows of its files, deleted ones among them. `Snapshot::live_rows` has those that are left.
    pub(crate) fn stored_rows(&self) -> RowSet {
        RowSet::from_ranges(self.files.iter().map(FileEntry::range))
    }

    /// How many rows its files have, deleted ones among them.
    pub(crate) fn stored(&self) -> u64 {
        self.files.iter().fold(0u64, |n, f| n.saturating_add(f.rows))
    }

    /// Replaces the list of tombstones, and with it the number of live samples.
    pub(crate) fn set_tombstones(&mut self, tombstones: Vec<TombstoneEntry>) {
        self.tombstones = tombstones;
        self.rows = self.stored().saturating_sub(self.dead());
        require(&mut self.requires, TOMBSTONES, !self.tombstones.is_empty());
    }

    fn dead(&self) -> u64 {
        self.tombstones.iter().fold(0u64, |n, t| n.saturating_add(t.rows))
    }

    /// The encoding of a key.
    pub fn encoding(&self, key: &str) -> Option<&EncodingEntry> {
        self.encodings.iter().find(|e| e.key == key)
    }

    /// The label of one of its encodings, with what tells it from others of the same
    /// label: `tulu:length_256`.
    pub fn encoding_label(&self, encoding: &EncodingEntry) -> String {
        let is_twin = |other: &&EncodingEntry| other.label == encoding.label && other.key != encoding.key;
        let twins = || self.encodings.iter().filter(is_twin).map(|other| &other.spec);
        let EncodingEntry { spec, label, key, .. } = encoding;
        if twins().next().is_none() {
            return label.clone();
        }
        let short = |text: &str| text.chars().take(8).collect::<String>();
        let mut words = Vec::new();
        if twins().any(|other| other.template_source != spec.template_source) {
            let source = spec.template_source.as_ref().map(|source| sha256_hex(source.as_bytes()));
            words.extend(source.map(|digest| format!("template_{}", short(&digest))));
        }
        if twins().any(|other| other.system != spec.system) {
            words.push(spec.system.as_ref().map_or("no_system".to_owned(), |system| {
                format!("system_{}", short(&sha256_hex(system.as_bytes())))
            }));
        }
        if twins().any(|other| other.tokenizer != spec.tokenizer) {
            words.push(format!("tokenizer_{}", short(&spec.tokenizer)));
        }
        if twins().any(|other| other.max_length != spec.max_length) {
            words.push(format!("length_{}", spec.max_length));
        }
        if words.is_empty() {
            // What the template takes from the model folder.
            words.push(short(key));
        }
        format!("{label}:{}", words.join("+"))
    }
}

impl Part for DatasetPart {
    fn stem(&self) -> String {
        format!("dataset-{}", self.number)
    }

    fn pages(&self) -> Vec<&Link> {
        let own = self.files_pages.links().chain(self.sources_pages.links());
        own.chain(self.encodings.iter().flat_map(|e| e.files_pages.links())).collect()
    }

    fn unfold(&mut self, like: Option<&Self>, reader: &mut PageReader<'_>) -> Result<(), StorageError> {
        let of = format!("dataset {}", self.name);
        let (files, sources) = (like.map(|l| &l.files_pages), like.map(|l| &l.sources_pages));
        reader.complete(&of, Order::Rows, &mut self.files, &mut self.files_pages, files)?;
        let notes = format!("the sources of {of}");
        reader.complete(&notes, Order::Arrival, &mut self.sources, &mut self.sources_pages, sources)?;
        for e in &mut self.encodings {
            let of = format!("encoding {} of {of}", e.label);
            let before = like.and_then(|l| l.encodings.iter().find(|o| o.number == e.number));
            let before = before.map(|o| &o.files_pages);
            reader.complete(&of, Order::Arrival, &mut e.files, &mut e.files_pages, before)?;
        }
        Ok(())
    }

    fn fold(&mut self, writer: &mut PageWriter<'_>) -> Result<(), StorageError> {
        writer.split(Order::Rows, &mut self.files, &mut self.files_pages)?;
        writer.split(Order::Arrival, &mut self.sources, &mut self.sources_pages)?;
        for e in &mut self.encodings {
            writer.split(Order::Arrival, &mut e.files, &mut e.files_pages)?;
        }
        writer.note(&mut self.requires);
        Ok(())
    }

    fn problem(&self) -> Option<(String, String, String)> {
        let mut next = 0;
        let mut rows = 0u64;
        for f in &self.files {
            if let Some(p) = f.problem() {
                return Some(p);
            }
            if f.first_row < next {
                let what = format!("first row of file {}", f.uuid);
                return mismatch(what, format!("{next} or more"), f.first_row);
            }
            next = f.end_row;
            rows = rows.saturating_add(f.rows);
        }
        if next > self.next_row {
            return mismatch("next row", format!("{next} or more"), self.next_row);
        }
        let live = rows.checked_sub(self.dead());
        if live != Some(self.rows) {
            return mismatch("number of samples", format!("{rows} less {} deleted", self.dead()), self.rows);
        }
        for e in &self.encodings {
            let key = e.spec.key();
            if key != e.key {
                return Some((format!("key of encoding {}", e.number), key, e.key.clone()));
            }
            if let Some(p) = e.files.iter().find_map(FileEntry::problem) {
                return Some(p);
            }
        }
        None
    }
}
