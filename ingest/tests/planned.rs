//! Promise: what was planned and read of one dataset is never published as that of another, whatever happened
//! to the store while weights were read.

use gstore_core::Cancel;
use gstore_data::{TemplateKind, TextOptions};
use gstore_ingest::pipeline::{
    CheckpointArg, IngestError, IngestPlan, IngestReport, IngestRequest, Kind, Silent, ingest,
};
use gstore_store::{DeleteOptions, JobError, RowSet, Store};

use super::shards::{demo, register};

const ROWS: u64 = 40;

fn planned(store: &Store) -> IngestPlan {
    let request = IngestRequest {
        checkpoints: vec![CheckpointArg::base()],
        kinds: vec![Kind::Loss],
        text: TextOptions::new(TemplateKind::Plain, 64),
        batch_tokens: 32,
        threads: 2,
        run: "base".to_owned(),
        command: "ingest".to_owned(),
        ..IngestRequest::new("pool", demo().join("model"))
    };
    IngestPlan::new(store, request, &mut Silent).unwrap()
}

fn done(store: &Store, plan: &IngestPlan) -> Result<IngestReport, IngestError> {
    ingest(store, plan, &mut Silent, &Cancel::new())
}

#[test]
fn a_dataset_that_got_the_name_gets_no_vectors_of_the_one_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("s")).unwrap();
    register(&store, folder.path(), 0..ROWS);
    let plan = planned(&store);
    store.drop_dataset(store.snapshot().unwrap().dataset("pool").unwrap(), "drop").unwrap();
    register(&store, folder.path(), 100..100 + ROWS);
    let error = done(&store, &plan).unwrap_err();
    assert!(matches!(error, IngestError::Job(JobError::Changed(_))), "{error}");
    assert!(error.to_string().ends_with("run the command again"), "{error}");
    assert!(store.snapshot().unwrap().features().is_empty());
    let report = done(&store, &planned(&store)).unwrap();
    assert_eq!((report.resumed, report.computed), (0, ROWS));
}

#[test]
fn rows_of_a_feature_that_was_dropped_are_not_taken_for_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("s")).unwrap();
    register(&store, folder.path(), 0..ROWS);
    done(&store, &planned(&store)).unwrap();
    register(&store, folder.path(), ROWS..ROWS + 10);
    let plan = planned(&store);
    let snapshot = store.snapshot().unwrap();
    store.drop_feature(&snapshot.features()[0], "drop").unwrap();
    let error = done(&store, &plan).unwrap_err();
    assert!(matches!(error, IngestError::Job(JobError::Changed(_))), "{error}");
    assert!(store.snapshot().unwrap().features().is_empty(), "none that is complete with ten of fifty rows");
}

#[test]
fn the_counts_of_rows_between_deleted_ones_are_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("s")).unwrap();
    register(&store, folder.path(), 0..ROWS);
    let odd = RowSet::from_rows((0..ROWS).filter(|row| row % 2 == 1));
    let delete = |rows: &RowSet| {
        let snapshot = store.snapshot().unwrap();
        store.delete(snapshot.dataset("pool").unwrap(), rows, DeleteOptions::default()).unwrap();
    };
    delete(&odd);
    done(&store, &planned(&store)).unwrap();
    register(&store, folder.path(), ROWS..ROWS + 10);
    delete(&RowSet::from_range(ROWS + 4..ROWS + 6));
    done(&store, &planned(&store)).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let ranges: Vec<_> = part.encodings[0].files.iter().map(|file| file.range()).collect();
    assert_eq!(ranges, [0..ROWS - 1, ROWS..ROWS + 10]);
    let live = snapshot.live_rows(part).unwrap();
    for count in snapshot.encoding(&part.encodings[0]).unwrap().counts(0..ROWS + 10).unwrap() {
        assert_eq!(count.tokens > 0, live.contains(count.row), "{count:?}");
    }
}
