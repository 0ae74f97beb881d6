//! Promise: an add whose index of ids is unfinished shows that it finishes it, and can be stopped there; a
//! file that changes while it is read is refused.

use std::path::Path;

use gstore_core::Cancel;
use gstore_ingest::pipeline::{AddReport, AddRequest, IngestError, Progress, Unit, add_until};
use gstore_store::Store;

/// Keeps the names of the stages, and raises a flag when the last one begins.
struct Stages<'a> {
    begun: Vec<String>,
    last: &'a str,
    cancel: &'a Cancel,
}

impl Progress for Stages<'_> {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        self.begun.push(stage.to_owned());
        if stage == self.last {
            self.cancel.raise();
        }
    }
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

/// Adds, until a stage begins; gives the stages that were.
fn added(store: &Store, request: &AddRequest, last: &str) -> (Result<AddReport, IngestError>, Vec<String>) {
    let cancel = Cancel::new();
    let mut stages = Stages { begun: Vec::new(), last, cancel: &cancel };
    let added = add_until(store, request, None, &mut stages, &cancel);
    (added, stages.begun)
}

#[test]
fn an_unfinished_index_of_ids_is_finished_between_the_two_passes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("pool.jsonl");
    fs_err::write(&data, "{\"id\": \"a\", \"text\": \"One.\"}\n{\"id\": \"b\", \"text\": \"Two.\"}\n")
        .unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    let request = AddRequest::new("pool", [data]);

    let (first, stages) = added(&store, &request, "indexing ids");
    assert_eq!(first.unwrap().added, 2);
    assert_eq!(stages, ["checking samples", "reading samples", "indexing ids"]);

    let (stopped, stages) = added(&store, &request, "indexing ids");
    assert!(matches!(stopped, Err(IngestError::Stopped(_))));
    assert_eq!(stages, ["checking samples", "indexing ids"]);

    for expected in [
        &["checking samples", "indexing ids", "reading samples"][..],
        &["checking samples", "reading samples"],
    ] {
        let (again, stages) = added(&store, &request, "");
        assert_eq!(again.unwrap().unchanged, 2);
        assert_eq!(stages, expected);
    }
}

/// Changes a file when the second pass begins.
struct Changes<'a> {
    file: &'a Path,
    to: &'a [u8],
}

impl Progress for Changes<'_> {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        if stage == "reading samples" {
            fs_err::write(self.file, self.to).unwrap();
        }
    }
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn a_file_that_changes_between_the_two_passes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    let line = |id: &str, text: &str| format!("{{\"id\": \"{id}\", \"text\": \"{text}\"}}\n").into_bytes();
    let whole = [line("a", "One."), line("b", "Two."), line("c", "Three.")].concat();
    let csv = b"id,text\na,One.\nb,Two.\n".to_vec();
    let garbage = [&whole[..], b"\xff\xff\n"].concat();
    for (name, at_first, then) in [
        ("cut.jsonl", &whole, &whole[..line("a", "One.").len()]),
        ("cut_in_a_line.jsonl", &whole, &whole[..whole.len() - 9]),
        (
            "other_text.jsonl",
            &whole,
            &[line("a", "One."), line("b", "Ten."), line("c", "Three.")].concat()[..],
        ),
        ("longer.jsonl", &whole, &[whole.clone(), line("d", "Four.")].concat()[..]),
        (
            "one_bad.jsonl",
            &whole,
            &[line("a", "One."), b"\xff\xff\n".to_vec(), line("c", "Three.")].concat()[..],
        ),
        ("cut.csv", &csv, &csv[..15]),
    ] {
        let data = dir.path().join(name);
        fs_err::write(&data, at_first).unwrap();
        let request = AddRequest::new("pool", [data.clone()]);
        let added = add_until(&store, &request, None, &mut Changes { file: &data, to: then }, &Cancel::new());
        assert!(
            matches!(&added, Err(IngestError::DataChanged { path }) if *path == data),
            "{name}: {added:?}"
        );
        assert!(store.snapshot().unwrap().datasets().is_empty(), "{name}");
    }
    // What is no record, and was counted as one that is left out, may be other text.
    let data = dir.path().join("bad.jsonl");
    fs_err::write(&data, &garbage).unwrap();
    let request = AddRequest { skip_bad: 1, ..AddRequest::new("pool", [data.clone()]) };
    let same = [&whole[..], b"\xfe\n"].concat();
    let added = add_until(&store, &request, None, &mut Changes { file: &data, to: &same }, &Cancel::new());
    assert_eq!(added.unwrap().added, 3);
}
