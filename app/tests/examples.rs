//! Promise: the examples of the library do what they say.

#[path = "../examples/ingest.rs"]
mod ingest;
#[path = "../examples/nearest.rs"]
mod nearest;
#[path = "../examples/put_vectors.rs"]
mod put_vectors;
#[path = "../examples/query.rs"]
mod query;

use gstore::{Store, Work, pretty};

#[test]
fn a_pool_is_ingested_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ingest::run(&store).unwrap();
    // The same again finds nothing to do.
    ingest::run(&store).unwrap();
    let sources = query::run(&store).unwrap();
    assert!(sources.contains("| source") && sources.lines().count() > 5, "{sources}");
    let snapshot = Store::open(&store).unwrap().snapshot().unwrap();
    let work = Work::silent("test");
    let first = gstore::query(&snapshot, "SELECT id FROM pool ORDER BY row LIMIT 1", None, &work).unwrap();
    let text = pretty(&first).unwrap();
    let id = text.lines().nth(3).and_then(|line| line.split('|').nth(1)).unwrap().trim().to_owned();
    let near = nearest::run(&store, &id).unwrap();
    assert!(near.contains("similarity") && near.lines().count() == 9, "{near}");
}

#[test]
fn vectors_of_another_program_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    put_vectors::run(folder.path()).unwrap();
    let snapshot = Store::open(folder.path()).unwrap().snapshot().unwrap();
    let sql = "SELECT id FROM nearest('points', id => 'p2', k => 2) ORDER BY id";
    let near = pretty(&gstore::query(&snapshot, sql, None, &Work::silent("test")).unwrap()).unwrap();
    for id in ["p1", "p3"] {
        assert!(near.contains(id), "{near}");
    }
    assert_eq!(near.lines().count(), 6, "{near}");
}
