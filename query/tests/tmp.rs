//! tmp
use gstore_query::sql::*; use gstore_query::sql::output::*; use futures::StreamExt; use std::sync::Arc;
#[tokio::test(flavor = "multi_thread")]
async fn tmp() {
    let t = std::time::Instant::now();
    let s = SqlSession::new(Arc::new(gstore_store::Snapshot), SqlOptions::default()).unwrap();
    println!("session {:?}", t.elapsed());
    let long_or = format!("SELECT {} ", vec!["1"; 580].join("+"));
    let too_long = format!("SELECT {} ", vec!["1"; 680].join("+"));
    let cte = format!("SELECT count(*) FROM generate_series(1,10) WHERE {}", (0..190).map(|i| format!("value = {i}+1")).collect::<Vec<_>>().join(" OR "));
    let union = (0..99).map(|i| format!("SELECT {i} AS a FROM generate_series(1,1)")).collect::<Vec<_>>().join(" UNION ALL ");
    let nested = format!("SELECT {}1{}", "abs(".repeat(200), ")".repeat(200));
    let parens = format!("SELECT {}1{}", "(".repeat(100000), ")".repeat(100000));
    let minus = format!("SELECT {}1", "- ".repeat(500));
    let nots = format!("SELECT {} true", "NOT ".repeat(500));
    let case_ = format!("SELECT {} 1 {}", "CASE WHEN true THEN ".repeat(45), "END ".repeat(45));
    let subq = format!("SELECT {} 1 {}", "(SELECT ".repeat(45), ")".repeat(45));
    let arr = format!("SELECT {} 1 {}", "[".repeat(30000), "]".repeat(30000));
    for sql in ["SELECT 1 AS a, 2.5 AS b, 'x' AS c", "SHOW TABLES", "SHOW ALL", "DESCRIBE gstore.features", "SELECT * FROM gstore.datasets", "SELECT * FROM gstore.sample",
      "SELECT label, kindd FROM gstore.features", "selec 1", "SELECT 1; SELECT 2", "", "CREATE TABLE x AS SELECT 1", "DROP TABLE x", "INSERT INTO gstore.datasets VALUES (1)", "SET a = 1", "COPY (SELECT 1) TO '/tmp/x.csv'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x.csv'", "EXPLAIN SELECT count(*) FROM gstore.samples", "SELECT count(*) FROM gstore.samples",
      "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "SELECT * FROM '/etc/passwd'", "SELECT * FROM 'file:///etc/passwd'", "SELECT * FROM influence('a')", "SELECT * FROM influence('a', 'b', wihtin => 'max')", "SELECT *\nFROM influence('a', 'b',\n  within => 'mux')", "SELECT * FROM influence(a, b)", "SELECT * FROM influence('a','b', k => -1)","SELECT * FROM influence('a','b', k => 1, k => 2)","SELECT * FROM influence('a','b', weights => [1, 0.5], checkpoints => 'a,b', features => [], partial => true)","SELECT * FROM INFLUENCE('a','b', weights => [1, 0.5], checkpoints => [112, 224], partial => true)",
      "SELECT * FROM influenc('a')", "SELECT * FROM generate_series(1,3)", "SELECT * FROM generate_series(1,3) TABLESAMPLE (10 PERCENT)", "SELECT fooo(1)", "SELECT 'a' + 1", "SELECT 1 +", "SELECT 'abc", "BEGIN", "PREPARE x AS SELECT 1", "EXECUTE x", "EXPLAIN INSERT INTO a VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x", "DELETE FROM gstore.datasets", "TRUNCATE TABLE x", "SELECT * INTO y FROM gstore.datasets", "SELECT [1.5,2]::float[] AS v, encode('ab','hex') AS h, now() IS NULL AS n", "SELECT $1", "USE x", "ANALYZE TABLE x", "VACUUM", "SELECT l.value FROM generate_series(1,2) l, LATERAL influence('a', 'b', k => l.value)", "SELECT * FROM generate_series(1,3) a JOIN generate_series(2,5) b ON a.value=b.value", "SELECT value FROM generate_series(1,3) a JOIN generate_series(2,5) b ON a.value=b.value", "SELECT 1/0", "SELECT cast('x' as int)", "SELECT \"Row\" FROM gstore.samples", "SELECT ROW FROM gstore.samples", "SELECT samples.id FROM gstore.samples", "SELECT gstore.samples.id FROM gstore.samples", "SELECT datasets.id FROM gstore.samples", &long_or, &too_long, &cte, &union, &nested, &parens, &minus, &nots, &case_, &subq, &arr] {
        let t = std::time::Instant::now();
        println!("=== {}", sql.chars().take(150).collect::<String>());
        match s.run(sql).await {
            Err(e) => println!("error[{:?}]: {}", e.kind(), e.to_string().chars().take(400).collect::<String>()),
            Ok(mut r) => {
                let mut out = Vec::new();
                let mut w = ResultWriter::new(Format::Table, &r.schema, &mut out, TableStyle::default()).unwrap();
                let mut n = 0;
                let mut err = None;
                while let Some(b) = r.stream.next().await { match b { Ok(b) => { n += b.num_rows(); w.write(&b).unwrap(); } Err(e) => { err = Some(e); break } } }
                w.finish().unwrap();
                let text = String::from_utf8(out).unwrap();
                println!("{}{n} rows", text.lines().take(12).map(|l| format!("{}\n", l.chars().take(200).collect::<String>())).collect::<String>());
                if let Some(e) = err { println!("stream error[{:?}]: {e}", e.kind()); }
            }
        }
        if t.elapsed().as_millis() > 100 { println!("  took {:?}", t.elapsed()); }
    }
}
