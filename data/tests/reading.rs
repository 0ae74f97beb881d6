//! Promise: real files read line by line into records whose lines can be written back byte for byte.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gstore_data::{FieldNames, IdAllocator, RecordSource, SchemaBuilder, find, parse_record};
use gstore_store::ColumnType;

pub fn open(path: &Path) -> Box<dyn RecordSource> {
    find(&[path.to_owned()]).expect("the file")[0].open(&FieldNames::default()).expect("the file")
}

fn files(shared: &Path) -> Vec<PathBuf> {
    let folders = [shared.join("data"), shared.join("data/targets")];
    let entries = folders.iter().flat_map(|f| fs_err::read_dir(f).expect("a folder"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    files
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn reference_data_reads_and_writes_back() {
    let shared = crate::support::shared();
    let files = files(&shared);
    assert!(!files.is_empty());
    for file in files {
        let mut reader = open(&file);
        let (mut ids, mut seen) = (IdAllocator::new(), HashSet::new());
        let mut schema = SchemaBuilder::new(vec![], &[]);
        let mut copy = Vec::new();
        while let Some(line) = reader.next_record() {
            let line = line.expect("a line");
            let record = parse_record(line.json).expect("a record");
            schema.observe(line.place.number, &record).expect("columns of one type");
            assert!(seen.insert(ids.id_of(&record, line.json)), "{}: id twice", file.display());
            copy.extend_from_slice(line.json);
            copy.push(b'\n');
        }
        let mut original = fs_err::read(&file).expect("the file");
        if original.last() != Some(&b'\n') {
            original.push(b'\n');
        }
        assert!(copy == original, "{}", file.display());
        let schema = schema.finish().expect("columns");
        assert!(schema.columns().iter().any(|c| c.key == "dataset" && c.ty == ColumnType::Text));
    }
}

#[test]
fn errors_name_the_line_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pool.jsonl");
    fs_err::write(&path, "{\"text\": \"a\"}\n\n{\"text\": \"b\"\n").expect("written");
    let mut reader = open(&path);
    let mut refused = Vec::new();
    while let Some(line) = reader.next_record() {
        let line = line.expect("a line");
        if let Err(error) = parse_record(line.json) {
            refused.push(format!("line {}: {error}", line.place.number));
        }
    }
    assert_eq!(refused, ["line 3: malformed JSON at column 12: EOF while parsing an object"]);
}
