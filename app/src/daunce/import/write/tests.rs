use super::*;
use crate::daunce::import::lock::ImportLock;
use crate::daunce::import::manifest::{Manifest, Signal, TableRecord};
use crate::daunce::import::{ImportRequest, import};
use crate::work::Notes;
use gstore_core::{Cancel, Progress};
use gstore_store::{AppendOptions, DatasetName, EnsembleUpdate, JobError, Member, NewSample, RowFlags};
use serde_json::{Value, json};
use std::path::Path;

/// A store with samples `a` and `b` and an ensemble of two members, and files with losses of both.
fn filled(dir: &Path) -> Store {
    let store = Store::create(dir.join("s")).unwrap();
    add(&store, "pool");
    let members = ["m0", "m1"].map(|id| Member::new(id, "theta"));
    store.update_ensemble(&EnsembleUpdate::new("e", "theta", members), "train").unwrap();
    let lines = |models: &[&str]| {
        let cells = models.iter().flat_map(|model| ["a", "b"].map(|id| (model, id)));
        let lines = cells.map(|(model, id)| json!({"model": model, "id": id, "loss": 2.5}).to_string());
        lines.collect::<Vec<_>>().join("\n")
    };
    fs_err::write(dir.join("losses.jsonl"), lines(&["m0", "m1"])).unwrap();
    fs_err::write(dir.join("base.jsonl"), lines(&["theta"])).unwrap();
    let manifest = json!({
        "ensemble": "e", "dataset": "pool", "losses": "losses.jsonl", "base_losses": "base.jsonl"
    });
    fs_err::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    store
}

/// Adds samples `a` and `b`.
fn add(store: &Store, dataset: &str) {
    let name = DatasetName::try_from(dataset).unwrap();
    let mut append = store.append(&name, vec![], AppendOptions::default()).unwrap();
    for id in ["a", "b"] {
        append.push(NewSample { id, record: Some(b"{}".as_slice()), metadata: vec![] }).unwrap();
    }
    append.finish().unwrap();
}

/// A table of records, opened at the store's last snapshot.
fn opened(store: &Store, record: &TableRecord) -> LossSource {
    let (snapshot, work) = (store.snapshot().unwrap(), &mut JobContext::silent("import"));
    let table = (record, store.path());
    LossSource::open(&snapshot, &Manifest::default(), table, (Signal::Loss, false), work).unwrap()
}

fn take_in(store: &Store, request: ImportRequest) -> Result<(), DaunceError> {
    import(store, &request, &mut JobContext::silent("import")).map(drop)
}

#[test]
fn of_two_imports_of_a_table_at_once_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let snapshot = store.snapshot().unwrap();
    let ensemble = snapshot.ensemble("e").unwrap();
    let record = TableRecord::of_file("pool".into(), dir.path().join("losses.jsonl"));
    let source = opened(&store, &record);
    let mut table = ImportedTable::open(&snapshot, ensemble, &source, false).unwrap();
    table.compare(&mut TableReport::default(), &mut JobContext::silent("import")).unwrap();
    let features = table.plan(&snapshot, ensemble);
    // The other one has losses of theta_0 for offsets, this one takes means.
    let other = || {
        let manifest = Some(dir.path().join("manifest.json"));
        take_in(&store, ImportRequest { manifest, ..ImportRequest::default() })
    };
    let claim = || table.claim(&store, (&snapshot, &snapshot), features.clone(), "import");
    let at_work = claim().unwrap();
    let busy = other().unwrap_err();
    assert!(matches!(&busy, DaunceError::Job(JobError::Busy { .. })), "{busy}");
    drop(at_work);
    other().unwrap();
    let late = claim().map(drop).unwrap_err();
    assert!(matches!(&late, DaunceError::Meanwhile(dataset) if dataset == "pool"), "{late}");
    // Means go on from these offsets, in whatever precision the losses are.
    let now = store.snapshot().unwrap();
    let offsets = |snapshot: &Snapshot| -> Vec<String> {
        let labels = snapshot.features().iter().map(|part| part.attrs.label.clone());
        labels.filter(|label| label.ends_with(":base") || label.ends_with(":offset")).collect()
    };
    assert_eq!(offsets(&now), ["loss@e:base"]);
    let table = ImportedTable::open(&now, ensemble, &source, false).unwrap();
    assert_eq!(table.offsets(&now)[0].attrs.label, "loss@e:base");
}

#[test]
fn an_import_that_is_stopped_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let snapshot = store.snapshot().unwrap();
    let record = TableRecord::of_file("pool".into(), dir.path().join("losses.jsonl"));
    let source = opened(&store, &record);
    let mut table = ImportedTable::open(&snapshot, snapshot.ensemble("e").unwrap(), &source, false).unwrap();
    table.compare(&mut TableReport::default(), &mut JobContext::silent("import")).unwrap();
    let features = table.plan(&snapshot, snapshot.ensemble("e").unwrap());
    let jobs = || {
        let entries = fs_err::read_dir(dir.path().join("s/tmp")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("job-")).count()
    };
    let mut sink = table.claim(&store, (&snapshot, &snapshot), features, "import").unwrap();
    assert_eq!(jobs(), 1);
    let cancel = Cancel::raised();
    let mut stopped = JobContext { cancel: &cancel, ..JobContext::silent("import") };
    let error = table.write(&mut sink, &mut stopped).unwrap_err();
    assert!(matches!(error, DaunceError::Stopped(_)), "{error}");
    drop(sink);
    assert_eq!(jobs(), 0);
}

/// Raises a flag when a stage begins for the given time, and keeps what is noted.
struct StopsAt<'a> {
    cancel: &'a Cancel,
    stage: &'a str,
    times: usize,
    notes: Vec<String>,
}

impl Progress for StopsAt<'_> {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        self.times = self.times.saturating_sub(usize::from(stage == self.stage));
        if self.times == 0 {
            self.cancel.raise();
        }
    }
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, message: &str) {
        self.notes.push(message.to_owned());
    }
}

#[test]
fn an_import_that_is_stopped_says_what_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    add(&store, "queries");
    let tables = json!({ "base": "theta", "losses": "losses.jsonl", "tables": [
        { "dataset": "pool" }, { "dataset": "queries" }
    ] });
    fs_err::write(dir.path().join("both.json"), tables.to_string()).unwrap();
    let stopped = |ensemble: &str, stage: &str, times: usize| -> (Vec<String>, bool) {
        let before = store.snapshot().unwrap().number();
        let (manifest, name) = (Some(dir.path().join("both.json")), Some(ensemble.to_owned()));
        let request = ImportRequest { manifest, ensemble: name, ..ImportRequest::default() };
        let cancel = Cancel::new();
        let mut progress = StopsAt { cancel: &cancel, stage, times, notes: Vec::new() };
        let mut work =
            JobContext { progress: &mut progress, cancel: &cancel, ..JobContext::silent("import") };
        let error = import(&store, &request, &mut work).unwrap_err();
        assert!(matches!(error, DaunceError::Stopped(_)), "{error}");
        (progress.notes, store.snapshot().unwrap().number() == before)
    };
    // Both tables are compared before anything is written.
    assert_eq!(stopped("new", "comparing losses", 2), (Vec::new(), true));
    let (notes, _) = stopped("new", "comparing losses", 3);
    let says = "ensemble \"new\" is left with 2 members, 2 of them new, and with none of these losses: run the \
                same command again to continue; a drop of ensemble new removes it";
    assert_eq!(notes, [says]);
    // Now the ensemble is there, and the same once more changes nothing.
    assert_eq!(stopped("new", "writing losses", 1), (Vec::new(), true));
    let (notes, _) = stopped("new", "writing losses", 2);
    let says = "ensemble \"new\" is left with 2 members, 0 of them new, and with the losses of pool: run the \
                same command again to continue";
    assert_eq!(notes, [says]);
    let manifest = json!({ "base": "theta", "dataset": "pool", "losses": "losses.jsonl", "models": [
        { "id": "m0", "rho": 2.0 }, { "id": "m1" }
    ] });
    let take = |rho: f64| {
        let mut manifest = manifest.clone();
        manifest["models"][0]["rho"] = json!(rho);
        fs_err::write(dir.path().join("rho.json"), manifest.to_string()).unwrap();
        let manifest = Some(dir.path().join("rho.json"));
        take_in(&store, ImportRequest { manifest, ensemble: Some("new".into()), ..ImportRequest::default() })
    };
    take(2.0).unwrap();
    let other = take(3.0).unwrap_err().to_string();
    assert!(
        other.contains("with another rho\n  give this one another id, or the ensemble another name; "),
        "{other}"
    );
    assert!(
        other.ends_with("a drop of ensemble new removes the one that is stored, with its losses"),
        "{other}"
    );
}

#[test]
fn an_import_that_is_refused_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    add(&store, "queries");
    let tables = vec![("pool".to_owned(), dir.path().join("losses.jsonl"))];
    let request = ImportRequest { ensemble: Some("e".into()), tables, ..ImportRequest::default() };
    take_in(&store, request.clone()).unwrap();
    let before = store.snapshot().unwrap().number();

    // The second table differs from what is stored, the first has a new model.
    fs_err::write(dir.path().join("new.csv"), "id,m0,m7\na,1,2\nb,3,4\n").unwrap();
    fs_err::write(dir.path().join("other.csv"), "id,m0,m1\na,2.5,2.5\nb,2.5,7\n").unwrap();
    let tables = json!({ "ensemble": "e", "tables": [
        { "dataset": "queries", "losses": "new.csv" }, { "dataset": "pool", "losses": "other.csv" }
    ] });
    let manifest = dir.path().join("tables.json");
    fs_err::write(&manifest, tables.to_string()).unwrap();
    let both = ImportRequest { manifest: Some(manifest), ..ImportRequest::default() };
    let differs = take_in(&store, both.clone()).unwrap_err();
    assert!(matches!(&differs, DaunceError::Differs { id, .. } if id == "b"), "{differs}");
    assert_eq!(store.snapshot().unwrap().number(), before);

    // The same at once: another import is at work on one of the tables.
    let record = TableRecord::of_file("pool".into(), dir.path().join("losses.jsonl"));
    let source = opened(&store, &record);
    let lock = ImportLock::take(&store, "e", &[source], "import").unwrap();
    let both = ImportRequest { replace: true, ..both };
    let busy = take_in(&store, both.clone()).unwrap_err();
    assert!(matches!(&busy, DaunceError::Importing { dataset, .. } if dataset == "pool"), "{busy}");
    assert_eq!(store.snapshot().unwrap().number(), before);
    drop(lock);
    take_in(&store, both).unwrap();
    assert_eq!(store.snapshot().unwrap().ensemble("e").unwrap().members.len(), 3);
}

#[test]
fn a_model_of_the_manifest_without_a_column_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    for (name, text) in [
        ("wide.csv", "id,m0,m1x,source\na,1,2,x\nb,3,4,x\n"),
        ("more.csv", "id,m2,m3\na,5,\nb,6,\n"),
        ("long.csv", "id,model,loss\na,m0,1\nb,m0,3\n"),
    ] {
        fs_err::write(dir.path().join(name), text).unwrap();
    }
    let notes = |files: &[&str]| -> Vec<String> {
        let tables: Vec<Value> = files.iter().map(|file| json!({ "losses": file })).collect();
        let models = ["m0", "m1", "m2", "m3"].map(|id| json!({ "id": id }));
        let content =
            json!({ "ensemble": "n", "base": "b", "models": models, "dataset": "pool", "tables": tables });
        let manifest = dir.path().join("models.json");
        fs_err::write(&manifest, content.to_string()).unwrap();
        let request = ImportRequest { manifest: Some(manifest), ..ImportRequest::default() };
        let mut notes = Notes::default();
        let mut work = JobContext { progress: &mut notes, ..JobContext::silent("import") };
        import(&store, &request, &mut work).unwrap();
        notes.0
    };
    let rest = ", which the manifest names; a column of losses is named by the id of its model";
    assert_eq!(notes(&["wide.csv"]), [format!("pool: no column has the losses of m1, m2, m3{rest}")]);
    // What stands in another table is there, and a column may have no losses.
    assert_eq!(notes(&["wide.csv", "more.csv"]), [format!("pool: no column has the losses of m1{rest}")]);
    assert_eq!(notes(&["wide.csv", "long.csv"]), [""; 0]);
}

/// Without such a file the losses themselves would be taken for those of theta_0, or for the mask.
#[test]
fn a_matrix_beside_another_one_is_a_file_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let before = store.snapshot().unwrap().number();
    fs_err::write(dir.path().join("one.f32"), [0.0f32, 1.0].map(f32::to_le_bytes).concat()).unwrap();
    let refused = |more: Value| {
        let mut content = json!({
            "ensemble": "n", "base": "b", "models": [{ "id": "m0" }], "dataset": "pool", "signal": "prob",
            "orientation": "model_major", "losses": "one.f32", "rows": ["a", "b"]
        });
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let manifest = dir.path().join("one.json");
        fs_err::write(&manifest, content.to_string()).unwrap();
        let request = ImportRequest { manifest: Some(manifest), ..ImportRequest::default() };
        take_in(&store, request).unwrap_err().to_string()
    };
    for key in ["base_losses", "mask"] {
        let error = refused(json!({ key: "typo.f32" }));
        let file = dir.path().join("typo.f32");
        let says = format!("`{key}` should be in {}, which does not exist", file.display());
        assert!(error.contains(&says), "{error}");
    }
    let error = refused(json!({ "rows": [] }));
    assert!(error.contains("it has no losses: `rows` names no sample"), "{error}");
    assert_eq!(store.snapshot().unwrap().number(), before);
}

#[test]
fn of_files_that_contradict_each_other_none_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let before = store.snapshot().unwrap().number();
    let base = ["a", "b"].map(|id| json!({"model": "theta", "id": id, "loss": 3.5}).to_string()).join("\n");
    for (name, text) in [
        ("first.csv", "id,m0,m1\na,1,2\nb,3,4\n"),
        ("other.csv", "id,m1,m2\nb,5,6\n"),
        ("new.csv", "id,m2\na,7\nb,8\n"),
        ("other-base.jsonl", base.as_str()),
    ] {
        fs_err::write(dir.path().join(name), text).unwrap();
    }
    let request = |tables: Value| {
        let manifest = dir.path().join("tables.json");
        let content = json!({ "ensemble": "e", "dataset": "pool", "tables": tables });
        fs_err::write(&manifest, content.to_string()).unwrap();
        ImportRequest { manifest: Some(manifest), ..ImportRequest::default() }
    };
    let other = json!([{ "losses": "first.csv" }, { "losses": "other.csv" }]);
    for (tables, expected) in [
        (other.clone(), "other.csv: the loss of \"b\" under \"m1\" is 5, but 4 in an earlier file"),
        (
            json!([
                { "losses": "first.csv", "base_losses": "base.jsonl" },
                { "losses": "new.csv", "base_losses": "other-base.jsonl" }
            ]),
            "other-base.jsonl: the loss of \"a\" under \"theta_0\" is 3.5, but 2.5 in an earlier file",
        ),
        (
            json!([{ "losses": "first.csv" }, { "losses": "new.csv", "base_losses": "base.jsonl" }]),
            "has losses of this dataset but none of theta_0",
        ),
    ] {
        let refused = take_in(&store, request(tables)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(store.snapshot().unwrap().number(), before);
    }
    // The same twice, and another model of the same samples.
    let agreeing = json!([{ "losses": "first.csv" }, { "losses": "first.csv" }, { "losses": "new.csv" }]);
    take_in(&store, request(agreeing)).unwrap();
    take_in(&store, ImportRequest { replace: true, ..request(other) }).unwrap();
}

#[test]
fn losses_of_theta_0_that_come_late_or_differ_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tables = vec![("pool".to_owned(), dir.path().join("losses.jsonl"))];
    let without = ImportRequest { ensemble: Some("e".into()), tables, ..ImportRequest::default() };
    let manifest = Some(dir.path().join("manifest.json"));
    let with = ImportRequest { manifest, replace: true, ..ImportRequest::default() };
    let refused = |store: &Store, stored: Option<f32>| {
        let before = store.snapshot().unwrap().number();
        let error = take_in(store, with.clone()).unwrap_err();
        let DaunceError::OtherBase { path, stored: found, .. } = &error else { panic!("{error}") };
        assert_eq!((path, *found), (&dir.path().join("base.jsonl"), stored), "{error}");
        assert_eq!(store.snapshot().unwrap().number(), before);
    };
    let store = filled(dir.path());
    take_in(&store, without).unwrap();
    refused(&store, None);

    let other = tempfile::tempdir().unwrap();
    let store = filled(other.path());
    take_in(&store, with.clone()).unwrap();
    take_in(&store, with.clone()).unwrap();
    let line = |id: &str, loss: f64| json!({"model": "theta", "id": id, "loss": loss}).to_string();
    fs_err::write(dir.path().join("base.jsonl"), [line("a", 2.5), line("b", 3.0)].join("\n")).unwrap();
    refused(&store, Some(2.5));
}

#[test]
fn losses_are_refused_where_it_is_lost_what_the_stored_ones_are_relative_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let snapshot = store.snapshot().unwrap();
    let columns = LossColumns::new(snapshot.ensemble("e").unwrap(), "pool", "");
    let plan = LossColumns::plan("losses", vec![columns.members(0..1, 0)], &Value::Null);
    let mut job = store.start_job(plan).unwrap();
    let mut writer = job.segment_writer(0).unwrap();
    writer.push(1, &[0.25], RowFlags::empty()).unwrap();
    job.seal(0, writer).unwrap();
    job.publish(None, false).unwrap();
    let tables = vec![("pool".to_owned(), dir.path().join("losses.jsonl"))];
    let request = ImportRequest { ensemble: Some("e".into()), tables, ..ImportRequest::default() };
    let error = take_in(&store, request).unwrap_err();
    assert!(matches!(&error, DaunceError::NoOffset { id, .. } if id == "b"), "{error}");
}
