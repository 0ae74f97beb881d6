//! The store of [`super::rich`] after some years: rows purged, deleted and replaced, files merged, a history
//! that was cut twice, a tag, and a feature of so many segments that its manifest has a page.
//!
//! `tests/formats/v1-life` was made by [`build`].

use super::*;

/// Segments of the feature with pages; a list of up to 128 has none.
const SEGMENTS: u64 = 130;

pub fn build(path: &Path) -> Store {
    let store = rich::build(path);
    let command = || "delete".to_owned();
    let delete = |rows: std::ops::Range<u64>, purge| {
        let options = DeleteOptions { command: command(), purge, ..DeleteOptions::default() };
        store.delete(&pool(&store), &RowSet::from_range(rows), options).unwrap();
    };
    delete(30..40, true);
    delete(4_090..4_094, false);
    let before: TagName = "before-merging".parse().unwrap();
    store.tag(&before, &store.snapshot().unwrap(), TagOptions::default()).unwrap();

    let mut options = options("add --if-changed replace");
    options.if_changed = IfChanged::Replace;
    let mut append = store.append(&dataset(), columns(), options).unwrap();
    let metadata = vec![MetaValue::Text("changed".into()), MetaValue::Int(-1)];
    append.push(NewSample { id: "s2000", record: Some(b"{\"id\": \"s2000\"}"), metadata }).unwrap();
    append.finish().unwrap();

    let many = feature("embed-last", 1, DType::F32);
    let mut job = store.start_job(plan(vec![many])).unwrap();
    for row in 100..100 + SEGMENTS {
        seal(&mut job, 0, [row]);
    }
    job.publish(None, false).unwrap();
    let features = store.snapshot().unwrap().features_of("pool").iter().map(|f| f.display_name()).collect();
    let merged: Vec<String> =
        Vec::into_iter(features).filter(|name: &String| !name.contains("embed-last")).collect();
    store.compact(CompactOptions { features: merged, ..CompactOptions::default() }, &mut |_| {}).unwrap();
    store.collect(GcOptions { command: "gc".into(), keep: 2, ..GcOptions::default() }).unwrap();
    store
}
