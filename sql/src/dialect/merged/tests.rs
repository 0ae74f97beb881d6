//! Promise: a column of `USING` is one column, and no other column is taken for it.

use super::*;

fn merged(sql: &str) -> Result<String, SqlError> {
    let mut statement = crate::dialect::parse(sql).unwrap();
    merge_names(&mut statement)?;
    Ok(statement.to_string())
}

fn refused(sql: &str) -> SqlError {
    merged(sql).unwrap_err()
}

#[test]
fn a_column_of_using_is_one_column() {
    for (sql, expected) in [
        (
            "SELECT k, v FROM a JOIN b USING (k) WHERE k = 1",
            r#"SELECT a."k", v FROM a JOIN b USING(k) WHERE a."k" = 1"#,
        ),
        (
            "SELECT K + 1 AS n FROM s.a AS x RIGHT JOIN b USING (k) GROUP BY k HAVING k > 1 ORDER BY k",
            r#"SELECT b."k" + 1 AS n FROM s.a AS x RIGHT JOIN b USING(k) GROUP BY b."k" HAVING b."k" > 1 ORDER BY b."k""#,
        ),
        (
            "SELECT k FROM a FULL JOIN b USING (k) WHERE v IN (SELECT k FROM c) ORDER BY k",
            r#"SELECT coalesce(a."k", b."k") AS k FROM a FULL JOIN b USING(k) WHERE v IN (SELECT k FROM c) ORDER BY k"#,
        ),
        (
            "SELECT * FROM a LEFT JOIN b USING (k)",
            r#"SELECT a.*, b.* EXCLUDE ("k") FROM a LEFT JOIN b USING(k)"#,
        ),
        (
            "SELECT * FROM a RIGHT JOIN b USING (k)",
            r#"SELECT a.* REPLACE (b."k" AS "k"), b.* EXCLUDE ("k") FROM a RIGHT JOIN b USING(k)"#,
        ),
        (
            "SELECT * EXCLUDE (k) FROM f('x') RIGHT JOIN b USING (k)",
            r#"SELECT f.* EXCLUDE ("k"), b.* EXCLUDE ("k") FROM f('x') RIGHT JOIN b USING(k)"#,
        ),
        (
            "SELECT k AS k_1, * FROM a JOIN b USING (k)",
            r#"SELECT a."k" AS k_1, a.*, b.* EXCLUDE ("k") FROM a JOIN b USING(k)"#,
        ),
        (
            "SELECT a.k, * FROM a LEFT JOIN b USING (k), c",
            r#"SELECT a.k, a.* EXCLUDE ("k"), b.* EXCLUDE ("k"), c.* FROM a LEFT JOIN b USING(k), c"#,
        ),
        (
            "SELECT * FROM a RIGHT JOIN b USING (k) LEFT JOIN c ON c.q = b.k",
            r#"SELECT a.* REPLACE (b."k" AS "k"), b.* EXCLUDE ("k"), c.* FROM a RIGHT JOIN b USING(k) LEFT JOIN c ON c.q = b.k"#,
        ),
        ("SELECT k FROM (a RIGHT JOIN b USING (k))", r#"SELECT b."k" FROM (a RIGHT JOIN b USING(k))"#),
        (
            "SELECT k FROM a FULL JOIN b USING (k) FULL JOIN c USING (k)",
            r#"SELECT coalesce(a."k", b."k", c."k") AS k FROM a FULL JOIN b USING(k) FULL JOIN c ON coalesce(a."k", b."k") = c."k""#,
        ),
        (
            "SELECT v FROM a FULL JOIN b USING (k) JOIN c USING (k) WHERE k = 1",
            r#"SELECT v FROM a FULL JOIN b USING(k) JOIN c ON coalesce(a."k", b."k") = c."k" WHERE coalesce(a."k", b."k") = 1"#,
        ),
    ] {
        assert_eq!(merged(sql).unwrap().replace("FULL OUTER", "FULL"), expected);
    }
}

#[test]
fn a_name_that_may_be_of_another_table_stays() {
    for sql in [
        "SELECT k FROM a JOIN b USING(k) JOIN c ON c.x = a.x WHERE k = 1",
        "SELECT k FROM a JOIN b USING(k), c WHERE k = 1",
        "SELECT * FROM a JOIN b ON a.k = b.k",
        "SELECT k FROM a LEFT ANTI JOIN b USING(k)",
        "SELECT max(v) AS k FROM a JOIN b USING(k) HAVING k > 1 ORDER BY k",
    ] {
        assert_eq!(merged(sql).unwrap(), sql);
    }
}

#[test]
fn what_the_engine_would_take_from_the_wrong_table_is_refused() {
    for from in [
        "a RIGHT JOIN b USING (k) CROSS JOIN c",
        "a RIGHT JOIN b USING (k), c",
        "a FULL JOIN b USING (k) LEFT JOIN c ON c.q = b.k",
        "a NATURAL RIGHT JOIN b",
        "a NATURAL FULL JOIN b",
        "c CROSS JOIN a RIGHT JOIN b USING (k)",
        "c JOIN (a RIGHT JOIN b USING (k)) ON c.q = b.k",
        "a RIGHT JOIN (SELECT 1 AS k) USING (k)",
    ] {
        refused(&format!("SELECT k FROM {from}"));
        refused(&format!("SELECT v FROM {from} ORDER BY k + 1"));
    }
    for from in ["a NATURAL LEFT JOIN b", "c CROSS JOIN a RIGHT JOIN b USING (k)"] {
        refused(&format!("SELECT * FROM {from}"));
    }
    refused("SELECT v FROM c CROSS JOIN a RIGHT JOIN b USING (k) JOIN d USING (k)");
}

#[test]
fn the_values_of_all_names_are_limited() {
    let names = vec!["k"; 17_000].join(", ");
    let error = refused(&format!("SELECT v FROM a FULL JOIN b USING (k) WHERE 1 IN ({names})"));
    assert!(error.message().contains("repeated expressions"), "{}", error.message());
}
