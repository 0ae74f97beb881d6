//! Promise: predicates that grow as they are pushed down are refused, and others are not.

use datafusion::prelude::SessionContext;

use super::*;

const ROWS: &str = "(VALUES (1, 2), (3, 4)) AS t(x, y)";

async fn plan(sql: &str) -> LogicalPlan {
    let state = SessionContext::new().state();
    state.create_logical_plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

async fn pushed(sql: &str) -> u64 {
    let mut sizes = PlanSizes::default();
    sizes.columns(&plan(sql).await).unwrap();
    sizes.pushed
}

/// Tables a0, a1, .. each made of the one before.
fn chain(steps: usize, step: &str) -> String {
    let next = |i: usize| format!(", a{i} AS (SELECT {step} FROM a{})", i - 1);
    let all: String = (1..=steps).map(next).collect();
    format!("WITH a0 AS (SELECT x, y FROM {ROWS}){all} ")
}

#[tokio::test]
async fn a_predicate_has_the_expressions_of_its_columns() {
    // Of `x + x` two of x and one more: 2^(k + 1) - 1 after k steps. A comparison has two more.
    let sums = chain(10, "x + x AS x, y");
    let of = |rest: &str| format!("{sums}{rest}");
    let (x, by_x) = ((1 << 11) - 1, (1 << 11) + 1);
    assert_eq!(pushed(&of("SELECT x FROM a10 WHERE x > 0")).await, by_x);
    assert_eq!(pushed(&of("SELECT x FROM a10")).await, 0);
    assert_eq!(pushed(&of("SELECT x FROM a10 WHERE y > 0")).await, 3);
    let nested = (0..10).fold(ROWS.to_owned(), |of, i| format!("(SELECT x + x AS x FROM {of}) AS s{i}"));
    assert_eq!(pushed(&format!("SELECT x FROM {nested} WHERE x > 0")).await, by_x);
    let all = chain(10, "*");
    assert_eq!(pushed(&format!("{all}SELECT * FROM a10 AS b WHERE b.x > 0")).await, 3);
    assert_eq!(pushed(&of("SELECT * FROM (SELECT *, y AS z FROM a10 AS b) WHERE x > 0")).await, by_x);
    assert_eq!(pushed(&of("SELECT z FROM (SELECT b.x AS z FROM a10 b) c WHERE c.z > 0")).await, by_x);
    // The branches of a union have the predicate each.
    let both = "SELECT x FROM (SELECT x FROM a10 UNION ALL SELECT x FROM a10) WHERE x > 0";
    assert_eq!(pushed(&of(both)).await, 2 * x + 2);
    // Two of `x > 0`, two of x, one of CASE, one of the sign: 3^(k + 1) - 2.
    let case = chain(7, "CASE WHEN x > 0 THEN x ELSE -x END AS x");
    assert_eq!(pushed(&format!("{case}SELECT x FROM a7 WHERE x > 0")).await, 3u64.pow(8));
    let without_end = chain(70, "x + x AS x");
    assert_eq!(pushed(&format!("{without_end}SELECT x FROM a70 WHERE x > 0")).await, u64::MAX);
}

#[tokio::test]
async fn joins_groups_and_limits() {
    let sums = chain(10, "x + x AS x, y");
    let of = |rest: &str| format!("{sums}{rest}");
    let x: u64 = (1 << 11) - 1;
    let keys = pushed(&of("SELECT a.y FROM a10 a JOIN a10 b ON a.x = b.x")).await;
    assert!((2 * x..2 * x + 2).contains(&keys), "{keys}");
    let above = pushed(&of("SELECT a.x FROM a10 a JOIN a10 b ON a.y = b.y WHERE a.x + b.x > 0")).await;
    assert!((2 * x + 5..2 * x + 7).contains(&above), "{above}");
    assert_eq!(pushed(&of("SELECT x, count(*) AS n FROM a10 GROUP BY x HAVING x > 0")).await, x + 2);
    assert_eq!(pushed(&of("SELECT s FROM (SELECT sum(x) AS s FROM a10) WHERE s > 0")).await, 3);
    assert_eq!(pushed(&of("SELECT x FROM (SELECT x FROM a10 LIMIT 5) WHERE x > 0")).await, 3);
    assert_eq!(pushed(&of("SELECT max(x) FROM a10")).await, 0);
    let inside = pushed(&of("SELECT y FROM a0 WHERE EXISTS (SELECT 1 FROM a10 WHERE x > 0)")).await;
    assert!(inside > x + 2, "{inside}");
}
