//! Rankings for each of something, and rows against themselves.

use std::sync::Arc;

use futures::StreamExt;
use gstore_sql::{SqlOptions, SqlSession};
use gstore_store::Store;

use crate::slt::{self, refused, rows};
use crate::{fixture, session, small_store};

#[tokio::test(flavor = "multi_thread")]
async fn each_ranking_is_the_one_that_its_target_has_alone() {
    for threads in [1, 3] {
        let (_store, session) = session(threads);
        for options in [
            "",
            ", within => 'max'",
            ", sim => 'dot', across => 'mean'",
            ", sim => 'dot', checkpoints => [2]",
        ] {
            let alone = async |target: &str| {
                let sql = format!(
                    "SELECT row, id, score, source, tokens FROM influence('pool', '{target}'{options}) ORDER BY score DESC LIMIT 5"
                );
                rows(&session, &sql).await
            };
            let each = async |targets: &str, each: &str, target: &str| {
                let sql = format!(
                    "SELECT row, id, score, source, tokens FROM influence('pool', {targets}{options}, each => '{each}', k => 5) \
                     WHERE target = '{target}' ORDER BY rank"
                );
                rows(&session, &sql).await
            };
            // Samples without a subtask are one that has the name of the dataset.
            for (name, target) in
                [("target:a", "target:a"), ("target:b", "target:b"), ("target", "target:target")]
            {
                // Subtasks are not combined.
                if options.contains("across") {
                    continue;
                }
                assert_eq!(each("'target'", "subtask", name).await, alone(target).await, "{target}{options}");
            }
            for target in ["target", "other"] {
                let found = each("['target', 'other']", "target", target).await;
                assert_eq!(found, alone(target).await, "{target}{options}");
            }
            if !options.contains("across") {
                assert_eq!(each("['target', 'other']", "subtask", "other").await, alone("other").await);
            }
            // Samples are not combined.
            if !options.contains("within") && !options.contains("across") {
                // The only sample of its subtask.
                assert_eq!(each("'target'", "sample", "t2").await, alone("target:b").await, "{options}");
                assert_eq!(
                    each("['target', 'other']", "sample", "target:t3").await,
                    alone("target:target").await
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_come_one_after_the_other_with_ranks_from_one() {
    let (_store, session) = session(2);
    let all = "influence('pool', 'target', each => 'subtask', k => 3)";
    assert_eq!(
        rows(&session, &format!("SELECT target, rank FROM {all}")).await,
        ["target:a", "target:b", "target"]
            .iter()
            .flat_map(|target| (1..=3).map(move |rank| format!("{target} | {rank}")))
            .collect::<Vec<_>>()
    );
    // A condition chooses among the rows of the rankings, as with k alone.
    let first = rows(&session, &format!("SELECT row FROM {all} WHERE rank = 1")).await;
    assert_eq!(first.len(), 3);
    assert_eq!(rows(&session, &format!("SELECT count(*) FROM {all}")).await, ["9"]);
    let exponent = all.replace("k => 3", "k => 3e0");
    assert_eq!(rows(&session, &format!("SELECT count(*) FROM {exponent}")).await, ["9"]);
    assert_eq!(rows(&session, &format!("SELECT target FROM {all} LIMIT 2")).await.len(), 2);
    let worst = "influence('pool', 'target', each => 'sample', order => 'worst', k => 2)";
    let lowest =
        rows(&session, "SELECT row, score FROM influence('pool', 'target:b') ORDER BY score LIMIT 2").await;
    assert_eq!(rows(&session, &format!("SELECT row, score FROM {worst} WHERE target = 't2'")).await, lowest);
    let (header, _) =
        slt::run(&session, &format!("SELECT * EXCEPT (record) FROM {all} LIMIT 1")).await.unwrap();
    assert!(header.starts_with("target | rank | row | id | score | subtask | source"), "{header}");
    let plan = rows(&session, &format!("EXPLAIN SELECT row FROM {all}")).await.join("\n");
    assert!(
        plan.contains(
            "InfluenceEachExec: each=subtask, order=best, k=3, pool=[pool], target=[target], mode=exact"
        ),
        "{plan}"
    );
    let ran = rows(&session, &format!("EXPLAIN ANALYZE SELECT row FROM {all}")).await.join("\n");
    assert!(ran.contains("bytes_read=") && ran.contains("rows_scored=10"), "{ran}");
    let several = "influence('pool,extra', 'target', kind => 'grad-adam', each => 'target', k => 20)";
    let pools =
        rows(&session, &format!("SELECT pool, count(*) FROM {several} GROUP BY pool ORDER BY pool")).await;
    assert_eq!(pools, ["extra | 3", "pool | 10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_for_few_rows_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fixture::large(&path, 1500, 1, 4, 1);
    let snapshot = Store::open(&path).unwrap().snapshot().unwrap();
    let session = SqlSession::new(snapshot, SqlOptions { threads: 1, ..SqlOptions::default() }).unwrap();
    for (column, most) in [("record", 1024), ("text", 1024), ("prompt", 1024), ("id", 1500)] {
        let sql =
            format!("SELECT rank, {column} FROM influence('pool', 'target', each => 'target', k => 1500)");
        let mut rows = session.run(&sql).await.unwrap().stream;
        let (mut all, mut largest) = (0, 0);
        while let Some(batch) = rows.next().await {
            let n = batch.unwrap().num_rows();
            (all, largest) = (all + n, largest.max(n));
        }
        assert_eq!((all, largest), (1500, most), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_that_differ_have_plans_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fixture::store(&path);
    let snapshot = fixture::put_grams(&path, "gram");
    let session = SqlSession::new(snapshot, SqlOptions { threads: 1, ..SqlOptions::default() }).unwrap();
    let text = async |options: &str| {
        let sql = format!("EXPLAIN SELECT row FROM influence('pool', 'target'{options}, k => 3)");
        let plan = rows(&session, &sql).await.join("\n");
        let (_, question) = plan.split_once("pool=[pool]").unwrap();
        question.split_once(", columns=").unwrap().0.to_owned()
    };
    let mut texts = Vec::new();
    let preconditioned = ", kind => 'grad-sgd', precondition => 'gram'";
    for options in [
        "",
        ", exclude_target => true",
        ", sim => 'dot'",
        ", checkpoints => [2]",
        preconditioned,
        &format!("{preconditioned}, inversion => 'absolute'"),
        &format!("{preconditioned}, damping => 0.5"),
    ] {
        let each = text(&format!("{options}, each => 'subtask'")).await;
        assert_eq!(each, text(options).await, "{options}");
        assert!(!texts.contains(&each), "{options}");
        // The usual one goes without saying.
        assert_eq!(each.contains("inversion="), options.contains("inversion"), "{each}");
        texts.push(each);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_do_not_fit_into_memory_at_once_are_taken_in_passes() {
    let (store, whole) = session(2);
    let sql = "SELECT target, rank, row, score FROM influence('pool', 'target', each => 'sample', k => 5)";
    let want = rows(&whole, sql).await;
    assert_eq!(want.len(), 20);
    let options = SqlOptions { threads: 8, memory_limit: 32 << 10, ..SqlOptions::default() };
    let small = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    assert_eq!(rows(&small, sql).await, want);
    let mut result = small.run(sql).await.unwrap();
    futures::TryStreamExt::try_collect::<Vec<_>>(&mut result.stream).await.unwrap();
    let notes = result.notes();
    let [note] = notes.influence.as_slice() else { panic!("{notes:?}") };
    assert!(note.summary.notes.iter().any(|n| n.contains("were taken in 2 passes")), "{:?}", note.summary);
    assert_eq!(note.summary.target_rows, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_meaning_for_each_is_refused() {
    let (_store, session) = session(1);
    for (options, why) in [
        ("each => 'subtask'", "say how long with k => n"),
        ("each => 'row', k => 3", "subtask, target, sample"),
        ("each => 'sample', k => 3, distinct => 0.9", "cannot go with `each`"),
        ("each => 'sample', k => 3, explain => true", "leave it or `each` out"),
        ("order => 'worst'", "`order` is an option of `each`"),
        ("each => 'sample', k => 3, within => 'max'", "leave `within` out"),
        ("each => 'sample', k => 3, across => 'mean'", "leave `across` out"),
        ("each => 'sample', k => 3, fold => 'mean'", "leave `fold` out"),
        ("each => 'subtask', k => 3, across => 'mean'", "leave `across` out"),
        ("round_robin => 'sample', k => 3, within => 'max'", "leave `within` out"),
        ("round_robin => 'sample', k => 3, fold => 'mean'", "leave `fold` out"),
        ("round_robin => 'subtask', k => 3, across => 'mean'", "leave `across` out"),
        ("k => 18446744073709551615", "must be at most 9223372036854775807"),
        ("k => 1.5", "must be a whole number of at least 0, not 1.5"),
        ("k => '3'", "not 3 as text: write it without quotes"),
        ("mode => 'sketch', certified => true, miss => 1e-3", "leave one of them out"),
    ] {
        let error = refused(&session, &format!("SELECT * FROM influence('pool', 'target', {options})")).await;
        assert!(error.contains(why), "{options}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_against_itself_is_the_product_of_its_two_vectors() {
    for threads in [1, 3] {
        let (_store, session) = session(threads);
        let product = |a: &str, b: &str| {
            (1..=4).map(|i| format!("{a}.vector[{i}] * {b}.vector[{i}]")).collect::<Vec<_>>().join(" + ")
        };
        // Both kinds, then one alone: the stored lengths are those of the vectors.
        for (options, first) in [("", "grad-adam"), (", kind => 'grad-sgd'", "grad-sgd")] {
            let sql = format!(
                "SELECT count(*), max(abs(s.score - (0.75 * ({}) + 0.25 * ({})))) < 1e-5 \
                 FROM self_influence('pool'{options}) s \
                 JOIN vectors('pool', '{first}@checkpoint-1') a ON a.row = s.row \
                 JOIN vectors('pool', '{first}@checkpoint-2') b ON b.row = s.row \
                 JOIN vectors('pool', 'grad-sgd@checkpoint-1') c ON c.row = s.row \
                 JOIN vectors('pool', 'grad-sgd@checkpoint-2') d ON d.row = s.row",
                product("a", "c"),
                product("b", "d")
            );
            assert_eq!(rows(&session, &sql).await, ["10 | true"], "{options}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn self_influence_is_a_relation_like_any_other() {
    let (_store, session) = session(2);
    let all = rows(&session, "SELECT row, score FROM self_influence('pool') ORDER BY score DESC").await;
    assert_eq!(all.len(), 10);
    let top =
        rows(&session, "SELECT row, score FROM self_influence('pool') ORDER BY score DESC LIMIT 3").await;
    assert_eq!(top, all[..3]);
    assert_eq!(rows(&session, "SELECT row, score FROM self_influence('pool', k => 3)").await, all[..3]);
    let mut streamed = rows(&session, "SELECT row, score FROM self_influence('pool')").await;
    streamed.sort();
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(streamed, sorted);
    let math = "SELECT row FROM self_influence('pool') WHERE source = 'math' ORDER BY score LIMIT 2";
    assert_eq!(rows(&session, math).await.len(), 2);
    let (header, _) =
        slt::run(&session, "SELECT * EXCEPT (record) FROM self_influence('pool')").await.unwrap();
    assert!(header.starts_with("row | id | score | source"), "{header}");
    assert!(
        refused(&session, "SELECT * FROM self_influence('pool', sim => 'cosine')").await.contains("is 1")
    );
    let lacks = refused(&session, "SELECT * FROM self_influence('extra')").await;
    assert!(lacks.contains("`extra` has no `grad-sgd` feature"), "{lacks}");
    let unknown = refused(&session, "SELECT * FROM self_influence('pool', target => 'x')").await;
    assert!(unknown.contains("self_influence() has no option `target`"), "{unknown}");
    drop(small_store());
}
