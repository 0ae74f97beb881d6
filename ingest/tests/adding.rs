//! Promise: an add that finds the index of ids unfinished shows that it finishes it, and can be stopped there.

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
    assert!(matches!(stopped, Err(IngestError::Stopped)));
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
