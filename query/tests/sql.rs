//! Promise: SQL gives the same rows whatever of a statement is pushed into the scans, says clearly what it cannot do, and changes nothing.

#[path = "sql/behaviour.rs"]
mod behaviour;
#[path = "sql/fixture.rs"]
mod fixture;
#[path = "sql/shapes.rs"]
mod shapes;
#[path = "sql/slt.rs"]
mod slt;
#[path = "sql/speed.rs"]
mod speed;

use std::path::Path;

use gstore_query::sql::{SqlOptions, SqlSession};

/// A session on the small store; the folder lives as long as the test.
fn session(threads: usize) -> (tempfile::TempDir, SqlSession) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = fixture::store(&folder.path().join("store"));
    let options = SqlOptions { threads, ..SqlOptions::default() };
    (folder, SqlSession::new(snapshot, options).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_give_what_the_files_say() {
    let (_folder, session) = session(2);
    let slt = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    for file in ["tables", "influence", "errors", "readonly"] {
        slt::check(&slt.join(file).with_extension("slt"), &session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_down_never_changes_a_result() {
    for threads in [1, 3] {
        let (_folder, session) = session(threads);
        shapes::check(&session).await;
    }
}
