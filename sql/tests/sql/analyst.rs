//! Work of analysts beyond single statements: views, files of their own, samples, scripts.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Date64Type, Time32SecondType};
use arrow_array::{
    ArrayRef, Date32Array, Date64Array, DictionaryArray, Int8Array, Int64Array, ListArray, RecordBatch,
    StringArray, Time32MillisecondArray, Time64MicrosecondArray,
};
use gstore_sql::{
    OwnTable, SqlError, SqlErrorKind, SqlOptions, SqlSession, check_view, named_tables, view_names_itself,
    views_that_read,
};
use gstore_store::{DatasetName, Store, ViewOptions};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::{fixture, session, slt, small_store};

#[test]
fn statements_of_analysts_run_as_written_but_for_three() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt/analyst.slt");
    let text = fs_err::read_to_string(file).unwrap();
    let begins = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    let (run, refused) = (begins("query"), begins("error"));
    assert!(run >= 121 && refused == 3, "{run} run, {refused} are refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_the_same_each_time_and_another_for_another_number() {
    let mut samples = BTreeSet::new();
    let sessions = [1, 3].map(session);
    for seed in 0..20 {
        let sql = format!("SELECT id FROM pool USING SAMPLE 4 ROWS REPEATABLE ({seed})");
        let mut of_threads = BTreeSet::new();
        for (_store, session) in &sessions {
            let (_, mut rows) = slt::run(session, &sql).await.unwrap();
            assert_eq!(rows.len(), 4, "{sql}");
            rows.sort();
            of_threads.insert(rows);
        }
        assert_eq!(of_threads.len(), 1, "{sql}");
        samples.extend(of_threads);
    }
    assert!(samples.len() > 5, "{samples:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_a_part_in_a_hundred_goes_into_the_scan() {
    let (_store, session) = session(1);
    let plan = slt::rows(&session, "EXPLAIN SELECT id FROM pool USING SAMPLE 30%").await.join("\n");
    assert!(plan.contains("SampleExec") && !plan.contains("FilterExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_what_compares_functions_are_shown_as_written_and_sorted_once() {
    let (_store, session) = session(1);
    let sql =
        "EXPLAIN SELECT id FROM (SELECT id FROM pool ORDER BY length(id) LIMIT 5) ORDER BY length(id) > 2";
    let plan = slt::rows(&session, sql).await.join("\n");
    assert_eq!(plan.matches("SortExec").count(), 1, "{plan}");
    let sql = "EXPLAIN SELECT id FROM pool ORDER BY length(id) > 2, id";
    let plan = slt::rows(&session, sql).await.join("\n");
    assert!(plan.contains("expr=[(") && !plan.contains("ranged("), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_in_order_come_from_a_sort_of_all_where_it_goes_on_from_disk() {
    let (store, in_memory) = session(3);
    let folder = tempfile::tempdir().unwrap();
    let spill = Some(folder.path().to_owned());
    let options = SqlOptions { threads: 3, spill, ..SqlOptions::default() };
    let session = SqlSession::new(Arc::clone(&store.snapshot), options).unwrap();
    let many = "EXPLAIN SELECT id FROM pool ORDER BY id LIMIT 100000";
    let plan = slt::rows(&in_memory, many).await.join("\n");
    assert!(plan.contains("TopK") && !plan.contains("LocalLimitExec"), "{plan}");
    for (limit, is_full) in [(99_999, false), (100_000, true)] {
        let sql = format!("SELECT id FROM pool ORDER BY id LIMIT {limit}");
        let plan = slt::rows(&session, &format!("EXPLAIN {sql}")).await.join("\n");
        assert_eq!(plan.contains("TopK"), !is_full, "{plan}");
        assert_eq!(plan.contains("LocalLimitExec: fetch=100000"), is_full, "{plan}");
        assert_eq!(slt::rows(&session, &sql).await.len(), 12);
    }
    let sql = "SELECT count(*), min(r), max(r) FROM (SELECT range * 7 % 150001 AS r FROM range(150001) ORDER BY r DESC LIMIT 100000 OFFSET 1)";
    assert_eq!(slt::rows(&session, sql).await, ["100000 | 50000 | 149999"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn comparisons_that_know_null_are_keys_of_joins() {
    let (_store, session) = session(1);
    for from in [
        "pool AS a JOIN extra AS b ON a.source IS NOT DISTINCT FROM b.source",
        "pool AS a, extra AS b WHERE a.source IS NOT DISTINCT FROM b.source",
        "pool AS a FULL JOIN extra AS b ON a.source IS NOT DISTINCT FROM b.source",
        "pool AS a WHERE EXISTS (SELECT 1 FROM extra AS b WHERE a.source IS NOT DISTINCT FROM b.source)",
        "pool AS a ANTI JOIN extra AS b ON a.source IS NOT DISTINCT FROM b.source",
    ] {
        let plan = slt::rows(&session, &format!("EXPLAIN SELECT a.id FROM {from}")).await.join("\n");
        assert!(plan.contains("HashJoinExec") && plan.contains("NullsEqual: true"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_columns_are_read_only_where_they_are_named() {
    let (_store, session) = session(1);
    let (header, _) = slt::run(&session, "SELECT * FROM pool LIMIT 1").await.unwrap();
    assert!(!header.contains("norm") && !header.contains("text"), "{header}");
    assert_eq!(slt::rows(&session, "SELECT count(*) FROM pool WHERE prompt IS NULL").await, ["12"]);
    let sql = "SELECT count(*) FROM influence('pool', 'target') WHERE text = 'pool 3' AND norm > 0";
    assert_eq!(slt::rows(&session, sql).await, ["1"]);
    for kind in ["loss", "entropy"] {
        let error = slt::run(&session, &format!("SELECT {kind} FROM pool")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("an ingest of {kind}")), "{error}");
    }
    // A name that the statement gives is its own.
    let sql = "SELECT source AS text, count(*) FROM pool GROUP BY text ORDER BY text";
    assert_eq!(slt::rows(&session, sql).await, ["chat | 4", "code | 4", "math | 4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_stand_for_their_statements_in_each_snapshot_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let before = fixture::store(&path);
    let store = Store::open(&path).unwrap();
    let save = |name: &str, sql: &str| {
        check_view(sql).unwrap();
        store.create_view(None, &DatasetName::try_from(name).unwrap(), sql, ViewOptions::default()).unwrap();
    };
    save("good", "SELECT id, source, text FROM pool WHERE ok");
    save("few", "FROM good ORDER BY id LIMIT 3");
    save("counted", "SELECT source, count(*) + 1 FROM pool GROUP BY source");
    save("topics", "SELECT p.TOPIC, count(*) AS n FROM pool p WHERE topic > 'T0' GROUP BY Topic");
    save("ranked", "SELECT Topic FROM influence('pool', 'target', k => 3)");
    save("upon", "SELECT TOPIC, n FROM topics");
    save("least", "SELECT 2 AS y UNION ALL SELECT 1 ORDER BY y LIMIT 1");
    // In its own text a table expression is not known: there its name means the dataset, or the view.
    save("odd", "WITH pool AS (SELECT * FROM pool WHERE NOT ok) SELECT id FROM pool");
    save("fewer", "WITH few AS (SELECT * FROM few WHERE id <> 'p0') SELECT id FROM few");
    save("order", "SELECT 1 AS x");
    save("twisted", "SELECT * FROM other_twisted");
    save("other_twisted", "SELECT * FROM twisted");
    let open = |snapshot| SqlSession::new(snapshot, SqlOptions::default()).unwrap();
    let session = open(store.snapshot().unwrap());
    for (sql, expected) in [
        ("SELECT count(*) FROM good", "6"),
        ("SELECT id, text FROM few ORDER BY id LIMIT 1", "p0 | pool 0"),
        ("SELECT count(*) FROM good g JOIN few f ON g.id = f.id", "3"),
        ("WITH good AS (SELECT 1 AS x) SELECT x FROM good", "1"),
        ("SELECT \"count(*) + 1\" FROM counted WHERE source = 'chat'", "5"),
        // The column is called `Topic`.
        ("SELECT max(Topic) FROM topics WHERE n = 4", "T2"),
        ("SELECT count(topic) FROM ranked", "3"),
        ("SELECT * FROM upon WHERE topic < 'T2'", "T1 | 4"),
        ("SELECT count(*) FROM (SELECT * FROM few) WHERE id IN (SELECT id FROM good)", "3"),
        ("SELECT few.id FROM data.few WHERE few.id = 'p2'", "p2"),
        ("SELECT count(DISTINCT odd.id) FROM odd JOIN pool USING (id)", "6"),
        ("SELECT fewer.* FROM fewer ORDER BY 1 LIMIT 1", "p10"),
        (
            "WITH good AS (SELECT * FROM good WHERE id > 'p4') SELECT count(*) FROM good JOIN few USING (id)",
            "0",
        ),
        ("WITH good AS (SELECT id FROM good), few AS (FROM good) SELECT count(*) FROM few", "6"),
        ("SELECT count(*) FROM few CROSS JOIN (WITH few AS (SELECT 1 AS x) SELECT * FROM few)", "3"),
        ("WITH few AS (SELECT 1 AS x) SELECT count(*) FROM few CROSS JOIN fewer", "2"),
        ("WITH pool AS (SELECT 1 AS x) SELECT count(*) FROM pool CROSS JOIN odd", "6"),
        ("WITH \"Good\" AS (SELECT 1 AS x) SELECT count(*) FROM good CROSS JOIN \"Good\"", "6"),
        (
            "WITH RECURSIVE pool AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM pool WHERE x < 3) \
             SELECT count(*) FROM pool CROSS JOIN odd",
            "18",
        ),
        (
            "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 3) \
             SELECT sum(x + y) FROM n CROSS JOIN least",
            "9",
        ),
    ] {
        assert_eq!(slt::rows(&session, sql).await, [expected], "{sql}");
    }
    assert_eq!(slt::rows(&session, "DESCRIBE few").await.len(), 3);
    assert_eq!(slt::rows(&session, "DESCRIBE \"order\"").await.len(), 1);
    for sql in ["SUMMARIZE few", "SUMMARIZE WITH a AS (FROM few) SELECT * FROM a"] {
        assert_eq!(slt::rows(&session, sql).await.len(), 3, "{sql}");
    }
    assert!(slt::rows(&session, "SHOW TABLES").await.contains(&"data | few | view".to_owned()));
    for (sql, expected) in [
        (
            "SELECT * FROM information_schema.tables WHERE table_name IN ('few', 'pool') ORDER BY table_name",
            "store | data | few | VIEW, store | data | pool | BASE TABLE",
        ),
        (
            "SELECT views.definition FROM store.INFORMATION_SCHEMA.views WHERE table_name = 'few'",
            "FROM good ORDER BY id LIMIT 3",
        ),
        ("SELECT count(*) FROM information_schema.views JOIN gstore.views ON table_name = name", "12"),
        ("SELECT count(*) FROM information_schema.views", "12"),
    ] {
        assert_eq!(slt::rows(&session, sql).await.join(", "), expected, "{sql}");
    }
    let error = slt::run(&session, "SELECT * FROM twisted").await.unwrap_err();
    assert!(error.to_string().contains("names itself"), "{error}");
    let error = slt::run(&session, "SELECT * FROM fews").await.unwrap_err();
    assert!(error.to_string().contains("did you mean `few`"), "{error}");
    assert_eq!(views_that_read(session.snapshot(), "good"), ["few"]);
    assert_eq!(views_that_read(session.snapshot(), "few"), ["fewer"]);
    assert_eq!(views_that_read(session.snapshot(), "pool"), ["counted", "good", "odd", "ranked", "topics"]);
    for (sql, is_read) in [
        ("SELECT 1 WHERE (id IN (SELECT id FROM Good))", true),
        ("SELECT 'good', good FROM pool AS good", false),
        ("WITH good AS (SELECT 1 AS x) SELECT x FROM good", false),
        ("WITH good AS (SELECT * FROM good) SELECT * FROM good", true),
        ("WITH RECURSIVE good AS (SELECT 1 AS x UNION SELECT x FROM good) SELECT x FROM good", false),
        ("SELECT * FROM (WITH good AS (SELECT 1 AS x) SELECT x FROM good) CROSS JOIN good", true),
        ("SELECT * FROM good(1)", false),
        ("WITH good AS (SELECT 1 AS x) SELECT * FROM Data.good", true),
        ("SELECT * FROM store.data.good, gstore.tags", true),
        ("SELECT * FROM gstore.good", false),
        ("DESCRIBE good", true),
        ("SELECT * FROM good WHERE", false),
        ("SELECT id FROM influence('pool', 'good', where => 'id IN (SELECT id FROM good)')", true),
        ("SELECT id FROM self_influence('good', where => $$id IN (SELECT 'good' FROM pool)$$)", false),
    ] {
        assert_eq!(named_tables(sql).contains("good"), is_read, "{sql}");
    }
    // What is further inside cannot run, and takes no stack.
    let around = |inside: String, i: usize| {
        format!("SELECT 1 FROM self_influence('pool', where => $q{i}$1 IN ({inside})$q{i}$)")
    };
    let nested = |levels: usize| (0..levels).fold("SELECT 1 FROM good".to_owned(), around);
    assert!(named_tables(&nested(4)).contains("good"));
    assert!(named_tables(&nested(5_000)).is_empty());
    for (name, sql, itself) in [
        ("good", "FROM fewer", true),
        ("good", "FROM counted", false),
        ("few", "SELECT id FROM few", true),
        ("few", "SELECT id FROM self_influence('pool', where => 'id IN (SELECT id FROM fewer)')", true),
        ("few", "WITH few AS (FROM good) FROM few", false),
        ("few", "SELECT * FROM twisted", false),
    ] {
        assert_eq!(view_names_itself(session.snapshot(), name, sql), itself, "{name} {sql}");
    }
    // A place in the text of a view is said to be one.
    store.drop_view(store.snapshot().unwrap().view("good").unwrap(), "drop").unwrap();
    let error = slt::run(&open(store.snapshot().unwrap()), "SELECT 1 AS a,\n  count(*) FROM few").await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "the view `few` cannot be read: there is no table `good` (line 1, column 6 of its text)\n  \
         make `good` again, or save `few` with a statement that does without it"
    );
    let error = slt::run(&open(before), "SELECT * FROM good").await.unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Unknown, "{error}");
    for (sql, says) in [
        ("DELETE FROM pool", "not allowed"),
        ("SELECT $1", "no parameters"),
        ("SHOW TABLES", "a view is a query"),
        ("SELECT 1; SELECT 2", "only one statement"),
    ] {
        let error = check_view(sql).unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
    }
}

/// A session with files as tables.
fn with_files(files: &[(&str, &str, &str)]) -> Result<SqlSession, SqlError> {
    let folder = tempfile::tempdir().unwrap().keep();
    let mut own = Vec::new();
    for (name, file, text) in files {
        let path = folder.join(file);
        fs_err::write(&path, text).unwrap();
        own.push(OwnTable::open(name, &path)?);
    }
    let snapshot = Arc::clone(&small_store().snapshot);
    SqlSession::new(snapshot, SqlOptions { threads: 1, own, ..SqlOptions::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_ones_own_are_tables_that_no_statement_can_name_by_itself() {
    let _store = small_store();
    let session = with_files(&[
        ("labels", "labels.csv", "id,label,weight\np1,good,0.5\np2,bad,1\n"),
        ("zips", "zips.csv", "zip,n,share\n00501,10,0.5\n10001,0,-0.25\n"),
        ("wide", "wide.csv", "n,m\n9007199254740993,9007199254740993\n0.5,1\n"),
        (
            "big",
            "big.jsonl",
            "{\"n\": 12345678901234567890, \"m\": 9007199254740993, \"ids\": [18446744073709551616], \"x\": 0.5}\n\
             {\"n\": 7, \"m\": 1, \"ids\": [], \"x\": 2}\n",
        ),
        ("odd", "odd.csv", "x,y,z\n.5,1,nan\nNAN,Inf,inf\n-Infinity,2,x\n"),
        ("marks", "marks.jsonl", "{\"id\": \"p2\", \"tags\": [\"x\"]}\n{\"id\": \"p9\", \"tags\": []}\n"),
        ("days", "days.csv", "day,at\n2024-02-29,2024-02-29T10:00:00\n,2024-03-01\n"),
        (
            "no_days",
            "no_days.tsv",
            "day\tat\tsure\n2024-02-29\t2024-02-29 10:00:00\t2024-02-29\n2024-02-30\t2024-02-29 25:00:00.5\t\n",
        ),
        (
            "zoned",
            "zoned.csv",
            "at,mixed,day,plain,n\n2024-02-29T10:00:00+02:00,2024-02-29 10:00:00Z,2024-02-29,2024-02-29 10:00:00,1e400\n\
             2024-02-29T08:00:00.25Z,2024-02-29 10:00:00,2024-02-29T10:00:00-01,2024-02-29,1.5\n,,,,\n",
        ),
        (
            "short",
            "short.csv",
            "day,at,mixed,zoned,slashed,code\n\
             2024-1-1,2024-01-01 10:00,2024-01-01 10:00:00,2024-1-1 3:04+02,2024/1/2,1-2-3\n\
             2024-01-02,2024-01-01T11:00,2024-01-01 11:00,2024-01-01T11:00Z,2024/01/03 4:05,4-5-6\n",
        ),
        ("listed", "listed.json", " [{\"id\": \"p1\",\n \"n\": 1.50},\n {\"id\": \"p2\", \"n\": null}]\n"),
        ("semicolons", "semicolons.csv", "\"id\";\"size (cm)\"\np1;\"1,5\"\np2;2\n"),
        ("pipes", "pipes.csv", "id|n\np1|1\n"),
        ("misnamed", "misnamed.tsv", "id,n\np1,1\n"),
        ("signed", "signed.csv", "x\n-nan\nnan\n1\n-NaN\n"),
    ])
    .unwrap();
    for (sql, expected) in [
        (
            "SELECT p.source, label FROM pool p JOIN labels USING (id) ORDER BY p.row",
            "code | good\nchat | bad",
        ),
        ("SELECT p.id FROM pool p JOIN labels l ON p.id = l.id JOIN marks m ON m.id = p.id", "p2"),
        ("SELECT count(*) FROM labels", "2"),
        ("SELECT sum(weight) FROM labels WHERE label = 'good'", "0.5"),
        ("SELECT zip, n + 1, share * 2 FROM zips ORDER BY zip", "00501 | 11 | 1\n10001 | 1 | -0.5"),
        // Floats would lose the last digits of integers.
        ("SELECT n, m FROM wide ORDER BY m", "0.5 | 1\n9007199254740993 | 9007199254740993"),
        (
            "SELECT n, m, ids[1] FROM big WHERE x < 1",
            "12345678901234567890 | 9007199254740993 | 18446744073709551616",
        ),
        ("SELECT n, sum(m) FROM big GROUP BY n ORDER BY 2", "7 | 1\n12345678901234567890 | 9007199254740993"),
        ("SELECT typeof(x), typeof(y), typeof(z) FROM odd LIMIT 1", "DOUBLE | DOUBLE | VARCHAR"),
        ("SELECT x, y FROM odd WHERE x < 1 ORDER BY x", "-inf | 2\n0.5 | 1"),
        ("SELECT tags[1] FROM marks WHERE id = 'p2'", "x"),
        ("SELECT typeof(day), typeof(at) FROM days WHERE at > '2024-02-29 12:00:00'", "DATE | TIMESTAMP"),
        // One value that is no date or time makes its column text.
        (
            "SELECT typeof(day), typeof(at), typeof(sure) FROM no_days WHERE day = '2024-02-30'",
            "VARCHAR | VARCHAR | DATE",
        ),
        ("SELECT at FROM no_days WHERE sure IS NULL", "2024-02-29 25:00:00.5"),
        // Offsets are followed where all times have one, and are not lost where some do.
        (
            "SELECT typeof(at), typeof(mixed), typeof(day), typeof(plain), typeof(n) FROM zoned LIMIT 1",
            "TIMESTAMP WITH TIME ZONE | VARCHAR | VARCHAR | TIMESTAMP | VARCHAR",
        ),
        (
            "SELECT at, mixed, day, n FROM zoned WHERE at < '2024-02-29 08:00:01' ORDER BY at",
            "2024-02-29T08:00:00Z | 2024-02-29 10:00:00Z | 2024-02-29 | 1e400\n\
             2024-02-29T08:00:00.250Z | 2024-02-29 10:00:00 | 2024-02-29T10:00:00-01 | 1.5",
        ),
        // They may be as short as those that a cast reads.
        (
            "SELECT typeof(day), typeof(at), typeof(mixed), typeof(zoned), typeof(slashed), typeof(code) FROM short LIMIT 1",
            "DATE | TIMESTAMP | TIMESTAMP | TIMESTAMP WITH TIME ZONE | TIMESTAMP | VARCHAR",
        ),
        (
            "SELECT day, at, mixed, slashed FROM short WHERE at > '2024-01-01 10:30'",
            "2024-01-02 | 2024-01-01T11:00:00 | 2024-01-01T11:00:00 | 2024-01-03T04:05:00",
        ),
        ("SELECT day, zoned FROM short WHERE code = '1-2-3'", "2024-01-01 | 2024-01-01T01:04:00Z"),
        ("SELECT count(*) FROM pool ANTI JOIN labels USING (id)", "10"),
        ("SELECT id, n FROM listed ORDER BY id", "p1 | 1.5\np2 | NULL"),
        ("SELECT id, \"size (cm)\" FROM semicolons ORDER BY id", "p1 | 1,5\np2 | 2"),
        ("SELECT p.n + m.n FROM pipes p JOIN misnamed m USING (id)", "2"),
        ("SELECT x, count(*) FROM signed GROUP BY x ORDER BY x", "1 | 1\nNaN | 3"),
        ("SELECT count(*) FROM signed WHERE x > 1", "3"),
    ] {
        assert_eq!(slt::rows(&session, sql).await.join("\n"), expected, "{sql}");
    }
    assert!(slt::run(&session, "SELECT * FROM 'labels.csv'").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_other_columns_by_now_is_refused() {
    let _store = small_store();
    let folder = tempfile::tempdir().unwrap();
    let others = |session: SqlSession| async move {
        for sql in ["SELECT b FROM t", "SELECT count(*) FROM t"] {
            let error = slt::refused(&session, sql).await;
            assert!(error.contains("the file has other columns than when it was opened\n  "), "{error}");
        }
    };
    let path = folder.path().join("t.csv");
    let opened = |text: &str| {
        fs_err::write(&path, "a,b,\nx,y,z\n").unwrap();
        let session = with_file("t", &path);
        fs_err::write(&path, text).unwrap();
        session
    };
    let session = opened("a,b,\nx,y,z\n1,2,3\n");
    assert_eq!(slt::rows(&session, "SELECT b, column_3 FROM t").await, ["y | z", "2 | 3"]);
    for text in ["b,a,\nx,y,z\n", "a,b\nx,y\n", "a,b,,d\nx,y,z,1\n", "b;a;c\nx;y;z\n"] {
        others(opened(text)).await;
    }
    let path = folder.path().join("t.parquet");
    let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let opened = |columns: Vec<(&'static str, ArrayRef)>| {
        write_parquet(&path, [("a", texts("x")), ("b", texts("y"))]);
        let session = with_file("t", &path);
        write_parquet(&path, columns);
        session
    };
    let session = opened(vec![("a", texts("z")), ("b", texts("w"))]);
    assert_eq!(slt::rows(&session, "SELECT b FROM t").await, ["w"]);
    for columns in [
        vec![("b", texts("x")), ("a", texts("y"))],
        vec![("a", texts("x"))],
        vec![("a", texts("x")), ("b", numbers())],
        vec![("a", texts("x")), ("b", texts("y")), ("c", numbers())],
    ] {
        others(opened(columns)).await;
    }
}

/// A session with a Parquet file of these columns as a table.
fn with_parquet(name: &str, columns: impl IntoIterator<Item = (&'static str, ArrayRef)>) -> SqlSession {
    let path = tempfile::tempdir().unwrap().keep().join("table.parquet");
    write_parquet(&path, columns);
    with_file(name, &path)
}

fn write_parquet(path: &Path, columns: impl IntoIterator<Item = (&'static str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs_err::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A session with a file as a table.
fn with_file(name: &str, path: &Path) -> SqlSession {
    let own = vec![OwnTable::open(name, path).unwrap()];
    let snapshot = Arc::clone(&small_store().snapshot);
    SqlSession::new(snapshot, SqlOptions { threads: 1, own, ..SqlOptions::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_the_day_in_files_go_together_with_written_ones() {
    let micros = Time64MicrosecondArray::from(vec![Some(43_200_000_001), None, Some(45_000_000_000)]);
    let millis = Time32MillisecondArray::from(vec![Some(43_200_000), Some(3_600_000), None]);
    let lists = [Some(vec![Some(60)]), None, Some(vec![None])];
    let lists = ListArray::from_iter_primitive::<Time32SecondType, _, _>(lists);
    let columns: [(&str, ArrayRef); 3] =
        [("a", Arc::new(micros)), ("b", Arc::new(millis)), ("l", Arc::new(lists))];
    let session = with_parquet("clocks", columns);
    for (sql, expected) in [
        ("SELECT a FROM clocks WHERE a > TIME '12:00:00' ORDER BY a", "12:00:00.000001\n12:30:00"),
        ("SELECT count(*) FROM clocks WHERE b BETWEEN TIME '01:00:00' AND TIME '11:59:59'", "1"),
        ("SELECT b FROM clocks WHERE b IN (TIME '12:00:00', TIME '13:00:00')", "12:00:00"),
        ("SELECT count(*) FROM clocks WHERE a > b", "1"),
        (
            "SELECT coalesce(a, TIME '02:00:00'), greatest(b, TIME '00:30:00') FROM clocks WHERE a IS NULL",
            "02:00:00 | 01:00:00",
        ),
        ("SELECT count(*) FROM clocks WHERE CAST(TIMESTAMP '2024-01-01 12:10:00' AS TIME) > a", "1"),
        ("SELECT l[1] FROM clocks WHERE list_contains(l, TIME '00:01:00')", "00:01:00"),
        ("SELECT count(*) FROM clocks", "3"),
    ] {
        assert_eq!(slt::rows(&session, sql).await.join("\n"), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_in_milliseconds_in_files_have_no_time_of_day() {
    let dates = Date64Array::from(vec![Some(86_400_000), None, Some(1_704_067_200_000)]);
    let lists = [Some(vec![Some(86_400_000), None]), None, Some(vec![])];
    let lists = ListArray::from_iter_primitive::<Date64Type, _, _>(lists);
    let columns: [(&str, ArrayRef); 2] = [("d", Arc::new(dates)), ("l", Arc::new(lists))];
    let session = with_parquet("days", columns);
    for (sql, expected) in [
        (
            "SELECT d, d::VARCHAR, to_json(d), d + 1, typeof(d) FROM days WHERE d < '2000-01-01'",
            "1970-01-02 | 1970-01-02 | \"1970-01-02\" | 1970-01-03 | DATE",
        ),
        ("SELECT count(*) FROM days WHERE d = DATE '2024-01-01'", "1"),
        ("SELECT l::VARCHAR, typeof(l) FROM days WHERE len(l) = 2", "[1970-01-02, NULL] | DATE[]"),
    ] {
        assert_eq!(slt::rows(&session, sql).await.join("\n"), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_of_96_bits_in_files_keep_their_years() {
    let schema = parse_message_type("message spark { required int96 t; }").unwrap();
    let path = tempfile::tempdir().unwrap().keep().join("spark.parquet");
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    // Nanoseconds of the day in two halves, and the Julian day.
    let seconds = 86_399_000_000_000_u64;
    let last = Int96::from(vec![seconds as u32, (seconds >> 32) as u32, 5_373_484]);
    let times = [last, Int96::from(vec![0, 0, 2_440_588])];
    column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    fs_err::write(&path, writer.into_inner().unwrap()).unwrap();
    let rows = slt::rows(&with_file("spark", &path), "SELECT t FROM spark ORDER BY t DESC").await;
    assert_eq!(rows, ["9999-12-31T23:59:59", "1970-01-01T00:00:00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_dictionaries_are_like_others() {
    let coded = |values: ArrayRef| -> ArrayRef {
        Arc::new(DictionaryArray::new(Int8Array::from(vec![Some(1), None, Some(0), Some(1)]), values))
    };
    let session = with_parquet(
        "coded",
        [
            ("n", Arc::new(Int8Array::from(vec![0, 1, 2, 3])) as ArrayRef),
            ("d", coded(Arc::new(Date32Array::from(vec![1, 19_723])))),
            ("m", coded(Arc::new(Date64Array::from(vec![86_400_000, 1_704_067_200_000])))),
            ("t", coded(Arc::new(Time32MillisecondArray::from(vec![3_600_000, 43_200_000])))),
            ("i", coded(Arc::new(Int8Array::from(vec![1, 3])))),
            ("w", coded(Arc::new(StringArray::from(vec!["a", "b"])))),
        ],
    );
    for day in ["d", "m"] {
        for (sql, expected) in [
            (
                format!("SELECT {day}, {day}::VARCHAR, {day} + 1, typeof({day}) FROM coded WHERE n = 2"),
                "1970-01-02 | 1970-01-02 | 1970-01-03 | DATE",
            ),
            (format!("SELECT count(*) FROM coded WHERE {day} = DATE '2024-01-01'"), "2"),
        ] {
            assert_eq!(slt::rows(&session, &sql).await.join("\n"), expected, "{sql}");
        }
    }
    for (sql, expected) in [
        ("SELECT t, typeof(t) FROM coded WHERE t < TIME '12:00:00'", "01:00:00 | TIME"),
        ("SELECT arrow_typeof(d), arrow_typeof(m) FROM coded WHERE n = 0", "Date32 | Date32"),
        ("SELECT i / 2, abs(i), i + 1, arrow_typeof(i) FROM coded WHERE n = 0", "1.5 | 3 | 4 | Int8"),
        ("SELECT approx_count_distinct(w), approx_count_distinct(i), max(w) FROM coded", "2 | 2 | b"),
    ] {
        assert_eq!(slt::rows(&session, sql).await.join("\n"), expected, "{sql}");
    }
    assert_eq!(slt::rows(&session, "SUMMARIZE coded").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_tables_say_where_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.csv");
    fs_err::write(&path, b"\xff\xfei\0d\0\n\0").unwrap();
    let error = OwnTable::open("wide", &path).unwrap_err().to_string();
    assert!(error.contains("UTF-16") && error.contains("iconv"), "{error}");
    let long = format!("{{\"a\": 1}}\n[\"{}\"]\n", "long ".repeat(1000));
    let check = |name: &str, file: &str, text: &str, says: &str| {
        let Err(error) = with_files(&[(name, file, text)]) else { panic!("{name} {file}") };
        let error = error.to_string();
        assert!(error.contains(says) && error.len() < 600, "{error}");
    };
    check("pool", "a.csv", "a\n1\n", "is taken");
    check("Labels", "a.csv", "a\n1\n", "a-z");
    for (file, text, says) in [
        ("a.txt", "a\n1\n", "ending in .parquet"),
        (
            "a.jsonl",
            "{}\nno JSON\n",
            "a.jsonl, line 2: malformed JSON at column 2: expected ident\n  correct it",
        ),
        ("a.jsonl", "{\"a\": 1}\n\n{\"a\": 2", "a.jsonl, line 3: malformed JSON at column 7: EOF"),
        ("a.jsonl", "{\"a\": {\"b\": 1, \"b\": 2}}\n", "line 1: malformed JSON at column 18: the key \"b\""),
        ("a.json", "{\n\"a\": 1\n}\n", "a.json, line 1: malformed JSON at column 1: an object over several"),
        ("a.json", "[{\"a\": 1},\n {\"a\": 2,}]", "a.json, item 2: malformed JSON"),
        ("a.json", "[{\"a\": 1}\n", "a.json, line 2: the file ends inside its list; copy"),
        ("a.jsonl", "{\"a\": 1}\n{\"a\": [1]}\n", "line 2: the value of \"a\" is a list here, and a single"),
        ("a.csv", "a,b\n1,2\n3\n", "a.csv, line 3: 1 field, and the header has 2; is a quote or a line"),
        ("a.csv", "a,b\n1,\"2\n3,4\n", "a.csv, line 2: the quote that opens here is never closed; close it"),
        ("a.tsv", "a,b\n1,2,3\n", "a.tsv, line 2: 3 fields, and the header has 2"),
        ("a.parquet.gz", "x", "ending in .parquet"),
        ("a.csv", "a,b,a\n1,2,3\n", "two columns are called \"a\""),
        ("a.jsonl", long.as_str(), "a.jsonl, line 2: expected a JSON object, found a list\n  each row"),
        ("a.csv", "ARROW1\0\0a,b\n1,2\n", "a.csv cannot be read as a table: it is an Arrow file; write it"),
    ] {
        check("labels", file, text, says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_take_too_much_is_refused() {
    let (_store, session) = session(1);
    let many = "FROM generate_series(1, 300000) AS t(value)";
    for sql in [
        format!("SELECT histogram(CAST(value AS VARCHAR) || repeat('x', 1000)) {many}"),
        format!("SELECT mode(CAST(value AS VARCHAR) || repeat('x', 1000)) {many}"),
        "SELECT json_extract('[[]]', '$' || repeat('[*]', 200))".to_owned(),
        // Values that functions do not take are the asker's, wherever that is found.
        "SELECT factorial(100 + row) FROM pool".to_owned(),
        "SELECT chr(-1)".to_owned(),
        "SELECT make_date(2020, 13, 1)".to_owned(),
        "SELECT decode('zz', 'hex')".to_owned(),
        "SELECT date_bin(INTERVAL '0 seconds', TIMESTAMP '2020-01-01')".to_owned(),
        "SELECT CAST(id AS DOUBLE) FROM pool".to_owned(),
    ] {
        let Err(error) = slt::run(&session, &sql).await else { panic!("{sql}") };
        assert!(matches!(error.kind(), SqlErrorKind::Refused | SqlErrorKind::Invalid), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_line_that_says_how_to_write_it() {
    let (_store, session) = session(1);
    for (sql, says) in [
        ("SELECT id FROM pool WHERE source = \"dates\"", "single quotes: 'dates'"),
        ("SELECT influence('pool', 'target')", "write FROM influence(..)"),
        ("SELECT * FROM influence('pool', 'target', sim = 'dot')", "sim => 'dot'"),
        ("SELECT \"Topi\" FROM pool", "\"Topic\""),
        ("SELECT * FROM pool p, extra e USING SAMPLE 3", "TABLESAMPLE"),
        ("selec id from pool", "syntax error at selec"),
        ("SELECT source, id FROM pool GROUP BY source", "any_value(id)"),
        ("SELECT sum(source) FROM pool", "sum() does not take these types: sum(VARCHAR)"),
        ("SELECT r + 1, row AS r FROM pool", "given with AS"),
        ("SELECT TOP 5 id FROM pool", "write LIMIT n"),
    ] {
        let error = slt::run(&session, sql).await.unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
        assert!(!error.contains("Ident") && !error.contains("Span"), "{sql}: {error}");
    }
    for sql in ["SELECT mode2(id) FROM pool", "SELECT liszt(id) FROM pool", "SELECT frobnicate(id) FROM pool"]
    {
        let error = slt::run(&session, sql).await.unwrap_err().to_string();
        assert!(!error.contains("union_extract") && !error.contains("cosh"), "{sql}: {error}");
    }
}
