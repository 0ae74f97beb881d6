//! Covariances of losses as a relation.

use std::path::Path;
use std::sync::Arc;

use gstore_sql::{SqlOptions, SqlSession};
use gstore_store::*;
use serde_json::Value;

use crate::fixture;
use crate::slt::{self, refused, rows};

const MODELS: usize = 40;

/// A pool of 60 rows and a target of 3 under an ensemble; row 11 has no losses, row 12 only missing ones,
/// and row 13 the same under every model.
fn store(path: &Path) -> Arc<Snapshot> {
    let store = Store::create(path).unwrap();
    let sources = ["math", "code", "chat"];
    let columns = vec![ColumnSpec::inferred("source", ColumnType::Text)];
    fixture::append_samples(&store, "pool", columns, 60, |i| {
        (format!("p{i}"), format!("{{\"text\": \"pool {i}\"}}"), vec![MetaValue::Text(sources[i % 3].into())])
    });
    let columns = vec![ColumnSpec::inferred("subtask", ColumnType::Text)];
    fixture::append_samples(&store, "target", columns, 3, |i| {
        let subtask = if i == 1 { "b" } else { "a" };
        (format!("t{i}"), format!("{{\"text\": \"target {i}\"}}"), vec![MetaValue::Text(subtask.into())])
    });
    let members = (0..MODELS).map(|k| Member::new(format!("m{k}"), "theta"));
    store.update_ensemble(&EnsembleUpdate::new("copies", "theta", members), "test").unwrap();
    let mut state = 1u64;
    let mut number = move || fixture::centred(&mut state);
    let shared: Vec<f32> = (0..MODELS).map(|_| number()).collect();
    for (dataset, rows) in [("pool", 60u64), ("target", 3)] {
        let snapshot = store.snapshot().unwrap();
        let columns = LossColumns::new(snapshot.ensemble("copies").unwrap(), dataset, "");
        let plan = LossColumns::plan("test", vec![columns.members(0..MODELS, 0)], &Value::Null);
        let mut job = store.start_job(plan).unwrap();
        let mut writer = job.segment_writer(0).unwrap();
        for row in 0..rows {
            let part = (row % 5) as f32 / 5.0;
            let losses: Vec<f32> = match (dataset, row) {
                ("pool", 11) => continue,
                ("pool", 12) => vec![f32::NAN; MODELS],
                ("pool", 13) => vec![0.5; MODELS],
                _ => shared.iter().map(|s| part * s + 0.2 * number()).collect(),
            };
            let flags = if losses[0].is_nan() { RowFlags::MISSING } else { RowFlags::empty() };
            writer.push(row, &losses, flags).unwrap();
        }
        job.seal(0, writer).unwrap();
        job.publish(None, true).unwrap();
    }
    store.snapshot().unwrap()
}

fn session(threads: usize) -> (tempfile::TempDir, SqlSession) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = store(&folder.path().join("store"));
    let options = SqlOptions { threads, ..SqlOptions::default() };
    (folder, SqlSession::new(snapshot, options).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covariance_has_its_error_beside_it() {
    let (_folder, session) = session(2);
    let (header, found) =
        slt::run(&session, "SELECT * EXCEPT (record) FROM daunce('pool', 'target', k => 4)").await.unwrap();
    assert!(header.starts_with("row | id | score | subtask | se | z | models | noise_floor"), "{header}");
    assert_eq!(found.len(), 4);
    let sql = "SELECT abs(z - score / se) < 1e-3 * abs(z), models, se > 0, noise_floor > 0 FROM daunce('pool', 'target')";
    let found = rows(&session, sql).await;
    assert_eq!(found.len(), 58);
    // Only the row that does not vary has no error to speak of.
    assert_eq!(found.iter().filter(|row| *row == "true | 40 | true | true").count(), 57);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_that_completion_offers_are_there() {
    let (_folder, session) = session(1);
    let offered = gstore_sql::table_functions().find(|function| function.name == "daunce").unwrap();
    assert!(offered.with_pool);
    let columns = offered.columns.join(", ");
    let sql = format!("SELECT {columns}, source FROM daunce('pool', 'target') LIMIT 1");
    assert_eq!(rows(&session, &sql).await.len(), 1, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_orders_and_limits_are_pushed_down_and_change_nothing() {
    for threads in [1, 3] {
        let (_folder, session) = session(threads);
        for options in
            ["", ", score => 'corr'", ", center => 'both', ddof => 0", ", within => 'max', across => 'mean'"]
        {
            let all = format!("SELECT row, id, score, source, se FROM daunce('pool', 'target'{options})");
            for (part, whole) in [
                ("ORDER BY score DESC LIMIT 7", "ORDER BY score DESC, row LIMIT 7"),
                ("ORDER BY score LIMIT 7", "ORDER BY score, row LIMIT 7"),
                (
                    "WHERE source <> 'math' ORDER BY score DESC LIMIT 5",
                    "WHERE source <> 'math' ORDER BY score DESC, row LIMIT 5",
                ),
                ("WHERE z > 1 ORDER BY score DESC LIMIT 5", "WHERE z > 1 ORDER BY score DESC, row LIMIT 5"),
            ] {
                // Nothing is pushed below a window.
                let columns = "row, id, score, source, se, z, row_number() OVER (ORDER BY row) AS n";
                let window = format!("SELECT {columns} FROM daunce('pool', 'target'{options})");
                let copy = format!("SELECT row, id, score, source, se FROM ({window}) {whole}");
                assert_eq!(
                    rows(&session, &format!("{all} {part}")).await,
                    rows(&session, &copy).await,
                    "{options} {part}"
                );
            }
            let best =
                format!("SELECT row, id, score, source, se FROM daunce('pool', 'target'{options}, k => 7)");
            assert_eq!(
                rows(&session, &best).await,
                rows(&session, &format!("{all} ORDER BY score DESC LIMIT 7")).await
            );
        }
        let plan = rows(&session, "EXPLAIN SELECT row FROM daunce('pool', 'target', score => 'corr') WHERE source = 'code' ORDER BY score DESC LIMIT 3").await.join("\n");
        for part in ["DaunceExec", "ensemble=copies", "models=40", "score=corr", "source", "top=3"] {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        assert!(!plan.contains("SortExec"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_score_are_listed_with_the_reason() {
    let (_folder, session) = session(1);
    let sql = "SELECT row, reason FROM excluded('pool', 'target', method => 'daunce', score => 'corr')";
    assert_eq!(rows(&session, sql).await, ["11 | missing", "12 | missing", "13 | constant"]);
    let sql = "SELECT row, reason FROM excluded('pool', 'target', ensemble => 'copies')";
    assert_eq!(rows(&session, sql).await, ["11 | missing", "12 | missing"]);
    assert_eq!(rows(&session, "SELECT score FROM daunce('pool', 'target') WHERE row = 13").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ranking_has_the_errors_of_its_own_question() {
    let (_folder, session) = session(2);
    let each = "SELECT row, score, se, noise_floor, subtask FROM daunce('pool', 'target', each => 'subtask', k => 5)";
    let alone = "SELECT row, score, se, noise_floor, subtask FROM daunce('pool', 'target:b', k => 5)";
    assert_eq!(
        rows(&session, &format!("{each} WHERE target = 'target:b' ORDER BY rank")).await,
        rows(&session, alone).await
    );
    let each = "SELECT target, count(*), min(rank), max(rank) FROM daunce('pool', 'target', each => 'sample', k => 5) GROUP BY target ORDER BY target";
    assert_eq!(rows(&session, each).await, ["t0 | 5 | 1 | 5", "t1 | 5 | 1 | 5", "t2 | 5 | 1 | 5"]);
    let each = "SELECT row, score, se FROM daunce('pool', 'target', each => 'sample', k => 5, order => 'worst') WHERE target = 't1' ORDER BY rank";
    let alone = "SELECT row, score, se FROM daunce('pool', 'target:b') ORDER BY score LIMIT 5";
    assert_eq!(rows(&session, each).await, rows(&session, alone).await);
    let each = "EXPLAIN SELECT row FROM daunce('pool', 'target', ddof => 0, each => 'sample', k => 5)";
    let plan = rows(&session, each).await.join("\n");
    for part in ["DaunceEachExec: each=sample, order=best, k=5, pool=[pool]", "center=row, ddof=0, missing="]
    {
        assert!(plan.contains(part), "{part}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_covariance_is_shown() {
    let (_folder, session) = session(1);
    let sql = "SELECT array_length(model_scores), target_id, target_score >= score FROM daunce('pool', 'target', explain => true, k => 1)";
    let found = rows(&session, sql).await;
    assert!(found[0].starts_with("40 | t") && found[0].ends_with("true"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_is_an_option_of_influence_too() {
    let (_folder, session) = session(1);
    let found = rows(
        &session,
        "SELECT row, score, z FROM influence('pool', 'target', method => 'daunce', score => 'corr', k => 6)",
    )
    .await;
    assert_eq!(
        found,
        rows(&session, "SELECT row, score, z FROM daunce('pool', 'target', score => 'corr', k => 6)").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named() {
    let (_folder, session) = session(1);
    for (function, options, says) in [
        ("daunce", "ensemble => 'copy'", "copies"),
        ("daunce", "sim => 'dot'", "daunce() has no option `sim`"),
        ("daunce", "score => 'cor'", "score cannot be `cor`: it is one of cov, corr"),
        ("daunce", "ddof => 2", "`ddof => 2` is neither 0 nor 1"),
        ("daunce", "center => 'base'", "not relative to those of the base model"),
        ("daunce", "min_models => 50", "at least 50"),
        ("daunce", "signal => 'prob'", "there is no signal \"prob\""),
        ("influence", "score => 'corr'", "`score` is an option of the method daunce"),
        ("influence", "method => 'daunce', fold => 'mean'", "`fold` is about vectors"),
        ("influence", "method => 'daunce', k => 3, quota => '*=1'", "leave them out"),
    ] {
        let sql = format!("SELECT * FROM {function}('pool', 'target', {options})");
        let error = refused(&session, &sql).await;
        assert!(error.contains(says), "{sql}: {error}");
    }
}
