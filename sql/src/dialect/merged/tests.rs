//! Promise: a column of `USING` is one column, and no other column is taken for it.

use super::*;

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
            r#"SELECT b."k", a.* EXCLUDE ("k"), b.* EXCLUDE ("k") FROM a RIGHT JOIN b USING(k)"#,
        ),
        (
            "SELECT * EXCLUDE (v) FROM f('x') RIGHT JOIN b USING (k)",
            r#"SELECT * EXCLUDE (v) REPLACE (b."k" AS "k") FROM f('x') RIGHT JOIN b USING(k)"#,
        ),
        (
            "SELECT v FROM a FULL JOIN b USING (k) JOIN c USING (k) WHERE k = 1",
            r#"SELECT v FROM a FULL JOIN b USING(k) JOIN c ON coalesce(a."k", b."k") = c."k" WHERE coalesce(a."k", b."k") = 1"#,
        ),
    ] {
        let mut statement = crate::guard::parse(sql).unwrap();
        merge(&mut statement);
        assert_eq!(statement.to_string().replace("FULL OUTER", "FULL"), expected);
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
        let mut statement = crate::guard::parse(sql).unwrap();
        merge(&mut statement);
        assert_eq!(statement.to_string(), sql);
    }
}
