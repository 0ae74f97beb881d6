//! Promise: files give their records or say what is wrong, where, and what to do.

mod csv;
mod finding;
mod tables;

use std::path::{Path, PathBuf};

use super::*;

/// A folder to put files into.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, bytes).unwrap();
        path
    }
}

/// Places and texts of the records of a file.
fn read(path: &Path, fields: &[&str]) -> Result<Vec<(String, String)>, DataError> {
    read_with(path, &FieldNames::parse(fields).unwrap())
}

fn read_with(path: &Path, fields: &FieldNames) -> Result<Vec<(String, String)>, DataError> {
    let mut records = Vec::new();
    for file in find(&[path.to_owned()])? {
        let mut source = file.open(fields)?;
        while let Some(record) = source.next_record() {
            let record = record?;
            records.push((record.place.to_string(), String::from_utf8(record.json.to_vec()).unwrap()));
        }
        assert!(source.next_record().is_none());
    }
    Ok(records)
}

fn texts(path: &Path, fields: &[&str]) -> Vec<String> {
    read(path, fields).unwrap().into_iter().map(|(_, text)| text).collect()
}

fn refusal(path: &Path) -> String {
    read(path, &[]).expect_err("refused").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn lines_stand_as_they_are_also_when_packed() {
    let dir = Dir::new();
    let plain = b"{\"text\" : \"a\"} \n\n{\"text\":\"b\"}\r\n";
    let want = [("line 1", "{\"text\" : \"a\"} "), ("line 3", "{\"text\":\"b\"}\r")]
        .map(|(place, text)| (place.to_owned(), text.to_owned()));
    // The bytes tell what the name does not, and the other way round.
    let twice = [gzip(&plain[..17]), gzip(&plain[17..])].concat();
    // As tapes and block devices fill up what is written to them.
    let padded = [gzip(plain), vec![0; 700_000]].concat();
    let padded_twice = [gzip(&plain[..17]), vec![0; 512], gzip(&plain[17..]), vec![0; 3]].concat();
    for (name, bytes) in [
        ("a.jsonl", plain.to_vec()),
        ("b.jsonl.gz", gzip(plain)),
        ("c.jsonl.zst", zstandard(plain)),
        ("d.json", gzip(plain)),
        ("e.ndjson.gz", plain.to_vec()),
        ("f.jsonl.gz", twice),
        ("padded.jsonl.gz", padded),
        ("twice.jsonl.gz", padded_twice),
        ("g.jsonl.zst", [zstandard(&plain[..17]), zstandard(&plain[17..])].concat()),
    ] {
        assert_eq!(read(&dir.put(name, bytes), &[]).unwrap(), want, "{name}");
    }
}

#[test]
fn what_is_no_text_is_not_taken_for_another_encoding() {
    let dir = Dir::new();
    let plain = b"text,n\na,1\n";
    for (name, bytes, says) in [
        ("a.csv.gz", gzip(&gzip(plain)), "a.csv.gz: it is compressed twice; unpack it once"),
        ("b.jsonl", gzip(&zstandard(plain)), "b.jsonl: it is compressed twice"),
        ("c.jsonl", b"PK\x03\x04\x14\0\0\0zip".to_vec(), "c.jsonl: it is binary data, not text"),
        ("d.csv", b"\x80\x04\x95\xff pickle".to_vec(), "d.csv: it is binary data, not text"),
        ("e.jsonl", b"BZh91AY&SY\xf9\x8b".to_vec(), "e.jsonl: it is binary data, not text"),
    ] {
        let message = refusal(&dir.put(name, bytes));
        assert!(message.contains(says) && !message.contains("iconv"), "{message}");
    }
}

#[test]
fn packed_files_that_are_cut_are_refused() {
    let dir = Dir::new();
    let plain: Vec<u8> =
        (0..5000).flat_map(|i| format!("{{\"text\": \"{}\"}}\n", i * 7919).into_bytes()).collect();
    let column = [b"text\n", &plain[..]].concat();
    for (name, bytes) in
        [("a.jsonl.gz", gzip(&plain)), ("b.jsonl.zst", zstandard(&plain)), ("c.csv.gz", gzip(&column))]
    {
        let message = refusal(&dir.put(name, &bytes[..bytes.len() / 2]));
        assert!(message.contains(name) && message.contains("copy or download the file again"), "{message}");
    }
    let whole = gzip(&plain);
    let (half, zeros, after) =
        (&whole[..whole.len() / 2], &[0; 4096][..], "after its end there are bytes of");
    for (parts, says) in [
        ([&whole[..], &[], b"rubbish"], after),
        ([&whole[..], zeros, b"rubbish"], after),
        ([&whole[..], zeros, half], "the file ends in the middle of it"),
        ([half, zeros, &[]], "copy or download the file again"),
    ] {
        let message = refusal(&dir.put("d.jsonl.gz", parts.concat()));
        let begins = "the gzip data is damaged or cut off: ";
        assert!(["d.jsonl.gz", begins, says].iter().all(|says| message.contains(says)), "{message}");
    }
}

#[test]
fn a_list_gives_its_items_whatever_its_name() {
    let dir = Dir::new();
    let list = "[\n  {\"text\": \"a b\", \"n\": 1.50}\n, {\"text\":\"c\"} ]\n";
    let want = [r#"{"text":"a b","n":1.50}"#, r#"{"text":"c"}"#];
    for path in
        [dir.put("alpaca.json", list), dir.put("a.jsonl", list), dir.put("b.json.gz", gzip(list.as_bytes()))]
    {
        let mut source = DataFile::detect(&path).unwrap().open(&FieldNames::default()).unwrap();
        for item in want {
            let found = source.next_record().unwrap().unwrap();
            assert_eq!(std::str::from_utf8(found.json).unwrap(), item);
        }
        assert!(source.next_record().is_none());
    }
    let message = refusal(&dir.put("cut.json", "[{\"text\": \"a\"},"));
    assert!(message.contains("cut.json, line 1: the file ends inside its list"), "{message}");
}
