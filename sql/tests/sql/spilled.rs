//! Statements that go on from disk: sorts, windows and groupings of more than the memory holds.

use std::sync::Arc;

use gstore_sql::{SqlOptions, SqlSession};

use crate::{slt, small_store};

#[tokio::test(flavor = "multi_thread")]
async fn operators_with_little_memory_answer_from_disk() {
    let store = small_store();
    let folder = tempfile::tempdir().unwrap();
    let session = |threads, memory_limit, spill| {
        let options = SqlOptions { threads, memory_limit, spill, ..SqlOptions::default() };
        SqlSession::new(Arc::clone(&store.snapshot), options).unwrap()
    };
    let much = session(2, 2 << 30, None);
    for (memory, sql) in [
        // Keys of two columns are larger than the rows.
        (
            32,
            "SELECT sum(r * (v % 13)), max(r) FROM (SELECT v, row_number() OVER () AS r FROM \
         (SELECT range AS v FROM range(2500000) ORDER BY range % 7, range DESC))",
        ),
        (
            32,
            "SELECT sum(r * (k % 13)) FROM (SELECT k, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r \
         FROM (SELECT range % 300000 AS k, range AS v FROM range(1500000)))",
        ),
        (
            64,
            "SELECT count(*), sum(length(t)) FROM (SELECT k, string_agg(v, ',') AS t FROM \
         (SELECT range % 100000 AS k, range::VARCHAR AS v FROM range(600000)) GROUP BY k ORDER BY t)",
        ),
        (32, "SELECT count(DISTINCT range % 1000000) FROM range(1500000)"),
        (
            64,
            "SELECT count(*), sum(length(v)) FROM (SELECT DISTINCT repeat('x', 1000) || range AS v FROM range(60000))",
        ),
    ] {
        let (_, expected) = slt::run(&much, sql).await.unwrap();
        for (threads, memory) in [(1, memory), (4, memory), (4, 128)] {
            let little = session(threads, memory << 20, Some(folder.path().to_owned()));
            let (_, rows) = slt::run(&little, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_eq!(rows, expected, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_removed_is_made_again() {
    let store = small_store();
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let options = SqlOptions {
        threads: 1,
        memory_limit: 32 << 20,
        spill: Some(spill.clone()),
        ..SqlOptions::default()
    };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    let sql = "SELECT count(DISTINCT range % 1000000) FROM range(1500000)";
    for _ in 0..2 {
        slt::run(&session, sql).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(fs_err::read_dir(&spill).expect("it is made again").count(), 0);
        fs_err::remove_dir(&spill).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sorts_of_what_functions_make_spill() {
    let store = small_store();
    let folder = tempfile::tempdir().unwrap();
    let options = SqlOptions {
        threads: 1,
        memory_limit: 48 << 20,
        spill: Some(folder.path().to_owned()),
        ..SqlOptions::default()
    };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    let sql = "SELECT max(r) AS r, max(k) AS k FROM (SELECT k, row_number() OVER (ORDER BY k DESC) AS r FROM \
               (SELECT 'abcdefghijklmnopqrstuvwxyz0123456789' || (value * 7919 % 1000003) AS k \
               FROM generate_series(1, 600000) AS t(value)))";
    let rows = slt::run(&session, sql).await.unwrap_or_else(|e| panic!("{e}")).1;
    assert_eq!(rows.len(), 1);
    assert!(rows[0].contains("600000"), "{rows:?}");
}
