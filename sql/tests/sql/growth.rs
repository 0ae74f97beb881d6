//! Large values from short statements: refused before memory is taken, and counted while it is held.

use futures::StreamExt;
use gstore_sql::{SqlErrorKind, SqlOptions, SqlSession};
use gstore_store::{DatasetName, Store, ViewOptions};
use std::sync::Arc;

use crate::{session, slt, small_store};

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_would_make_too_much_are_refused() {
    let (_store, session) = session(1);
    let columns: Vec<String> = (0..100).map(|i| format!("repeat('x', 1000000) AS c{i}")).collect();
    let columns = columns.join(", ");
    let doubled = |step: &str| {
        let steps: Vec<String> =
            (1..40).map(|i| format!("t{i} AS (SELECT {step} AS v FROM t{})", i - 1)).collect();
        format!("WITH t0 AS (SELECT 'xxxxxxxx' AS v), {} SELECT length(v) FROM t39", steps.join(", "))
    };
    let named_twice = |steps: usize| {
        let step =
            |i: usize| format!(", c{} AS (SELECT a.x FROM c{i} a UNION ALL SELECT b.x FROM c{i} b)", i + 1);
        let all: String = (0..steps).map(step).collect();
        format!("WITH c0 AS (SELECT 1 AS x){all} SELECT count(*) FROM c{steps}")
    };
    for sql in [
        "SELECT repeat('x', 1000000000)".to_owned(),
        "SELECT length(repeat('x', 1000000000))".to_owned(),
        "SELECT row FROM pool WHERE id = repeat('x', 1000000000)".to_owned(),
        "SELECT lpad('x', 1000000000)".to_owned(),
        "SELECT rpad('x', 1000000000, 'yz')".to_owned(),
        "SELECT array_repeat(1, 1000000000)".to_owned(),
        "SELECT list_repeat('x', 1000000000)".to_owned(),
        "SELECT array_resize([1], 1000000000, 0)".to_owned(),
        "SELECT range(1, 10000000000)".to_owned(),
        "SELECT generate_series(1, 10000000000, 3)".to_owned(),
        "SELECT generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', INTERVAL '1 nanosecond')"
            .to_owned(),
        "SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000))".to_owned(),
        "SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')".to_owned(),
        format!("SELECT {columns}"),
        doubled("hex(v)"),
        doubled("to_json([v, v])"),
        doubled("CAST([v, v] AS JSON)"),
        doubled("v || v"),
        doubled("concat(v, v)"),
        doubled("replace(v, 'x', 'xx')"),
        "SELECT repeat(id, 1000000000) FROM pool".to_owned(),
        "SELECT lpad(id, 1000000000 + CAST(row AS BIGINT)) FROM pool".to_owned(),
        "SELECT array_repeat(row, 1000000000) FROM pool".to_owned(),
        "SELECT range(1, 10000000000 + CAST(row AS BIGINT)) FROM pool".to_owned(),
        "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))".to_owned(),
        "SELECT array_has_all(range(0, 1000000), range(0, 1000000))".to_owned(),
        "SELECT levenshtein(repeat(id, 200000), repeat('b', 200000)) FROM pool".to_owned(),
        named_twice(21),
        // Several columns, each with the whole list.
        format!("SELECT row FROM pool WHERE COLUMNS('o') NOT IN ({})", vec!["12345"; 100_000].join(", ")),
        format!("SELECT {}", (0..5000).map(|i| format!("0 AS c{i}")).collect::<Vec<_>>().join(", ")),
    ] {
        let Err(error) = slt::run(&session, &sql).await else { panic!("{sql}") };
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_that_are_looked_for_in_all_that_follows_are_few() {
    let (_store, session) = session(1);
    for (form, says) in [
        ("list_filter(", "nested too deeply"),
        ("GROUP BY ROLLUP (", "nested too deeply"),
        ("(PIVOT a ", "nested too deeply"),
        ("TABLESAMPLE 1 ", "more than 100 samples"),
        ("FROM USING SAMPLE 1 ", "more than 100 samples"),
        ("(PIVOT a ON b) ", "too long for as many PIVOTs"),
        ("(a) PIVOT a ", "too long for as many PIVOTs"),
        ("(a) UNPIVOT a ON b ", "too long for as many PIVOTs"),
        ("PIVOT (a) ", "too long for as many PIVOTs"),
    ] {
        let sql = format!("SELECT {}", form.repeat((1 << 18) / form.len()));
        let Err(error) = slt::run(&session, &sql).await else { panic!("{form}") };
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{form}: {error}");
        assert!(error.to_string().contains(says), "{form}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_grouped_by_as_many_sets_and_columns_as_are_allowed() {
    let (_store, session) = session(1);
    let grouped = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|i| format!("c{i}")).collect();
        let (all, values) = (names.join(", "), names.join(", 1 AS "));
        // All sets but the first are one.
        let sets = format!("({all}){}", ", (c0)".repeat(1023));
        format!(
            "SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM (SELECT 1 AS {values}) AS t \
             GROUP BY GROUPING SETS ({sets}))"
        )
    };
    assert_eq!(slt::rows(&session, &grouped(54)).await, ["1024 | 1024"]);
    for columns in [55, 64] {
        let error = slt::run(&session, &grouped(columns)).await.unwrap_err();
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("more than 54 columns"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_with_limits_give_what_they_gave() {
    let (_store, session) = session(2);
    for (sql, expected) in [
        ("SELECT lpad('7', 3, '0'), rpad('7', 3), repeat('ab', 2)", "007|7  |abab"),
        ("SELECT lpad(id, 4, '-') FROM pool WHERE row = 3", "--p3"),
        ("SELECT repeat(id, row) FROM pool WHERE row = 2", "p2p2"),
        ("SELECT id || '/' || row FROM pool WHERE row = 1", "p1/1"),
        ("SELECT concat_ws('-', id, source) FROM pool WHERE row = 0", "p0-math"),
        ("SELECT replace(source, 'a', 'oo') FROM pool WHERE row = 0", "mooth"),
        ("SELECT regexp_replace(source, '(a)(t)', '\\2\\1', 'g') FROM pool WHERE row = 0", "mtah"),
        ("SELECT array_to_string(range(1, 4) || [9], ',')", "1,2,3,9"),
        (
            "SELECT array_to_string(array_append([1, 2], CAST(row AS BIGINT)), ',') FROM pool WHERE row = 3",
            "1,2,3",
        ),
        ("SELECT cardinality(array_resize([1], CAST(row AS BIGINT), 0)) FROM pool WHERE row = 5", "5"),
        ("SELECT count(*) FROM generate_series(1, 3000000)", "3000000"),
        ("SELECT levenshtein('kitten', 'sitting'), array_has_all([1, 2], [2])", "3|true"),
        // More pairs than are compared at once.
        ("SELECT sum(levenshtein(repeat('ab', 1000) || range, repeat('ab', 1000))) FROM range(5)", "5"),
        ("SELECT count(*) FROM pool WHERE (id || NULL) IS NULL", "12"),
        ("SELECT sum(length(repeat('x', 1000000))) FROM pool", "12000000"),
        ("SELECT max(length(repeat('x', range * 200))) FROM range(1, 1001)", "200000"),
    ] {
        let found = slt::rows(&session, sql).await.join("\n");
        assert_eq!(found.replace([' ', '\t'], "").replace('|', ""), plain(expected), "{sql}");
    }
    assert_eq!(slt::rows(&session, "SELECT sum(row) AS s FROM pool GROUP BY source || 'x'").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_sums_are_what_short_ones_are() {
    let (_store, session) = session(1);
    let sum = |terms: usize, term: &str, rest: &str| {
        format!("SELECT {}{rest} AS s FROM pool WHERE row = 2", vec![term; terms].join(" + "))
    };
    assert_eq!(slt::rows(&session, &sum(500, "row", " - 7 * row")).await, ["986"]);
    assert_eq!(slt::rows(&session, &sum(100, "row", " + 0.5")).await, ["200.5"]);
    assert_eq!(slt::rows(&session, &sum(200, "CASE WHEN row > 2 THEN 1 ELSE 0.5 END", "")).await, ["100"]);
    let error = slt::run(&session, &sum(200, "row", " + 9223372036854775807")).await.unwrap_err();
    assert!(error.to_string().contains("does not fit into 64 bits"), "{error}");
}

fn plain(text: &str) -> String {
    text.replace([' ', '|'], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_functions_make_counts_against_the_memory_while_it_is_held() {
    let store = small_store();
    let options = SqlOptions { threads: 1, memory_limit: 96 << 20, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    let error = slt::run(&session, "SELECT length(repeat('x', range % 7 + 1000000)) FROM range(4000)")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Memory, "{error}");
    // A row for each of a million elements, and in it one for each of eight.
    let eight = "x -> len(list_transform([1, 2, 3, 4, 5, 6, 7, 8], y -> x + y))";
    let sql = format!(
        "SELECT sum(list_sum(list_transform(range(0, 1000000 + row::INT), {eight}))) FROM pool WHERE row = 0"
    );
    let error = slt::run(&session, &sql).await.unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Memory, "{error}");
    // What the first has held is free again, each time.
    for _ in 0..8 {
        let sql = "SELECT sum(length(repeat(id, 1000000))) FROM pool";
        assert_eq!(slt::rows(&session, sql).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_constants_are_not_repeated_for_many_rows() {
    let (_store, session) = session(1);
    let long = "x".repeat(100_000);
    let many = "FROM generate_series(1, 1000000) AS t(value)";
    for sql in [
        format!("SELECT '{long}' AS a, value {many}"),
        format!("SELECT min(arrow_cast(repeat('x', 3000000), 'LargeUtf8')) {many}"),
        format!("SELECT min(repeat('x', 250000)) {many}"),
        format!("SELECT min('{long}') {many}"),
        format!(
            "SELECT count(*) {many} WHERE named_struct('a', repeat('x', 3000000), 'b', value) IS NOT NULL"
        ),
        format!("SELECT count(*) {many} WHERE nullif('{long}', CAST(value AS VARCHAR)) IS NULL"),
        format!("SELECT max(coalesce(CAST(nullif(value, 7) AS VARCHAR), '{long}')) {many}"),
        format!("SELECT max(CASE WHEN value > 7 THEN '{long}' ELSE 'a' END) {many}"),
        format!("SELECT lag('{long}') OVER (ORDER BY value) {many}"),
        format!("SELECT first_value('{long}') OVER (ORDER BY value) {many}"),
        format!("SELECT string_agg(CAST(value AS VARCHAR), '{long}') {many}"),
    ] {
        let shown: String = sql.chars().take(80).collect();
        let Err(error) = slt::run(&session, &sql).await else { panic!("{shown}") };
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{shown}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_constants_stand_where_they_are_not_repeated_for_many_rows() {
    let (_store, session) = session(1);
    let long = "x".repeat(100_000);
    for (sql, rows) in [
        (format!("SELECT '{long}' AS a"), 1),
        (format!("SELECT '{long}' AS a, row FROM pool WHERE source = 'math' AND row < 20"), 4),
        (format!("SELECT '{long}' AS a, row FROM pool ORDER BY id DESC LIMIT 3"), 3),
        (format!("SELECT '{long}' AS a, source, count(*) FROM pool GROUP BY source"), 3),
        (format!("SELECT '{long}' AS a, l.row FROM pool l JOIN pool r ON l.row = r.row"), 12),
        (format!("SELECT row FROM pool WHERE id <> '{long}'"), 12),
        (format!("SELECT row FROM pool WHERE id IN ('p1', '{long}', 'p2', 'p3', 'p4')"), 4),
        (format!("SELECT row FROM pool WHERE id NOT LIKE '%{long}%'"), 12),
        (format!("SELECT length(id || '{long}') FROM pool"), 12),
    ] {
        let shown: String = sql.chars().take(20).chain(sql.chars().skip(100_000)).collect();
        let found = slt::run(&session, &sql).await.unwrap_or_else(|e| panic!("{shown}: {e}")).1;
        assert_eq!(found.len(), rows, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_double_with_each_line_are_refused_at_once() {
    let (_store, session) = session(1);
    let steps: Vec<String> =
        (1..20).map(|i| format!("t{i} AS (SELECT struct(v, v) AS v FROM t{})", i - 1)).collect();
    let sql = format!("WITH t0 AS (SELECT 1 AS v), {} SELECT v FROM t19", steps.join(", "));
    let error = slt::run(&session, &sql).await.unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Refused, "{error}");
}

/// Tables a0, a1, .. each made of the one before, and what reads the last.
fn chain(steps: usize, step: &str, rest: &str) -> String {
    let next = |i: usize| format!(", a{i} AS (SELECT id, {step} FROM a{})", i - 1);
    let all: String = (1..=steps).map(next).collect();
    let first = "SELECT id, nullif(n, 99) AS x, nullif(n, 98) AS y FROM (SELECT id, CAST(row AS BIGINT) AS n FROM pool)";
    format!("WITH a0 AS ({first}){all}, last AS (SELECT * FROM a{steps}) {rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn predicates_upon_columns_that_double_with_each_step_are_refused() {
    let (_store, session) = session(1);
    let doubled = |rest: &str| chain(40, "x + x AS x, y", rest);
    for sql in [
        doubled("SELECT x FROM last WHERE x > 0"),
        doubled("SELECT count(*) FROM last WHERE CASE WHEN x > 3 THEN y ELSE x END > 0"),
        doubled("SELECT y, count(*) FROM last GROUP BY y, x HAVING x > 0"),
        doubled("SELECT l.id FROM last l JOIN pool p ON l.x = p.row"),
        doubled("SELECT l.id FROM last l JOIN pool p ON l.id = p.id WHERE l.x + p.row > 3 AND l.x > 1"),
        doubled("SELECT id FROM pool p WHERE EXISTS (SELECT 1 FROM last l WHERE l.id = p.id AND l.x > 0)"),
        doubled("SELECT x FROM (SELECT x FROM last UNION ALL SELECT y FROM last) WHERE x > 0"),
        chain(40, "coalesce(x, y) AS x, y", "SELECT x FROM last WHERE x > 0"),
        chain(40, "CASE WHEN x > 3 THEN x - 1 ELSE x END AS x", "SELECT x FROM last WHERE x > 0"),
        format!(
            "SELECT {} AS v FROM pool",
            (0..18).fold("ok".to_owned(), |x, _| format!("coalesce({x}, y)"))
        )
        .replace(" y)", " nullif(ok, true))"),
    ] {
        let Err(error) = slt::run(&session, &sql).await else { panic!("{sql}") };
        assert_eq!(error.kind(), SqlErrorKind::Refused, "{sql}: {error}");
        let shown = error.to_string();
        assert!(shown.contains("repeated expressions where") && shown.contains("allowed; "), "{shown}");
        let Err(explained) = slt::run(&session, &format!("EXPLAIN {sql}")).await else { panic!("{sql}") };
        assert_eq!((explained.kind(), explained.to_string()), (SqlErrorKind::Refused, shown), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_upon_views_are_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("s")).unwrap();
    let save = |i: usize, sql: &str| {
        let name = DatasetName::try_from(format!("v{i}").as_str()).unwrap();
        store.create_view(None, &name, sql, ViewOptions::default()).unwrap();
    };
    save(0, "SELECT generate_series AS x FROM generate_series(1, 3)");
    (1..=25).for_each(|i| save(i, &format!("SELECT v.x + v.x AS x FROM v{} AS v", i - 1)));
    let session = SqlSession::new(store.snapshot().unwrap(), SqlOptions::default()).unwrap();
    let error = slt::run(&session, "SELECT x FROM v25 WHERE x > 0").await.unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Refused, "{error}");
    // Three, each ten times doubled.
    assert_eq!(slt::rows(&session, "SELECT x FROM v10 WHERE x > 1024 ORDER BY x").await, ["2048", "3072"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_of_steps_as_analysts_write_them_run() {
    let (_store, session) = session(2);
    let halves: String = (0..183).map(|i| format!("WHEN row = {i} THEN {} ", i % 2 == 0)).collect();
    let several = "x + y AS x, y * 2 AS y, (x - y) / 3 AS c, CASE WHEN x > y THEN x END AS d";
    for (sql, rows) in [
        (chain(10, several, "SELECT id FROM last WHERE x > 0 AND c < 1000000 ORDER BY c, id LIMIT 3"), 3),
        (chain(10, "x + x AS x", "SELECT id FROM last WHERE x >= 1024"), 11),
        (chain(10, "x + x AS x", "SELECT l.id FROM last l JOIN a0 p ON l.x = p.x * 1024 ORDER BY 1"), 12),
        (chain(20, "x + x AS x", "SELECT x FROM last"), 12),
        (chain(20, "x + x AS x", "SELECT sum(x) AS s FROM last"), 1),
        (chain(20, "x + x AS x", "SELECT max(x) AS most FROM last"), 1),
        (chain(20, "x + x AS x", "SELECT x FROM last ORDER BY x DESC LIMIT 3"), 3),
        (chain(25, "x + x AS x, y", "SELECT x FROM last WHERE y > 5"), 6),
        (chain(25, "x + x AS x", "SELECT x FROM (SELECT x FROM last ORDER BY id LIMIT 5) WHERE x >= 0"), 5),
        (
            "SELECT coalesce(a.ok, coalesce(b.ok, a.row > 3)) AS v FROM pool a JOIN pool b USING (id)".into(),
            12,
        ),
        (format!("SELECT CASE {halves} END AS v FROM pool"), 12),
    ] {
        assert_eq!(slt::rows(&session, &sql).await.len(), rows, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_windows_hold_are_counted() {
    let store = small_store();
    let options = SqlOptions { threads: 1, memory_limit: 4 << 20, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    // Rows of about 100 bytes, 10 MB in all, each with its number.
    let rows = "(SELECT i, repeat('x', 90) AS x FROM generate_series(1, 100000) AS t(i))";
    for (window, is_held) in [
        ("count(*) OVER ()", true),
        ("percent_rank() OVER ()", true),
        ("lead(x, 90000) OVER ()", true),
        ("lag(x, 90000) OVER ()", true),
        ("max(x) OVER (ROWS BETWEEN 90000 PRECEDING AND CURRENT ROW)", true),
        ("row_number() OVER ()", false),
        ("lag(x) OVER ()", false),
        ("max(x) OVER (ROWS BETWEEN 100 PRECEDING AND 100 FOLLOWING)", false),
        ("sum(i) OVER (ROWS UNBOUNDED PRECEDING)", false),
    ] {
        let sql = format!("SELECT count(w), max(x) FROM (SELECT x, {window} AS w FROM {rows})");
        let found = slt::run(&session, &sql).await;
        match is_held {
            true => {
                let error = found.expect_err(&sql);
                assert_eq!(error.kind(), SqlErrorKind::Memory, "{sql}: {error}");
            }
            false => {
                found.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_nested_loop_holds_is_counted_once() {
    let store = small_store();
    let options = SqlOptions { threads: 1, memory_limit: 160 << 20, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    // 20 MB in one batch, which the join sees 1024 rows at a time.
    let value = "repeat('x', 1000) || range";
    // A cast makes views of texts, which share their memory.
    for value in [value.to_owned(), format!("CAST({value} AS VARCHAR)")] {
        let wide = format!("(SELECT DISTINCT {value} AS v FROM range(20000)) t");
        for join in ["CROSS JOIN range(2) r", "LEFT JOIN range(2) r ON length(t.v) > r.range"] {
            let sql = format!("SELECT length(max(v || r.range)) AS n FROM {wide} {join}");
            assert_eq!(slt::rows(&session, &sql).await, ["1005"], "{join} of {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_text_works_on_few_rows_at_a_time() {
    let (_store, session) = session(2);
    for (sql, rows, most) in [
        ("SELECT a.id, b.row FROM pool a CROSS JOIN pool b", 144, 1024),
        ("SELECT a.id, b.range FROM pool a CROSS JOIN range(3000) b", 36_000, 1024),
        ("SELECT (SELECT max(id) FROM pool) AS id, range FROM range(3000)", 3000, 1024),
        ("SELECT id, unnest(range(0, 3000)) AS n FROM pool WHERE row = 1", 3000, 1024),
        ("SELECT range FROM range(10000)", 10_000, 8192),
    ] {
        let mut result = session.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let (mut all, mut largest) = (0, 0);
        while let Some(batch) = result.stream.next().await {
            let n = batch.unwrap_or_else(|e| panic!("{sql}: {e}")).num_rows();
            (all, largest) = (all + n, largest.max(n));
        }
        assert_eq!(all, rows, "{sql}");
        assert!(largest <= most && (most == 1024 || largest > 1024), "{sql}: {largest}");
    }
    let error = slt::run(&session, "SELECT id, repeat(id, 1000), unnest(range(0, 1000000)) FROM pool").await;
    assert_eq!(error.unwrap_err().kind(), SqlErrorKind::Refused);
}
