//! Parameters: values in every place of a statement, and what is known of a statement before it has them.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, ListArray, RecordBatch, StringArray,
    Time64MicrosecondArray, TimestampSecondArray,
};
use arrow_schema::{DataType, Schema, TimeUnit};
use futures::TryStreamExt;
use gstore_sql::{MAX_PARAMETERS, Parameters, SqlErrorKind, SqlResult, SqlSession};
use serde_json::{Value, json};

use crate::session;

/// The values of a list in their order, or those of an object by their names.
fn values(given: &Value) -> Parameters {
    let mut values = Parameters::default();
    for value in given.as_array().into_iter().flatten() {
        values.add(None, value).unwrap();
    }
    for (name, value) in given.as_object().into_iter().flatten() {
        values.add(Some(name), value).unwrap();
    }
    values
}

async fn rows(session: &SqlSession, sql: &str, values: &Parameters) -> Result<String, gstore_sql::SqlError> {
    text(session.run_with(sql, values).await?).await
}

async fn text(result: SqlResult) -> Result<String, gstore_sql::SqlError> {
    let batches: Vec<RecordBatch> = result.stream.try_collect().await?;
    let text = arrow_cast::pretty::pretty_format_batches(&batches).unwrap().to_string();
    // Columns have the widths of their names.
    let cells = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join("|");
    Ok(text.lines().filter(|l| l.starts_with('|')).skip(1).map(cells).collect::<Vec<_>>().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_in_any_place_gives_what_the_literal_gives() {
    let (_store, session) = session(2);
    let none = Parameters::default();
    for (with, given, without) in [
        (
            "SELECT id, score FROM influence($pool, $target, k => $k) ORDER BY score DESC",
            json!({"pool": "pool", "target": "target", "k": 3}),
            "SELECT id, score FROM influence('pool', 'target', k => 3) ORDER BY score DESC",
        ),
        (
            "SELECT id FROM influence(?, ?, checkpoints => ?) WHERE source <> ? AND score > ? ORDER BY score DESC LIMIT ?",
            json!(["pool", "target", ["checkpoint-1"], "math", -0.5, 2]),
            "SELECT id FROM influence('pool', 'target', checkpoints => ['checkpoint-1']) \
             WHERE source <> 'math' AND score > -0.5 ORDER BY score DESC LIMIT 2",
        ),
        (
            "SELECT row FROM pool WHERE row = $2 OR row = $1 OR row = $2 + 1",
            json!([1, 5]),
            "SELECT row FROM pool WHERE row = 5 OR row = 1 OR row = 5 + 1",
        ),
        (
            "SELECT count(*) FROM pool WHERE source = $1 OR source IS NOT DISTINCT FROM $2",
            json!({"1": "it's '; DROP TABLE pool; --", "$2": null}),
            "SELECT count(*) FROM pool WHERE source IS NULL",
        ),
        (
            "SELECT $1, $2, $3, $2 AS again",
            json!([0.1, 0.1, true]),
            "SELECT 0.1 AS \"$1\", 0.1 AS \"$2\", true AS \"$3\", 0.1 AS again",
        ),
        ("SELECT $1 AS x", json!([[1, 2.5]]), "SELECT [1.0, 2.5] AS x"),
        (
            "SELECT $1 AS a, $2 AS b, $3 AS c",
            json!([[1, null], [null, "x"], [true, false]]),
            "SELECT [1, NULL] AS a, [NULL, 'x'] AS b, [true, false] AS c",
        ),
        // `row` has no sign, and a whole number of a list has one.
        (
            "SELECT row FROM pool WHERE row IN $rows AND source NOT IN $sources ORDER BY row",
            json!({"rows": [1, 2, 5, 6], "sources": ["math"]}),
            "SELECT row FROM pool WHERE row IN (1, 2, 5, 6) AND source NOT IN ('math') ORDER BY row",
        ),
        (
            "SELECT count(*) FILTER (id IN ?), count(*) FILTER (id NOT IN ?) FROM pool",
            json!([[], []]),
            "SELECT 0, count(*) FROM pool",
        ),
        ("SELECT $1 + 0", json!([i64::MIN]), "SELECT -9223372036854775807 - 1"),
        (
            "EXPLAIN SELECT row FROM pool WHERE row < $1",
            json!([3]),
            "EXPLAIN SELECT row FROM pool WHERE row < 3",
        ),
    ] {
        let found = rows(&session, with, &values(&given)).await.unwrap_or_else(|e| panic!("{with}: {e}"));
        assert_eq!(found, rows(&session, without, &none).await.unwrap(), "{with}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused() {
    let (_store, session) = session(1);
    for (sql, given, says) in [
        ("SELECT $1", json!([]), "the parameter $1 has no value"),
        ("SELECT id FROM influence($a, 'target')", json!([]), "the parameter $a has no value"),
        ("SELECT $1", json!([1, 2]), "2 parameters are given, and the statement has 1"),
        ("SELECT 1", json!([1]), "1 parameter is given, and the statement has none"),
        ("SELECT $a", json!({"b": 1}), "the statement has no parameter $b"),
        ("SELECT $1, ?", json!([1]), "`?` among other parameters"),
        ("SELECT $0", json!([1]), "`$0` is not a parameter; write $1 or $name for each"),
        ("SELECT $1, $a", json!([1, 1]), "numbers or names, not both"),
        ("SELECT $5000", json!([]), "parameters go up to $1000"),
        ("SELECT id FROM influence($1, 'target')", json!(["pol"]), "did you mean \"pool\""),
        ("SELECT id FROM pool WHERE id IN ($1)", json!([["a"]]), "x IN $list"),
    ] {
        let error = rows(&session, sql, &values(&given)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{sql}: {error}");
    }
    let mut values = Parameters::default();
    assert_eq!(values.add(None, &json!({"a": 1})).unwrap_err().kind(), SqlErrorKind::Invalid);
    for list in [json!([1, "a"]), json!([null, true, 1]), json!([[1], [2]])] {
        let error = values.add(None, &list).unwrap_err().to_string();
        assert!(error.contains("a list may hold texts, numbers, or true and false"), "{error}");
    }
    values.add(Some("a"), &json!(1)).unwrap();
    assert!(values.add(Some("$a"), &json!(1)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_values_are_where_the_parameters_are() {
    let (_store, session) = session(1);
    for (sql, given, place) in [
        ("SELECT id FROM influence($1, 'target')", json!(["pol"]), (1, 26)),
        ("SELECT id\nFROM influence('pool', $target)", json!({"target": 7}), (2, 24)),
        // At the name of the option.
        ("SELECT id\nFROM influence('pool', 'target', k => ?)", json!([-3]), (2, 34)),
    ] {
        let error = rows(&session, sql, &values(&given)).await.unwrap_err();
        assert_eq!(error.position(), Some(place), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_decimal_is_a_number_of_rows() {
    let (_store, session) = session(1);
    let three = Decimal128Array::from(vec![3]).with_precision_and_scale(1, 0).unwrap();
    let row = RecordBatch::try_from_iter([("1", Arc::new(three) as ArrayRef)]).unwrap();
    let sql = "SELECT count(*) FROM influence('pool', 'target', k => $1)";
    assert_eq!(rows(&session, sql, &Parameters::of_row(&row).unwrap()).await.unwrap(), "|3|");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_reaches_as_far_as_its_type() {
    let (_store, session) = session(1);
    let late = TimestampSecondArray::from(vec![32_503_680_000]);
    let zoned: ArrayRef = Arc::new(late.clone().with_timezone("UTC"));
    let row = RecordBatch::try_from_iter([("1", Arc::new(late) as ArrayRef), ("2", zoned)]).unwrap();
    let sql = "SELECT $1::DATE AS d, year(CAST($1 AS TIMESTAMP_S)) AS y, $2 AS t";
    let found = rows(&session, sql, &Parameters::of_row(&row).unwrap()).await.unwrap();
    assert_eq!(found, "|3000-01-01|3000|3000-01-01T00:00:00Z|");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_long_is_refused_as_a_list() {
    let (_store, session) = session(1);
    let long = values(&json!([vec![1; 200_000]]));
    assert_eq!(rows(&session, "SELECT 1 IN $1 AS a", &long).await.unwrap(), "|true|");
    let error = rows(&session, "SELECT len($1)", &long).await.unwrap_err().to_string();
    assert!(error.contains("a list would be a constant of up to"), "{error}");
}

#[test]
fn values_are_limited_before_a_statement_is_known() {
    let mut values = Parameters::default();
    for _ in 0..MAX_PARAMETERS {
        values.add(None, &json!(1)).unwrap();
    }
    assert_eq!(values.add(None, &json!(1)).unwrap_err().kind(), SqlErrorKind::Refused);
    let one: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let many = (0..=MAX_PARAMETERS).map(|i| (i.to_string(), Arc::clone(&one)));
    let many = RecordBatch::try_from_iter(many).unwrap();
    assert_eq!(Parameters::of_row(&many).unwrap_err().kind(), SqlErrorKind::Refused);
    let long = json!(vec![1; (1 << 18) + 1]);
    assert_eq!(Parameters::default().add(None, &long).unwrap_err().kind(), SqlErrorKind::Refused);
    let mixed = json!(["secret", 1]);
    let error = Parameters::default().add(None, &mixed).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn each_of_several_statements_has_its_own_values() {
    let given = values(&json!({"a": 1, "b": 2, "1": 3}));
    let each = |statements: &[&str]| {
        given.of_each(&statements.iter().map(|sql| (*sql).to_owned()).collect::<Vec<String>>())
    };
    let found = each(&["SELECT 1", "SELECT $b, $a", "SELECT ?", "SELECT $a + 1"]).unwrap();
    let expected = [json!({}), json!({"a": 1, "b": 2}), json!({"1": 3}), json!({"a": 1})];
    assert_eq!(found, expected.map(|expected| values(&expected)));
    // A statement alone says what it has.
    assert_eq!(each(&["SELECT 1"]).unwrap(), std::slice::from_ref(&given));
    assert!(each(&[]).unwrap().is_empty());
    let error = each(&["SELECT $b", "SELECT $1"]).unwrap_err();
    assert_eq!(error.kind(), SqlErrorKind::Unknown);
    let error = error.to_string();
    assert!(error.contains("none of the statements has a parameter $a\n  they have $b, $1"), "{error}");
    // It says what is wrong when it runs.
    assert_eq!(each(&["SELECT 1", "SELEC $a"]).unwrap(), [values(&json!({})), given.clone()]);
}

#[test]
fn a_row_of_a_batch_is_a_set_of_values() {
    let columns: [(&str, ArrayRef); 3] = [
        ("0", Arc::new(Int32Array::from(vec![7]))),
        ("1", Arc::new(StringArray::from(vec!["a"]))),
        ("2", Arc::new(Float64Array::from(vec![None]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
    let names: Vec<String> = ["x", "y", "z"].map(String::from).into();
    let row = Parameters::of_row(&batch).unwrap().to_row(&names).unwrap();
    assert_eq!(row.columns(), batch.columns());
    assert_eq!(row.schema().field(1).name(), "y");
    assert!(Parameters::of_row(&batch.slice(0, 0)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_with_the_names_of_parameters_are_their_values() {
    let (_store, session) = session(1);
    for (sql, columns, first) in [
        ("SELECT $b AS x, $a AS y", ["a", "b"], 2),
        ("SELECT $b AS x, $a AS y", ["$a", "$b"], 2),
        ("SELECT $2 AS x, $1 AS y", ["1", "2"], 2),
        ("SELECT $2 AS x, $1 AS y", ["2", "1"], 1),
        // Otherwise they stand in the order of the parameters.
        ("SELECT $b AS x, $a AS y", ["a", "c"], 1),
        ("SELECT $b AS x, $a AS y", ["a", "a"], 1),
        ("SELECT ? AS x, ? AS y", ["0", "1"], 1),
    ] {
        let column = |n: i32| Arc::new(Int32Array::from(vec![n])) as ArrayRef;
        let row = RecordBatch::try_from_iter([(columns[0], column(1)), (columns[1], column(2))]).unwrap();
        let found = rows(&session, sql, &Parameters::of_row(&row).unwrap()).await.unwrap();
        let plain = format!("SELECT {first} AS x, {} AS y", 3 - first);
        assert_eq!(found, rows(&session, &plain, &Parameters::default()).await.unwrap(), "{sql} {columns:?}");
    }
    let one = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    let error = rows(&session, "SELECT $b, $a", &Parameters::of_row(&one).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("the parameter $b has no value"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_batch_is_the_same_as_one_of_json() {
    let (_store, session) = session(1);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
    let row = RecordBatch::try_from_iter([("1", Arc::new(list) as ArrayRef)]).unwrap();
    let sql = "SELECT $1 AS x, typeof($1) AS t";
    let of_row = rows(&session, sql, &Parameters::of_row(&row).unwrap()).await.unwrap();
    assert_eq!(rows(&session, sql, &values(&json!([[1, null]]))).await.unwrap(), of_row);
    let time: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![1]));
    let row = RecordBatch::try_from_iter([("1", time)]).unwrap();
    let error = rows(&session, sql, &Parameters::of_row(&row).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("a date, a timestamp, or a list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_says_what_it_takes_and_gives() {
    let (_store, session) = session(1);
    let none = Parameters::default();
    for (sql, types, same) in [
        ("SELECT row, id FROM pool", vec![], "SELECT row, id FROM pool"),
        (
            "SELECT id, score FROM influence($1, $2, k => $3) WHERE source = $4",
            vec![("1", DataType::Utf8), ("2", DataType::Utf8), ("3", DataType::Int64), ("4", DataType::Utf8)],
            "SELECT id, score FROM influence('pool', 'target') WHERE source = 'a'",
        ),
        (
            "SELECT row FROM pool WHERE length > ? AND quality < ? LIMIT ?",
            vec![("1", DataType::Int64), ("2", DataType::Float64), ("3", DataType::Int64)],
            "SELECT row FROM pool",
        ),
        (
            "SELECT row FROM vectors($dataset, $feature)",
            vec![("dataset", DataType::Utf8), ("feature", DataType::Utf8)],
            "SELECT row FROM vectors('pool', 'grad-adam@checkpoint-1')",
        ),
        (
            "SELECT $1 AT TIME ZONE 'Europe/Berlin' AS t",
            vec![("1", DataType::Timestamp(TimeUnit::Microsecond, None))],
            "SELECT NULL AT TIME ZONE 'Europe/Berlin' AS t",
        ),
    ] {
        let described = session.describe(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let found: Vec<(&str, DataType)> = described
            .parameters
            .fields()
            .iter()
            .map(|f| (f.name().as_str(), f.data_type().clone()))
            .collect();
        assert_eq!(found, types, "{sql}");
        assert_eq!(described.schema.unwrap(), session.columns(same, &none).await.unwrap(), "{sql}");
    }
    // Nothing fits here, so the columns are not known yet.
    let open = session.describe("SELECT * FROM influence('po' || $1, 'target')").await.unwrap();
    assert!(open.schema.is_none() && open.parameters.fields().len() == 1);
    assert!(session.describe("SELECT nothing FROM pool WHERE row = $1").await.is_err());
    assert!(session.describe("DELETE FROM pool WHERE row = $1").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_values_mend_is_said_before_there_are_any() {
    let (_store, session) = session(1);
    let sql = "SELECT source, count(*) FROM pool WHERE length > ?";
    let told = session.describe(sql).await.unwrap_err();
    assert_eq!(told.kind(), SqlErrorKind::Invalid, "{told}");
    let found = rows(&session, sql, &values(&json!([1]))).await.unwrap_err();
    assert_eq!(told.to_string(), found.to_string());
    for sql in ["SELECT ? + INTERVAL 1 DAY AS t", "SELECT date_diff('day', ?, ?) AS n"] {
        assert!(session.describe(sql).await.is_ok(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headings_have_parameters_as_they_are_written() {
    let (_store, session) = session(1);
    let headings = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    let five = values(&json!([5]));
    for (sql, expected) in [
        ("SELECT $1 + 1, typeof($1), $1", ["$1 + 1", "typeof($1)", "$1"]),
        ("SELECT length + $1 AS n, length - $1, length FROM pool", ["n", "length - $1", "length"]),
    ] {
        let result = session.run_with(sql, &five).await.unwrap();
        assert_eq!(headings(&result.schema), expected, "{sql}");
    }
    let described = session.describe("SELECT length - $1 FROM pool").await.unwrap();
    assert_eq!(headings(&described.schema.unwrap()), ["length - $1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_gives_what_it_gives_when_it_is_asked() {
    let (_store, session) = session(2);
    let none = Parameters::default();
    for (sql, runs) in [
        ("SELECT count(*) FROM pool", 3),
        ("SELECT id, source FROM pool WHERE row > 2 AND source <> 'math' LIMIT 3", 3),
        ("SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 3", 1),
        ("SELECT source, count(*) FROM pool GROUP BY source ORDER BY source", 1),
        // Its functions look at the end of one run.
        ("SELECT levenshtein(id, source) AS n FROM pool", 1),
        ("SELECT count(*) FROM pool WHERE now() IS NOT NULL", 0),
        // By their other names, too.
        ("SELECT count(*) FROM pool WHERE get_current_timestamp() IS NOT NULL", 0),
        ("SELECT count(*) FROM pool WHERE Transaction_Timestamp() IS NOT NULL", 0),
        ("SELECT random() < 2 FROM pool", 0),
    ] {
        let prepared = session.prepare(sql, &none, None).await.unwrap();
        assert_eq!(*prepared.schema(), session.columns(sql, &none).await.unwrap(), "{sql}");
        let asked = rows(&session, sql, &none).await.unwrap();
        for run in 0..3 {
            let found = session.run_prepared(&prepared, None, Arc::default());
            assert_eq!(found.is_some(), run < runs, "{sql}");
            if let Some(result) = found {
                assert_eq!(text(result.unwrap()).await.unwrap(), asked, "{sql}");
            }
        }
    }
}
