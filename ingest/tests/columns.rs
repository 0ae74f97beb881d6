//! Promise: what is left of an interrupted column of an ensemble becomes losses of no other model.

use gstore_core::Cancel;
use gstore_data::{TemplateKind, TextOptions};
use gstore_ingest::pipeline::{
    CheckpointArg, IngestPlan, IngestReport, IngestRequest, Kind, Progress, RunEnding, Silent, ingest_column,
};
use gstore_store::{EnsembleUpdate, LossColumns, Member, OffsetOf, RevertOptions, RowSet, Store};

use super::shards::{StopAfter, demo, register};

const ROWS: u64 = 120;

fn plan(store: &Store, checkpoint: CheckpointArg) -> IngestPlan {
    let request = IngestRequest {
        checkpoints: vec![checkpoint],
        kinds: vec![Kind::Loss],
        text: TextOptions::new(TemplateKind::Plain, 64),
        batch_tokens: 32,
        threads: 2,
        command: "losses".to_owned(),
        ..IngestRequest::new("pool", demo().join("model"))
    };
    IngestPlan::new(store, request, &mut Silent).unwrap()
}

fn columns(plan: &IngestPlan) -> LossColumns {
    LossColumns::new(plan.snapshot.ensemble("e").unwrap(), "pool", plan.encoding.key())
}

/// A store of samples, and an ensemble with the losses of its theta_0.
fn with_theta_0(folder: &std::path::Path) -> Store {
    let store = Store::create(folder.join("s")).unwrap();
    register(&store, folder, 0..ROWS);
    store.update_ensemble(&EnsembleUpdate::new("e", "theta_0", []), "losses").unwrap();
    let plan = plan(&store, CheckpointArg::base());
    let base = columns(&plan).offset(OffsetOf::Base);
    let plan = plan.into_column(base, None, &RowSet::new()).unwrap();
    ingest_column(&store, &plan, &mut Silent, &Cancel::new()).unwrap();
    store
}

/// Registers a checkpoint as the first member, and computes its losses.
fn member(store: &Store, name: &str, progress: &mut dyn Progress, cancel: &Cancel) -> IngestReport {
    let update = EnsembleUpdate::new("e", "theta_0", [Member::new(name, "theta_0")]);
    store.update_ensemble(&update, "losses").unwrap();
    let plan = plan(store, CheckpointArg::of_folder(name.to_owned(), demo().join("warmup").join(name)));
    let (columns, snapshot) = (columns(&plan), plan.snapshot.clone());
    let offset = snapshot.loss_offset(&columns, OffsetOf::Base).unwrap();
    let plan = plan.into_column(columns.members(0..1, 0), Some(&**offset), &RowSet::new()).unwrap();
    ingest_column(store, &plan, progress, cancel).unwrap()
}

/// Digest of the losses of the first member.
fn digest(store: &Store) -> String {
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.features().iter().find(|part| part.attrs.label == "loss@e:0").unwrap();
    snapshot.open_feature(part).unwrap().content_digest().unwrap()
}

#[test]
fn a_model_at_the_place_of_another_does_not_get_its_rows() {
    let [folder, other] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let [store, plain] = [&folder, &other].map(|folder| with_theta_0(folder.path()));
    let before = store.snapshot().unwrap();
    let stop = |batches| {
        let cancel = Cancel::new();
        let mut stop = StopAfter { batches, cancel: &cancel, ingesting: false };
        member(&store, "checkpoint-26", &mut stop, &cancel)
    };
    assert_eq!(stop(5).ending, RunEnding::Stopped);
    let at_once = member(&store, "checkpoint-26", &mut Silent, &Cancel::raised());
    assert_eq!((at_once.ending, at_once.resumed), (RunEnding::Stopped, 0), "what is sealed is not read");
    let resumed = stop(5);
    assert!(resumed.ending == RunEnding::Stopped && resumed.resumed > 0, "the same model goes on");
    store.revert(&before, &RevertOptions::default()).unwrap();

    let reports = [&store, &plain].map(|store| member(store, "checkpoint-52", &mut Silent, &Cancel::new()));
    assert_eq!(reports.map(|report| (report.resumed, report.computed)), [(0, ROWS), (0, ROWS)]);
    assert_eq!(digest(&store), digest(&plain));
}
