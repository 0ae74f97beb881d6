//! Promise: what is computed stands in the place of the name that a SELECT gives it, and nowhere else.

use super::*;

fn put(sql: &str, column: &str, place: Option<(u64, u64)>) -> Result<Option<String>, String> {
    let mut statement = crate::dialect::parse(sql).unwrap();
    let error = SqlError::unknown(format!("there is no column `{column}`"));
    let error = error.at(place);
    let found = AliasNames::default().put(&mut statement, &error).map_err(|error| error.to_string())?;
    Ok(found.then(|| statement.to_string()))
}

#[test]
fn what_is_computed_takes_the_place_of_its_name() {
    for (sql, place, expected) in [
        (
            "SELECT a * 2 AS d, d + 1, sum(d) FROM t WHERE d > 10 AND x IN (SELECT d FROM u)",
            None,
            "SELECT a * 2 AS d, (a * 2) + 1, sum((a * 2)) FROM t WHERE (a * 2) > 10 AND x IN (SELECT d FROM u)",
        ),
        (
            "SELECT d AS x, (SELECT d AS d WHERE D) FROM (SELECT a AS d, d + 1 FROM t)",
            Some((1, 61)),
            "SELECT d AS x, (SELECT d AS d WHERE D) FROM (SELECT a AS d, (a) + 1 FROM t)",
        ),
        (
            "SELECT row_number() OVER () AS d, d + 1 FROM t",
            None,
            "SELECT row_number() OVER () AS d, (row_number() OVER ()) + 1 FROM t",
        ),
    ] {
        assert_eq!(put(sql, "d", place), Ok(Some(expected.to_owned())));
    }
    for sql in [
        "SELECT d + 1, a AS d FROM t",
        "SELECT a AS d FROM t WHERE x IN (SELECT d FROM u)",
        "SELECT a AS d, d FROM (SELECT a AS d, d FROM t)",
        "SELECT a AS b, d FROM t",
        // A slip in the name of a column, which the result is to have.
        "SELECT d + 1 AS d FROM t WHERE d > 1",
    ] {
        assert_eq!(put(sql, "d", None), Ok(None), "{sql}");
    }
}

#[test]
fn what_cannot_stand_twice_is_refused() {
    for (sql, says) in [
        ("SELECT random() AS d, d + 1", "computed again"),
        ("SELECT (SELECT 1) AS d, d + 1", "computed again"),
        ("SELECT count(*) AS d FROM t WHERE d > 1", "aggregate function, which is not allowed in WHERE"),
        ("SELECT rank() OVER () AS d FROM t WHERE d > 1", "write QUALIFY"),
        ("SELECT a AS d, b AS d, d + 1 FROM t", "two columns of one SELECT are called `d`"),
    ] {
        let error = put(sql, "d", None).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let long = format!("SELECT [{}] AS d, {} FROM t", vec!["a"; 300].join(", "), vec!["d"; 200].join(", "));
    assert!(put(&long, "d", None).unwrap_err().contains("too many expressions"));
}
