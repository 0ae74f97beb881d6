//! Pages of a result: together they have each row once, in one order, whatever their length.

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use gstore_sql::{RowWindow, SqlSession, StatementOptions};

use crate::{session, slt};

/// Statements, with the column that the pages are ordered by.
const STATEMENTS: &[(&str, Option<usize>)] = &[
    ("SELECT generate_series AS x, generate_series % 3 AS m FROM generate_series(1, 120)", Some(1)),
    (
        "SELECT generate_series AS x, generate_series % 3 AS m FROM generate_series(1, 120) ORDER BY x",
        Some(1),
    ),
    ("SELECT generate_series AS x, generate_series % 3 AS m FROM generate_series(1, 120) ORDER BY m", None),
    (
        "SELECT x * 2 FROM (SELECT generate_series AS x FROM generate_series(1, 120)) ORDER BY x % 3 DESC",
        None,
    ),
    (
        "SELECT * FROM (SELECT generate_series AS x FROM generate_series(1, 120) ORDER BY x % 3) WHERE x > 9",
        None,
    ),
    (
        "SELECT [x % 2] AS l, NULL AS n, x FROM (SELECT generate_series AS x FROM generate_series(1, 120))",
        Some(0),
    ),
    ("SELECT generate_series FROM generate_series(1, 120)", None),
    (
        "SELECT x % 97 AS g, count(*) AS n FROM (SELECT generate_series AS x FROM generate_series(1, 120)) GROUP BY g",
        None,
    ),
    (
        "SELECT x % 97 AS g, max(x % 3) AS m FROM (SELECT generate_series AS x FROM generate_series(1, 120)) GROUP BY g",
        Some(1),
    ),
    ("SELECT DISTINCT generate_series % 97 AS g FROM generate_series(1, 120)", None),
    ("SELECT generate_series AS x FROM generate_series(1, 90) UNION ALL SELECT row FROM pool", None),
    (
        "SELECT p.id, g.x FROM (SELECT generate_series AS x FROM generate_series(1, 90)) g LEFT JOIN pool p ON p.row = g.x",
        None,
    ),
    ("SELECT a.row, b.row FROM pool a, pool b", None),
    ("SELECT row, row_number() OVER (ORDER BY source) AS n FROM pool", None),
    ("SELECT id, source FROM pool ORDER BY source", None),
    ("SELECT id FROM pool", None),
    ("SELECT id, score FROM influence('pool', 'target')", None),
    ("SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC", None),
    ("SELECT id, source, score FROM influence('pool', 'target')", Some(1)),
    (NEIGHBOURS, None),
    (NEIGHBOURS, Some(1)),
];

/// Every graph there is would be searched, and of one that is missing a note says so.
const NEIGHBOURS: &str =
    "SELECT id, similarity FROM nearest('pool', id => 'p0', kind => 'grad-sgd', exact => false)";

async fn part(session: &SqlSession, sql: &str, window: RowWindow) -> Vec<String> {
    let asked = StatementOptions { window: Some(window), ..StatementOptions::default() };
    let result = session.run_asked(sql, asked).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches: Vec<RecordBatch> = result.stream.try_collect().await.unwrap();
    batches.iter().flat_map(slt::lines).collect()
}

/// All rows, in pages of this length.
async fn joined(session: &SqlSession, sql: &str, by: Option<usize>, length: usize) -> Vec<String> {
    let order: Vec<(usize, bool)> = by.into_iter().map(|column| (column, false)).collect();
    let mut rows = Vec::new();
    loop {
        let window = RowWindow { order: order.clone(), skip: rows.len(), fetch: Some(length) };
        let page = part(session, sql, window).await;
        assert!(page.len() <= length, "{sql}");
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_have_each_row_once_in_one_order() {
    for threads in [1, 3] {
        let (_store, session) = session(threads);
        for (sql, by) in STATEMENTS {
            let short = joined(&session, sql, *by, 17).await;
            assert_eq!(short, joined(&session, sql, *by, 50).await, "{sql}");
            for skip in [0, 5] {
                let order = by.iter().map(|column| (*column, false)).collect();
                let rest = RowWindow { order, skip, fetch: None };
                assert_eq!(short[skip..], part(&session, sql, rest).await, "{sql}");
            }
            let (mut short, mut all) = (short, slt::rows(&session, sql).await);
            short.sort();
            all.sort();
            assert_eq!(short, all, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_end_where_the_statement_does() {
    let (_store, session) = session(2);
    let sql = "SELECT generate_series AS x FROM generate_series(1, 120) ORDER BY x % 3 LIMIT 70 OFFSET 20";
    let rows = joined(&session, sql, None, 30).await;
    assert_eq!(rows, joined(&session, sql, None, 7).await);
    let distinct: std::collections::HashSet<&String> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (70, 70));
    let none = RowWindow { fetch: Some(0), ..RowWindow::default() };
    assert!(part(&session, sql, none).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_neighbours_is_no_search_for_its_rows_alone() {
    let (_store, session) = session(2);
    for (limit, rows, searched) in [("", 4, false), (" LIMIT 3", 3, true)] {
        let window = RowWindow { fetch: Some(4), ..RowWindow::default() };
        let asked = StatementOptions { window: Some(window), ..StatementOptions::default() };
        let mut result = session.run_asked(&format!("{NEIGHBOURS}{limit}"), asked).await.unwrap();
        let batches: Vec<RecordBatch> = (&mut result.stream).try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{limit}");
        let notes = result.notes().influence.into_iter().flat_map(|note| note.summary.notes);
        assert_eq!(notes.filter(|note| note.contains("no graph")).count(), usize::from(searched), "{limit}");
    }
}
