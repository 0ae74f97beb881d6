//! Promise: a column that a SELECT has twice is two columns, and no other column changes its name.

use super::*;
use crate::dialect::headings;
use crate::dialect::tests::changed;

fn renamed(sql: &str) -> String {
    changed(sql, apart).1
}

#[test]
fn the_second_of_two_columns_has_a_number() {
    for (sql, expected) in [
        ("SELECT cost, Cost, t.cost FROM t", r#"SELECT cost, Cost AS "cost_1", t.cost AS "cost_2" FROM t"#),
        (
            "SELECT a::INT, a::REAL, d::DATE, d, (a + 1)::INT, (a::INT + 1) FROM t",
            r#"SELECT a::INT, a::REAL AS "a::REAL_1", d::DATE AS "d::DATE_1", d, (a + 1)::INT, (a::INT + 1) AS "(a::INT + 1)_1" FROM t"#,
        ),
        ("SELECT round(2.5), round(2.5e0)", r#"SELECT round(2.5), round(2.5e0) AS "round(2.5e0)_1""#),
        (
            "SELECT pow(a, 2), power(a, 2), mean(a), avg(a) FROM t",
            r#"SELECT pow(a, 2), power(a, 2) AS "power(a, 2)_1", mean(a), avg(a) AS "avg(a)_1" FROM t"#,
        ),
        ("SELECT *, cost::INT FROM t", r#"SELECT *, cost::INT AS "cost::INT_1" FROM t"#),
        ("SELECT *, cost FROM t", r#"SELECT *, cost AS "cost_1" FROM t"#),
        ("SELECT *, a AS a, b FROM t", r#"SELECT *, a AS "a_1", b AS "b_1" FROM t"#),
        ("SELECT t.*, t.cost, cost FROM t", r#"SELECT t.*, t.cost AS "cost_1", cost AS "cost_2" FROM t"#),
        ("SELECT 1 AS a, 2 AS a, 3 AS a_1", r#"SELECT 1 AS a, 2 AS "a_1", 3 AS "a_1_1""#),
        ("SELECT 1 AS a_1, 2 AS a, 3 AS a", r#"SELECT 1 AS a_1, 2 AS a, 3 AS "a_2""#),
        ("SELECT a, t.a FROM t ORDER BY a + 1", r#"SELECT a, t.a AS "a_1" FROM t ORDER BY a + 1"#),
        ("SELECT id, upper(id) AS id FROM t", r#"SELECT id, upper(id) AS "id_1" FROM t"#),
        (
            "SELECT make_array(1, 2), [1, 2], a::INT, (CAST(A AS INT)) FROM t",
            r#"SELECT make_array(1, 2), [1, 2] AS "[1, 2]_1", a::INT, (CAST(A AS INT)) AS "(CAST(A AS INT))_1" FROM t"#,
        ),
        (
            "SELECT {'a': 1}.a, ({'a': 1}).a, s.a, get_field(s, 'a'), s.b FROM t",
            r#"SELECT {'a': 1}.a, ({'a': 1}).a AS "({'a': 1}).a_1", s.a, get_field(s, 'a') AS "get_field(s, 'a')_1", s.b FROM t"#,
        ),
        (
            "WITH RECURSIVE f (a, b, n) AS (SELECT 0, 1, 1 UNION ALL SELECT b, B, n + 1 FROM f) SELECT a FROM f",
            r#"WITH RECURSIVE f (a, b, n) AS (SELECT 0, 1, 1 AS "1_1" UNION ALL SELECT b, B AS "b_1", n + 1 FROM f) SELECT a FROM f"#,
        ),
    ] {
        assert_eq!(renamed(sql), expected);
    }
    for sql in [
        "SELECT a.id, b.id FROM a JOIN b ON a.x = b.x",
        "SELECT * EXCLUDE (cost), cost FROM t",
        "SELECT *, text FROM t",
        "SELECT *, s.field FROM t",
        "SELECT s.id, id FROM t",
        "SELECT b.k, * FROM a LEFT JOIN b USING(k)",
        "SELECT a.*, x FROM a CROSS JOIN b",
        "SELECT id, upper(id) AS id FROM t ORDER BY id",
        "SELECT -id AS id, id FROM t ORDER BY id",
        "SELECT a AS k, b AS k FROM t ORDER BY k + 0",
        "SELECT a AS k, b AS k FROM t GROUP BY k",
        "SELECT a AS k, max(b) AS k FROM t GROUP BY a HAVING k > 5",
        "SELECT a AS k, b AS k FROM t QUALIFY row_number() OVER (ORDER BY k) = 1",
        "(SELECT a, -a AS a FROM t) ORDER BY a",
        "((SELECT a, -a AS a FROM t) UNION ALL SELECT 1, 2) ORDER BY a",
        "SELECT DISTINCT ON (k) a AS k, b AS k FROM t",
    ] {
        assert_eq!(renamed(sql), sql);
    }
}

#[test]
fn headings_with_numbers_are_headings() {
    let (_, found) = changed("SELECT * FROM (SELECT s.id, id, t.s.id, len(x), len(x) FROM t)", |sql| {
        headings::put(sql);
        apart(sql);
    });
    assert_eq!(
        found,
        r#"SELECT * FROM (SELECT s.id AS `id`, id AS "id_1", t.s.id AS `id_2`, len(x) AS `len(x)`, len(x) AS `len(x)_1` FROM t)"#
    );
    assert!(!is_given(&Ident::with_quote('`', "id_2"), "id"));
    assert!(is_given(&Ident::with_quote('"', "id_2"), "id"));
}

#[test]
fn headings_that_all_columns_have_too_have_numbers_in_every_select() {
    let error = SqlError::invalid(format!("column `id`{OCCURS}"));
    let found = changed("SELECT * FROM (SELECT *, s.id FROM t), (SELECT *, s.id FROM u)", |sql| {
        headings::put(sql);
        beside_all(sql, &error)
    });
    let expected = "SELECT * FROM (SELECT *, s.id AS `id_1` FROM t), (SELECT *, s.id AS `id_1` FROM u)";
    assert_eq!(found, (true, expected.to_owned()));
}

#[test]
fn a_name_that_all_columns_have_too_has_a_number() {
    let error = SqlError::invalid(format!("column `id`{OCCURS}"));
    let beside = |sql: &str| changed(sql, |sql| beside_all(sql, &error));
    let expected = r#"SELECT id FROM (SELECT *, upper(id) AS "id_1" FROM t)"#;
    assert_eq!(beside("SELECT id FROM (SELECT *, upper(id) AS id FROM t)"), (true, expected.to_owned()));
    for sql in [
        "SELECT *, upper(id) AS id FROM t ORDER BY id",
        "SELECT *, upper(id) AS id FROM t ORDER BY lower(id)",
        "SELECT *, 1 AS id FROM t UNION ALL SELECT *, 2 AS id FROM t",
        "SELECT 1 AS id FROM t",
    ] {
        assert_eq!(beside(sql), (false, sql.to_owned()));
    }
    // Of a subquery without a name.
    for (sql, said, expected) in [
        (
            "SELECT *, upper(id) AS id FROM (SELECT -x AS id FROM t)",
            "the same: `id`",
            r#"SELECT *, upper(id) AS "id_1" FROM (SELECT -x AS id FROM t)"#,
        ),
        (
            "SELECT upper(id) AS id, * FROM (SELECT -x AS id FROM t)",
            "called `id`",
            r#"SELECT upper(id) AS "id_1", * FROM (SELECT -x AS id FROM t)"#,
        ),
        (
            "SELECT *, len(x) FROM (SELECT len(x) AS \"len(x)\", x FROM t)",
            "the same: `len(x)`",
            r#"SELECT *, len(x) AS "len(x)_1" FROM (SELECT len(x) AS "len(x)", x FROM t)"#,
        ),
    ] {
        let error = SqlError::invalid(format!("{TWICE}{said}"));
        assert_eq!(changed(sql, |sql| beside_all(sql, &error)), (true, expected.to_owned()));
    }
}
