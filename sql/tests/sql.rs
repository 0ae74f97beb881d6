//! Promise: SQL gives the same rows whatever of a statement is pushed into the scans, says clearly what it
//! cannot do, and changes nothing.

#[path = "sql/analyst.rs"]
mod analyst;
#[path = "sql/behaviour.rs"]
mod behaviour;
#[path = "sql/daunce.rs"]
mod daunce;
#[path = "sql/documented.rs"]
mod documented;
#[path = "sql/each.rs"]
mod each;
#[path = "sql/fixture.rs"]
mod fixture;
#[path = "sql/growth.rs"]
mod growth;
#[path = "sql/long.rs"]
mod long;
#[path = "sql/pages.rs"]
mod pages;
#[path = "sql/parameters.rs"]
mod parameters;
#[path = "sql/shapes.rs"]
mod shapes;
#[path = "sql/slt.rs"]
mod slt;
#[path = "sql/speed.rs"]
mod speed;
#[path = "sql/spilled.rs"]
mod spilled;

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use gstore_core::locked;
use gstore_sql::{SqlOptions, SqlSession};
use gstore_store::Snapshot;

/// The small store. Tests that run at the same time share one, since making it flushes many files;
/// the last one removes it.
fn small_store() -> Arc<SmallStore> {
    static SHARED: Mutex<Weak<SmallStore>> = Mutex::new(Weak::new());
    let mut shared = locked(&SHARED);
    shared.upgrade().unwrap_or_else(|| {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = fixture::store(&folder.path().join("store"));
        let made = Arc::new(SmallStore { snapshot, _folder: folder });
        *shared = Arc::downgrade(&made);
        made
    })
}

struct SmallStore {
    snapshot: Arc<Snapshot>,
    _folder: tempfile::TempDir,
}

/// A session on the small store; the store lives as long as the test.
fn session(threads: usize) -> (Arc<SmallStore>, SqlSession) {
    let store = small_store();
    let options = SqlOptions { threads, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    (store, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_give_what_the_files_say() {
    let (_store, session) = session(2);
    let slt = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut differences = String::new();
    for file in ["tables", "influence", "rules", "tokens", "errors", "readonly", "forms", "analyst", "floats"]
    {
        differences += &slt::differences(&slt.join(file).with_extension("slt"), &session).await;
    }
    assert!(differences.is_empty(), "{differences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_down_never_changes_a_result() {
    for threads in [1, 3] {
        let (_store, session) = session(threads);
        shapes::check(&session).await;
    }
}
