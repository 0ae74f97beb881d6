//! Effects of a statement other than its rows: notes, counts of work, limits, cancellation, damage.

use std::path::Path;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use gstore_core::Cancel;
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_sql::{
    MAX_OPERATORS, SqlError, SqlErrorKind, SqlOptions, SqlRunner, SqlSession, StatementOptions,
};

use crate::{fixture, session, slt, small_store};

#[tokio::test(flavor = "multi_thread")]
async fn the_result_says_what_it_guarantees_and_what_it_left_out() {
    let (_store, session) = session(2);
    let sql =
        "SELECT row FROM influence('pool', 'target') WHERE source <> 'math' ORDER BY score DESC LIMIT 2";
    let mut result = session.run(sql).await.unwrap();
    (&mut result.stream).try_collect::<Vec<_>>().await.unwrap();
    let notes = result.notes();
    let [note] = notes.influence.as_slice() else { panic!("{notes:?}") };
    assert_eq!(
        (note.pools.as_slice(), note.targets.as_slice()),
        (&["pool".into()][..], &["target".into()][..])
    );
    let summary = &note.summary;
    assert_eq!(summary.guarantee, "exact");
    // 12 rows, 8 of them pass, and of these one has no scored token and one is not finite.
    assert_eq!((summary.live, summary.scanned, summary.eligible), (12, 8, 6));
    assert_eq!((summary.excluded.no_scored, summary.excluded.non_finite), (1, 1));
    assert!(summary.bytes_read > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_ends_early_says_how_it_was_resolved_and_not_what_it_left_out() {
    let (_store, session) = session(2);
    let mut result = session.run("SELECT row FROM influence('pool', 'target') LIMIT 1").await.unwrap();
    (&mut result.stream).try_collect::<Vec<_>>().await.unwrap();
    let notes = result.notes();
    let [note] = notes.influence.as_slice() else { panic!("{notes:?}") };
    assert_eq!((note.summary.guarantee.as_str(), note.summary.excluded.total()), ("exact", 0));
    assert!(!note.checkpoints.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_within_a_condition_are_noted_before_the_one_around_it() {
    let (_store, session) = session(2);
    let sql = "SELECT row FROM influence('pool', 'target', k => 2, \
               where => $$row IN (SELECT row FROM self_influence('pool', k => 3))$$)";
    let mut result = session.run(sql).await.unwrap();
    (&mut result.stream).try_collect::<Vec<_>>().await.unwrap();
    let notes = result.notes();
    let [within, around] = notes.influence.as_slice() else { panic!("{notes:?}") };
    assert_eq!((within.targets.as_slice(), within.summary.scanned), (&["pool".into()][..], 12));
    assert_eq!((around.targets.as_slice(), around.summary.scanned), (&["target".into()][..], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_choose_from_the_other_end_too() {
    let (_store, session) = session(2);
    let rows = async |sql: &str| slt::run(&session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).1;
    let ruled =
        "SELECT row, score FROM influence('pool', 'target', k => 5, quota => '*=12', order => 'worst')";
    let plain = "SELECT row, score FROM influence('pool', 'target') ORDER BY score LIMIT 5";
    assert_eq!(rows(ruled).await, rows(plain).await);
    let best = ruled.replace("'worst'", "'best'");
    assert_eq!(rows(&best).await, rows(&plain.replace("score LIMIT", "score DESC LIMIT")).await);
    let explained = "SELECT count(*) FROM influence('pool', 'target', explain => true, k => 3) i JOIN target t ON i.target_row = t.row AND i.target_id = t.id";
    assert_eq!(rows(explained).await, ["3"]);
    let error =
        slt::run(&session, "SELECT row FROM influence('pool', 'target', k => 5, order => 'worst')").await;
    assert!(error.unwrap_err().to_string().contains("ORDER BY score"));
}

#[tokio::test(flavor = "multi_thread")]
async fn table_functions_give_the_columns_that_completion_offers() {
    let (_store, session) = session(1);
    for function in gstore_sql::table_functions() {
        let arguments = match function.name {
            "influence" | "excluded" => "'pool', 'target'",
            "self_influence" => "'pool'",
            "nearest" => "'pool', id => 'p0', kind => 'grad-sgd'",
            "vectors" => "'pool', 'grad-adam@checkpoint-1'",
            // The store has no copies of models and no prefilter; these have tests of their own.
            "daunce" | "predicted" => continue,
            other => panic!("{other}"),
        };
        let (columns, more) = (function.columns.join(", "), if function.with_pool { ", source" } else { "" });
        let sql = format!("SELECT {columns}{more} FROM {}({arguments}) LIMIT 1", function.name);
        assert_eq!(slt::rows(&session, &sql).await.len(), 1, "{sql}");
    }
}

/// A counter of the scoring node in EXPLAIN ANALYZE.
async fn counter(session: &SqlSession, sql: &str, name: &str) -> u64 {
    let (_, rows) = slt::run(session, &format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
    let text = rows.join("\n");
    let node = text.lines().find(|l| l.contains("InfluenceExec")).unwrap_or_else(|| panic!("{text}"));
    let value = node.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("{node}"));
    value.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_rows_that_can_be_in_the_result_are_scored() {
    let (_store, session) = session(2);
    for (sql, scored) in [
        ("SELECT row FROM influence('pool', 'target') ORDER BY score DESC LIMIT 2", 10),
        ("SELECT row FROM influence('pool', 'target') WHERE source = 'math' ORDER BY score LIMIT 1", 4),
        (
            "SELECT t.row FROM influence('pool', 'target') t JOIN (VALUES ('p1'), ('p2')) v(id) ON t.id = v.id",
            2,
        ),
        (
            "SELECT v.id, t.score FROM (VALUES ('p1'), ('p2')) v(id) \
             LEFT JOIN (SELECT id, score, 'x' AS t FROM influence('pool', 'target')) t ON t.id = v.id",
            2,
        ),
        // The three best come before the join, so the join must not choose what is scored.
        (
            "SELECT t.row FROM (SELECT * FROM influence('pool', 'target') ORDER BY score DESC LIMIT 3) t \
             JOIN (VALUES ('p1'), ('p2')) v(id) ON t.id = v.id",
            10,
        ),
    ] {
        assert_eq!(counter(&session, sql, "rows_scored").await, scored, "{sql}");
    }
}

#[tokio::test]
async fn the_longest_chain_runs_on_an_ordinary_stack() {
    let (_store, session) = session(1);
    let terms: Vec<String> = (0..MAX_OPERATORS / 3 - 1).map(|i| format!("row + {i} = 3")).collect();
    let (_, rows) =
        slt::run(&session, &format!("SELECT row FROM pool WHERE {}", terms.join(" OR "))).await.unwrap();
    assert_eq!(rows.len(), 4);
    let unions = vec!["SELECT row FROM pool"; 99].join(" UNION ALL ");
    assert_eq!(slt::run(&session, &unions).await.unwrap().1.len(), 99 * 12);
    for (start, end) in [
        ("(", ")"),
        ("abs(", ")"),
        ("[", "]"),
        ("(SELECT ", ")"),
        ("CASE WHEN true THEN ", " END"),
        ("- ", ""),
    ] {
        let sql = format!("SELECT {}1{}", start.repeat(5000), end.repeat(5000));
        let error = session.run(&sql).await.err().unwrap();
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{start}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_limited() {
    let store = small_store();
    let options = SqlOptions { threads: 1, memory_limit: 1 << 20, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    let sql = "SELECT * FROM range(3000000) ORDER BY range % 1000, range";
    let error = slt::run(&session, sql).await.unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Memory, "{error}");
}

#[test]
fn texts_reach_readers_without_views() {
    let store = small_store();
    let options = SqlOptions { threads: 1, ..SqlOptions::default() };
    let runner = SqlRunner::new(Arc::clone(&store.snapshot), options).unwrap();
    let sql = "SELECT CAST(row AS VARCHAR) AS text, CAST('[\"x\"]' AS VARCHAR[]) AS list, \
               {'a': CAST(row AS VARCHAR), 'b': [CAST(row AS VARCHAR)]} AS fields FROM pool WHERE row = 1";
    let cancel = Cancel::new();
    let mut rows = runner.run(sql, &cancel).unwrap();
    let schema = Arc::clone(rows.schema());
    assert_eq!(runner.columns(sql, &cancel).unwrap(), schema);
    let batch = rows.next().unwrap().unwrap();
    assert_eq!(batch.schema(), schema);
    let types = schema.fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>();
    assert!(types.iter().all(|ty| ty.contains("Utf8") && !ty.contains("View")), "{types:?}");

    let mut out = Vec::new();
    let mut writer = ResultWriter::new(Format::Json, &schema, &mut out, TableStyle::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let expected = "{\"text\":\"1\",\"list\":[\"x\"],\"fields\":{\"a\":\"1\",\"b\":[\"1\"]}}\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_raised_flag_stops_a_statement() {
    let store = small_store();
    let runner =
        SqlRunner::new(Arc::clone(&store.snapshot), SqlOptions { threads: 1, ..SqlOptions::default() })
            .unwrap();
    let cancel = Cancel::new();
    let run = |sql: &str| {
        let mut out = Vec::new();
        let mut rows = runner.run(sql, &cancel)?;
        let mut writer = ResultWriter::new(Format::Csv, rows.schema(), &mut out, TableStyle::default())?;
        rows.try_for_each(|batch| writer.write(&batch?))?;
        writer.finish()?;
        Ok::<_, SqlError>(String::from_utf8(out).unwrap())
    };
    assert_eq!(run("SELECT row, id FROM pool WHERE row < 2;").unwrap(), "row,id\n0,p0\n1,p1\n");
    let endless = "SELECT count(*) FROM range(1000000) a JOIN range(1000000) b ON a.range < b.range";
    let (elapsed, error) = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.raise();
        });
        let start = Instant::now();
        let error = run(endless).unwrap_err();
        (start.elapsed(), error)
    });
    assert_eq!(error.kind(), SqlErrorKind::Cancelled);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    assert_eq!(run("SELECT 1").unwrap_err().kind(), SqlErrorKind::Cancelled);
}

/// One batch of comparisons or of patterns takes minutes, or very many do between two yields. The only worker
/// has other statements meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_raised_flag_stops_a_statement_that_does_not_yield() {
    let (_store, session) = session(1);
    let session = Arc::new(session);
    for sql in [
        "SELECT max(levenshtein(repeat('ab', 1000) || range, repeat('ba', 1000) || range)) FROM range(8192)",
        r"SELECT count(regexp_replace('a' || range, '\w{50}' || range, 'x')) FROM range(8192)",
        "SELECT count(*) FROM range(100000) a JOIN range(100000) b ON a.range % 2 = b.range % 2 \
         AND levenshtein(repeat('ab', 15) || a.range, repeat('ba', 15) || b.range) < 0",
    ] {
        let cancel = Arc::new(Cancel::new());
        let asked = StatementOptions { cancel: Arc::clone(&cancel), ..StatementOptions::default() };
        let (first, second) = (Arc::clone(&session), Arc::clone(&session));
        let long = tokio::spawn(async move {
            let result = first.run_asked(sql, asked).await?;
            result.stream.try_collect::<Vec<_>>().await
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let short = tokio::spawn(async move { slt::run(&second, "SELECT 1").await });
        let limit = Duration::from_secs(120);
        let (_, rows) = tokio::time::timeout(limit, short).await.unwrap().unwrap().unwrap();
        assert_eq!(rows, ["1"], "{sql}");
        assert!(!long.is_finished(), "{sql}");
        cancel.raise();
        let ended = tokio::time::timeout(limit, long).await.unwrap().unwrap();
        assert_eq!(ended.unwrap_err().kind(), SqlErrorKind::Cancelled, "{sql}");
    }
}

/// The query for them is a part of planning.
#[tokio::test(flavor = "multi_thread")]
async fn a_raised_flag_stops_the_search_for_the_values_of_a_pivot() {
    let (_store, session) = session(1);
    let sql = "PIVOT (SELECT range % 2 AS x FROM range(1000)) ON x";
    assert_eq!(slt::rows(&session, sql).await, ["500 | 500"]);
    let asked = StatementOptions { cancel: Arc::new(Cancel::raised()), ..StatementOptions::default() };
    let ended = session.run_asked(sql, asked).await.err().unwrap();
    assert_eq!(ended.kind(), SqlErrorKind::Cancelled);
}

/// A condition that holds for no pair gives no batch to yield after.
#[tokio::test]
async fn joins_yield_while_they_compare_and_give_nothing() {
    let (_store, session) = session(1);
    for (condition, turns) in [("true", 3), ("a.range % 2 = b.range % 2", 6)] {
        let sql = format!(
            "SELECT a.range FROM range(1500) a JOIN range(2100) b ON {condition} AND a.range + b.range < 0"
        );
        let mut result = session.run(&sql).await.unwrap();
        let mut seen = 0;
        let mut next = |cx: &mut Context<'_>| {
            let polled = result.stream.poll_next_unpin(cx);
            seen += usize::from(polled.is_pending());
            polled
        };
        while let Some(batch) = std::future::poll_fn(&mut next).await {
            assert_eq!(batch.unwrap().num_rows(), 0);
        }
        assert!(seen >= turns, "{sql}: {seen} turns");
    }
}

#[tokio::test]
async fn damage_is_told_from_a_bad_statement() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = fixture::store(&folder.path().join("store"));
    let session = SqlSession::new(snapshot, SqlOptions::default()).unwrap();
    let files = folder.path().join("store/samples/1");
    let file = fs_err::read_dir(&files).unwrap().next().unwrap().unwrap().path();
    flip(&file, 40);
    let error = slt::run(&session, "SELECT id FROM pool").await.unwrap_err();
    assert!(error.is_damage(), "{error}");
    let error = slt::run(&session, "SELECT id FROM influence('pool', 'target') ORDER BY score DESC LIMIT 1")
        .await
        .unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(!session.run("SELECT nothing FROM pool").await.err().unwrap().is_damage());
    // What does not read the file is not concerned.
    let rows =
        slt::run(&session, "SELECT row, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 1")
            .await;
    assert_eq!(rows.unwrap().1.len(), 1);
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs_err::read(file).unwrap();
    bytes[at] ^= 1;
    fs_err::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_serves_several_statements_at_once() {
    fn shared<T: Send + Sync>(value: T) -> Arc<T> {
        Arc::new(value)
    }
    let (_store, session) = session(2);
    let session = shared(session);
    let tasks: Vec<_> = (0..8)
        .map(|k| {
            let session = Arc::clone(&session);
            let sql = format!("SELECT row FROM influence('pool', 'target') ORDER BY score DESC LIMIT {k}");
            tokio::spawn(async move { slt::run(&session, &sql).await.unwrap().1.len() })
        })
        .collect();
    for (k, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), k);
    }
}
