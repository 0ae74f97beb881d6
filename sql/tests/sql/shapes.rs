//! Every shape of query over `influence()`, against the same query over its rows in memory, where
//! nothing can be pushed.

use std::sync::Arc;

use datafusion::catalog::MemTable;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use gstore_sql::SqlSession;

use crate::slt;

/// `{T}` stands for the relation of scores, `{T2}` for one over two pools, `{T3}` for one of tokens. `{DESC}`
/// and `{ASC}` are orders by the score alone, whose ties the ranking breaks by pool, row and position; in
/// memory that must be said. An `=` before the statement: the order of rows is part of the answer.
const SHAPES: &[&str] = &[
    "=SELECT row, score FROM {T} ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} ORDER BY score DESC NULLS LAST LIMIT 4",
    "=SELECT row, score FROM {T} ORDER BY {ASC} LIMIT 3",
    "=SELECT id FROM {T} ORDER BY {DESC} LIMIT 4",
    "=SELECT row, score FROM {T} ORDER BY score DESC, row LIMIT 5",
    "=SELECT row, score FROM {T} ORDER BY score DESC, row DESC LIMIT 5",
    "=SELECT row, score FROM {T} ORDER BY score DESC, id LIMIT 5",
    "=SELECT row, score FROM {T} ORDER BY -score, row LIMIT 5",
    "=SELECT row, score FROM {T} ORDER BY score * 2, row LIMIT 5",
    "=SELECT row, score FROM {T} ORDER BY {DESC} LIMIT 3 OFFSET 2",
    "=SELECT row, score FROM {T} ORDER BY {DESC} OFFSET 7",
    "=SELECT row, score FROM {T} WHERE source <> 'math' ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE source = 'nothing' ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE length IS NULL ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE NOT ok ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE score > 0.1 ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE score < 0.1 ORDER BY {DESC} LIMIT 3",
    "=SELECT row, score FROM {T} WHERE score BETWEEN -0.3 AND 0.4 ORDER BY {ASC} LIMIT 2",
    "=SELECT row, score FROM {T} WHERE source = 'math' OR score > 0.2 ORDER BY {DESC} LIMIT 4",
    "=SELECT row, score FROM {T} WHERE subtask = 'b' ORDER BY {DESC} LIMIT 2",
    "=SELECT row, score FROM {T} WHERE subtask = source OR tokens > 50 ORDER BY {DESC} LIMIT 4",
    "=SELECT row, score FROM {T} WHERE row IN (1, 2, 3, 9) AND score > -1 ORDER BY {DESC} LIMIT 2",
    "=SELECT row, score FROM {T} WHERE row >= 3 AND row < 8 ORDER BY {DESC} LIMIT 9",
    "=SELECT row, score FROM {T} WHERE id LIKE 'p1%' ORDER BY {DESC}",
    "=SELECT row, score FROM {T} WHERE tokens_ > 1004 AND tokens < 90 ORDER BY {DESC} LIMIT 3",
    "=SELECT s AS t FROM (SELECT score AS s, source FROM {T}) WHERE source <> 'chat' ORDER BY s DESC LIMIT 3",
    "=WITH x AS (SELECT id AS i, score AS s FROM {T} WHERE ok) SELECT i FROM x ORDER BY s DESC LIMIT 2",
    "=SELECT row FROM {T} ORDER BY {DESC}",
    "=SELECT row FROM {T} ORDER BY {ASC}",
    "=SELECT row, rank() OVER (ORDER BY score DESC) AS r FROM {T} ORDER BY row",
    "=SELECT row, row_number() OVER (ORDER BY score DESC, row) AS r FROM {T} WHERE source <> 'code' ORDER BY row",
    "=SELECT score * 2 AS s2 FROM {T} ORDER BY {DESC} LIMIT 3",
    "=SELECT score * 2 AS s2 FROM {T} ORDER BY s2 DESC LIMIT 3",
    "=SELECT upper(source) AS u, score FROM {T} WHERE source <> 'math' ORDER BY {DESC} LIMIT 3 OFFSET 1",
    "=SELECT row, score FROM (SELECT * FROM {T} ORDER BY {DESC} LIMIT 6) ORDER BY {ASC} LIMIT 2",
    "=SELECT row, score FROM (SELECT * FROM {T} ORDER BY {DESC} LIMIT 6) WHERE source = 'chat' ORDER BY {DESC}",
    "=SELECT row, score FROM (SELECT * FROM {T} ORDER BY {DESC} LIMIT 6) ORDER BY row LIMIT 2",
    "=SELECT row FROM (SELECT * FROM {T} ORDER BY {DESC} LIMIT 6) t JOIN pool p USING (row) WHERE p.source = 'code' ORDER BY row",
    "=SELECT p.id, t.score FROM (SELECT * FROM {T} ORDER BY {DESC} LIMIT 3) t JOIN pool p ON p.row = t.row ORDER BY t.score DESC",
    "=SELECT t.id, t.score FROM {T} t JOIN pool p ON p.id = t.id WHERE p.source = 'math' ORDER BY t.score DESC, t.row LIMIT 2",
    "=SELECT t.id, v.n FROM {T} t JOIN (VALUES ('p1', 7), ('p8', 9)) v(i, n) ON t.id = v.i ORDER BY t.score DESC LIMIT 5",
    "=SELECT v.n, t.score FROM (VALUES ('p1', 7), ('zz', 9)) v(i, n) LEFT JOIN {T} t ON t.id = v.i ORDER BY v.n",
    "=SELECT t.row FROM {T} t LEFT JOIN (VALUES (1), (2)) v(r) ON t.row = v.r WHERE v.r IS NULL ORDER BY t.score DESC LIMIT 3",
    "=SELECT row FROM {T} WHERE id IN (SELECT id FROM pool WHERE source = 'code') ORDER BY {DESC} LIMIT 3",
    "=SELECT row FROM {T} WHERE id NOT IN (SELECT id FROM pool WHERE source = 'code') ORDER BY {DESC} LIMIT 3",
    "=SELECT row FROM {T} t WHERE EXISTS (SELECT 1 FROM pool p WHERE p.row = t.row AND p.ok) ORDER BY {DESC} LIMIT 3",
    "=SELECT row FROM {T} WHERE score > (SELECT avg(score) FROM {T}) ORDER BY {DESC}",
    "=SELECT a.row FROM {T} a JOIN {T} b ON a.row = b.row AND a.score = b.score ORDER BY a.score DESC LIMIT 4",
    "SELECT row, score FROM {T} WHERE score > 0 UNION ALL SELECT row, score FROM {T} WHERE source = 'math'",
    "=SELECT * FROM (SELECT row, score FROM {T} UNION ALL SELECT row, -score FROM {T}) ORDER BY score DESC, row LIMIT 4",
    "SELECT source, max(score), count(*), min(row) FROM {T} GROUP BY source",
    "=SELECT source, avg(score) AS a FROM {T} WHERE ok GROUP BY source HAVING count(*) > 1 ORDER BY a DESC LIMIT 2",
    "SELECT DISTINCT source FROM {T} WHERE score > -2",
    "SELECT DISTINCT ON (source) source, row FROM {T} ORDER BY source, score DESC, row",
    "SELECT count(*), count(length), sum(score) FROM {T}",
    "SELECT count(*) FROM {T} WHERE score > 0",
    "SELECT count(*) FROM (SELECT * FROM {T} LIMIT 5)",
    "SELECT max(score), min(score) FROM {T}",
    "=SELECT row FROM {T} LIMIT 4",
    "=SELECT row FROM {T} WHERE score > 0 LIMIT 2",
    "=SELECT row FROM {T} ORDER BY row LIMIT 4",
    "=SELECT row FROM {T} ORDER BY row DESC LIMIT 4",
    "=SELECT row FROM {T} LIMIT 3 OFFSET 4",
    "SELECT row FROM {T} LIMIT 0",
    "SELECT * FROM {T}",
    "SELECT * FROM {T} WHERE source = 'math' AND score > -1",
    "=SELECT record FROM {T} ORDER BY {DESC} LIMIT 2",
    "=SELECT row FROM {T} WHERE record LIKE '%pool 1%' ORDER BY {DESC} LIMIT 2",
    "SELECT id FROM {T} WHERE score > 5",
    "=SELECT id, record FROM {T} WHERE score > 5 ORDER BY {DESC} LIMIT 3",
    "SELECT id FROM {T} WHERE source = 'nothing'",
    "SELECT pool, id FROM {T2} WHERE score > 5",
    "=SELECT pool, row, score FROM {T2} ORDER BY {DESC2} LIMIT 5",
    "=SELECT pool, row FROM {T2} ORDER BY score DESC, pool, row LIMIT 5",
    "=SELECT pool, row FROM {T2} ORDER BY score DESC, row, pool LIMIT 5",
    "=SELECT pool, row FROM {T2} WHERE pool = 'extra' ORDER BY {DESC2} LIMIT 5",
    "=SELECT pool, row FROM {T2} WHERE pool <> 'pool' OR source = 'math' ORDER BY {ASC2} LIMIT 5",
    "=SELECT row FROM {T2} ORDER BY score DESC, row LIMIT 12",
    "=SELECT lang, length, ok FROM {T2} ORDER BY {DESC2} LIMIT 5",
    "SELECT pool, count(*), sum(length) FROM {T2} GROUP BY pool",
    "=SELECT pool, row FROM {T2} ORDER BY pool, row",
    "=SELECT pool, row FROM {T2} LIMIT 5",
    "SELECT * FROM {T3}",
    "=SELECT row, pos, score FROM {T3} ORDER BY {DESC3} LIMIT 7",
    "=SELECT row, pos, score FROM {T3} ORDER BY {ASC3}",
    "=SELECT row, pos FROM {T3} ORDER BY score DESC, row, pos LIMIT 6",
    "=SELECT row, pos FROM {T3} ORDER BY score DESC, row, pos DESC LIMIT 6",
    "=SELECT pos FROM {T3} ORDER BY score DESC, pos, row LIMIT 6",
    "=SELECT row, pos, source, record FROM {T3} WHERE source <> 'math' AND tokens < 90 ORDER BY {DESC3} LIMIT 5",
    "=SELECT row, pos, score FROM {T3} WHERE pos = 3 ORDER BY {DESC3} LIMIT 3",
    "=SELECT row, pos FROM {T3} WHERE pos > 1 OR source = 'code' ORDER BY {ASC3} LIMIT 4",
    "=SELECT row, pos FROM {T3} WHERE score > 0 LIMIT 4",
    "=SELECT row, pos FROM {T3} ORDER BY row, pos LIMIT 9",
    "=SELECT row, pos FROM {T3} ORDER BY row, pos DESC LIMIT 9",
    "=SELECT row, pos FROM {T3} LIMIT 5 OFFSET 3",
    "SELECT count(*), sum(pos), avg(score) FROM {T3}",
    "SELECT row, count(*), max(score) FROM {T3} WHERE row >= 3 AND row < 9 GROUP BY row",
    "=SELECT t.row, t.pos, p.source FROM {T3} t JOIN pool p USING (row) WHERE p.ok ORDER BY t.score DESC, t.row, t.pos LIMIT 5",
];

const T: &str = "influence('pool', 'target')";
const T2: &str = "influence('extra,pool', 'target')";
const T3: &str = "influence('pool', 'target', per_token => true)";

/// Runs every shape both ways.
pub async fn check(session: &SqlSession) {
    let memory = SessionContext::new();
    for (name, sql) in [
        ("t", format!("SELECT * FROM {T}")),
        ("t2", format!("SELECT * FROM {T2}")),
        ("t3", format!("SELECT * FROM {T3}")),
        ("pool", "SELECT * FROM pool".to_string()),
    ] {
        let result = session.run(&sql).await.unwrap();
        let batches = result.stream.try_collect().await.unwrap();
        let table = MemTable::try_new(Arc::clone(&result.schema), vec![batches]).unwrap();
        memory.register_table(name, Arc::new(table)).unwrap();
    }
    for shape in SHAPES {
        let (ordered, shape) = match shape.strip_prefix('=') {
            Some(rest) => (true, rest),
            None => (false, *shape),
        };
        let pushed = fill(shape, [T, T2, T3], ["", "", ""]);
        let mut found = slt::run(session, &pushed).await.unwrap_or_else(|e| panic!("{pushed}: {e}")).1;
        let plain = fill(shape, ["t", "t2", "t3"], [", row", ", pool, row", ", row, pos"]);
        let batches = memory.sql(&plain).await.unwrap().collect().await.unwrap();
        let mut expected: Vec<String> = batches.iter().flat_map(slt::lines).collect();
        if !ordered {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected, "{pushed}");
    }
}

/// Puts tables and, after the score, tie breakers into a shape.
fn fill(shape: &str, tables: [&str; 3], ties: [&str; 3]) -> String {
    let mut text = shape.to_string();
    for ((table, ties), mark) in tables.iter().zip(ties).zip(["", "2", "3"]) {
        text = text.replace(&format!("{{T{mark}}}"), table);
        text = text.replace(&format!("{{DESC{mark}}}"), &format!("score DESC{ties}"));
        text = text.replace(&format!("{{ASC{mark}}}"), &format!("score{ties}"));
    }
    text
}
