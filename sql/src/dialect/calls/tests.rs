//! Promise: what is written for another database has the same meaning in the words of the engine.

use super::*;
use crate::dialect::tests::changed;

/// Asserts that each statement is put into these words.
fn assert_resolved(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(rewritten(sql).as_deref(), Ok(*expected));
    }
}

#[test]
fn operators_are_calls_of_functions() {
    assert_resolved(&[
        ("SELECT record->>'a' FROM t", "SELECT json_extract_string(record, 'a') FROM t"),
        ("SELECT record->'a'->0 FROM t", "SELECT json_extract(json_extract(record, 'a'), 0) FROM t"),
        (
            "SELECT 1 FROM t WHERE record->>'a' = 'x' AND 'y' < record->>'b' || 'z'",
            "SELECT 1 FROM t WHERE json_extract_string(record, 'a') = 'x' AND 'y' < json_extract_string(record, 'b') || 'z'",
        ),
        (
            "SELECT 1 FROM t WHERE x + record->>'a' > 3",
            "SELECT 1 FROM t WHERE x + json_extract_string(record, 'a') > 3",
        ),
        (
            "SELECT 1 FROM t WHERE record->'a'->>'b' LIKE '%x' AND (record->>'c')::INT > 1",
            "SELECT 1 FROM t WHERE json_extract_string(json_extract(record, 'a'), 'b') LIKE '%x' AND (json_extract_string(record, 'c'))::INT > 1",
        ),
        ("SELECT a * b ^ c ^ 2 + d ^ e FROM t", "SELECT a * power(power(b, c), 2) + power(d, e) FROM t"),
        ("SELECT -a ^ (1 + b ^ 2) FROM t", "SELECT power(-a, (1 + power(b, 2))) FROM t"),
        (
            "SELECT 1 FROM t WHERE a + b ^ 2 > c AND record->>'n' ^ 2 < 9",
            "SELECT 1 FROM t WHERE a + power(b, 2) > c AND power(json_extract_string(record, 'n'), 2) < 9",
        ),
        ("SELECT x[:2], x[2:] FROM t", "SELECT x[1:2], x[2:-1] FROM t"),
        (
            "SELECT a SIMILAR TO 'x|y', a NOT SIMILAR TO 'x' FROM t",
            "SELECT regexp_like(a, '^(?:x|y)$'), (NOT regexp_like(a, '^(?:x)$')) FROM t",
        ),
        (
            "SELECT unnest(record->'tags') FROM t",
            "SELECT unnest(json_elements(json_extract(record, 'tags'))) FROM t",
        ),
    ]);
}

#[test]
fn casts_name_types_of_the_engine() {
    assert_resolved(&[
        (
            "SELECT a::JSON->>'k', TRY_CAST(b AS JSON), JSON '[1]' FROM t",
            "SELECT json_extract_string(as_json(a), 'k'), try_as_json(b), as_json('[1]') FROM t",
        ),
        (
            "SELECT a::UBIGINT, b::uinteger[], CAST(c AS BLOB), g::VARBINARY[], h::BINARY, d::HUGEINT, e::TIMESTAMP_MS, f::other FROM t",
            "SELECT a::BIGINT UNSIGNED, b::INT UNSIGNED[], CAST(c AS BYTEA), g::BYTEA[], h::BYTEA, d::DECIMAL(38,0), e::TIMESTAMP(3), f::other FROM t",
        ),
        (
            "SELECT 1.005::DECIMAL(10,2), -CAST((-.5) AS DECIMAL(2,0)), 1e0::DECIMAL(3,1), 2::DECIMAL(3,1)",
            "SELECT '1.005'::DECIMAL(10,2), -CAST('-.5' AS DECIMAL(2,0)), 1e0::DECIMAL(3,1), 2::DECIMAL(3,1)",
        ),
    ]);
}

#[test]
fn functions_have_the_names_of_the_engine() {
    assert_resolved(&[
        ("SELECT list(a ORDER BY b) FROM t", "SELECT array_agg(a ORDER BY b) FROM t"),
        ("SELECT count_if(a > 1) FROM t", "SELECT count(nullif(a > 1, false)) FROM t"),
        (
            "SELECT any_value(a ORDER BY b), any_value(a), bool_or(a) OVER (ORDER BY b), bool_and(a) FROM t",
            "SELECT first_value(a ORDER BY b) IGNORE NULLS, any_value(a), max(a) OVER (ORDER BY b), bool_and(a) FROM t",
        ),
        (
            "SELECT quantile_cont(a, 0.5 ORDER BY b), quantile(a, 0.5 ORDER BY b) FROM t",
            r#"SELECT quantile_cont(a, 0.5), percentile_cont(a, 0.5) AS "percentile_cont(a, 0.5)_1" FROM t"#,
        ),
        (
            "SELECT first_value(abs(a) IGNORE NULLS) OVER (ORDER BY b), first(a || upper(b) IGNORE NULLS), lag(sum(a) IGNORE NULLS) OVER w, max(last(a) IGNORE NULLS) FROM t",
            "SELECT first_value(abs(a)) IGNORE NULLS OVER (ORDER BY b), first_value(a || upper(b)) IGNORE NULLS, lag(sum(a)) IGNORE NULLS OVER w, max(last_value(a) IGNORE NULLS) FROM t",
        ),
        ("SELECT ceil(a), ceiling(a) FROM t", r#"SELECT CEIL(a), ceil(a) AS "ceil(a)_1" FROM t"#),
        ("SELECT list_distinct(a) FROM t", "SELECT array_compact(array_distinct(a)) FROM t"),
        ("SELECT mod(a, 2) FROM t", "SELECT ((a) % (2)) FROM t"),
        ("SELECT \"list\"(a) FROM t", "SELECT \"list\"(a) FROM t"),
        (
            "SELECT substring(a FROM 2), substring(a FOR 3) FROM t",
            "SELECT substr(a, 2), substr(a, 1, 3) FROM t",
        ),
        (
            "SELECT group_concat(DISTINCT x ORDER BY y), string_agg(x, '; ') FROM t",
            "SELECT string_agg(DISTINCT x, ',' ORDER BY y), string_agg(x, '; ') FROM t",
        ),
    ]);
}

#[test]
fn aggregate_functions_have_one_name_in_plans() {
    for (sql, expected) in [
        (
            "SELECT Mean(a), avg(a) FILTER (WHERE b) FROM t HAVING (SELECT var_samp(c) FROM u) > 1",
            "SELECT avg(a), avg(a) FILTER (WHERE b) FROM t HAVING (SELECT var(c) FROM u) > 1",
        ),
        (
            "SELECT \"mean\"(a), arg_max(a, b) OVER () FROM t",
            "SELECT \"avg\"(a), max_by(a, b) OVER () FROM t",
        ),
        ("SELECT power(a, 2), x.mean(a), mean FROM t", "SELECT power(a, 2), x.mean(a), mean FROM t"),
    ] {
        assert_eq!(changed(sql, name_aggregates).1, expected);
    }
}

#[test]
fn parts_of_times_and_intervals_are_texts() {
    assert_resolved(&[
        (
            "SELECT sum(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) FROM t",
            "SELECT sum(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL '3' DAYS PRECEDING AND CURRENT ROW) FROM t",
        ),
        (
            "SELECT a + INTERVAL (n) DAY, a - INTERVAL 1 DAY, INTERVAL (n + 1) QUARTER FROM t",
            "SELECT a + to_days(n), a - INTERVAL '1' DAY, to_quarters(n + 1) FROM t",
        ),
        ("SELECT year(a), epoch(b) FROM t", "SELECT date_part('year', a), date_part('epoch', b) FROM t"),
        (
            "SELECT isodow(a), date_part('dayofyear', a), date_part('year', a) FROM t",
            "SELECT date_part('isodow', a), date_part('doy', a), date_part('year', a) FROM t",
        ),
        ("SELECT extract(dayofweek FROM a) FROM t", "SELECT date_part('dow', a) FROM t"),
    ]);
}

#[test]
fn joins_orders_and_limits_have_the_form_of_the_engine() {
    assert_resolved(&[
        ("SELECT * FROM a ANTI JOIN b USING(row)", "SELECT * FROM a LEFT ANTI JOIN b USING(row)"),
        ("SELECT * FROM a SEMI JOIN b ON a.x = b.x", "SELECT * FROM a LEFT SEMI JOIN b ON a.x = b.x"),
        ("SELECT a, b FROM t ORDER BY ALL", "SELECT a, b FROM t ORDER BY 1, 2"),
        ("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t LIMIT 3"),
        ("TABLE t OFFSET 2 ROWS FETCH NEXT ROW ONLY", "SELECT * FROM t LIMIT 1 OFFSET 2 ROWS"),
        (
            "WITH c AS (TABLE t) TABLE c UNION ALL TABLE t LIMIT 2",
            "WITH c AS (SELECT * FROM t) SELECT * FROM c UNION ALL SELECT * FROM t LIMIT 2",
        ),
    ]);
}

#[test]
fn lists_of_best_rows_within_one_another_do_not_double_without_end() {
    assert_resolved(&[(
        "SELECT max(a, 2), min(a + 1, 3), max(a) FROM t",
        "SELECT max_by(a, a, 2), min_by(a + 1, a + 1, 3), max(a) FROM t",
    )]);
    let nested = (0..16).fold("a".to_owned(), |of, _| format!("max({of}, 2)"));
    let found = rewritten(&format!("SELECT {nested} FROM t")).unwrap();
    assert!(found.len() < 1000, "{found}");
}
