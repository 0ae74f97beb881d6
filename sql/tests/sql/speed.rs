//! Start and answer times of queries, on 4,480 rows x 4 checkpoints x 8,192 f16:
//! `cargo test --release -- --ignored --nocapture speed`.

use std::time::Instant;

use gstore_core::Cancel;
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_sql::{SqlOptions, SqlRunner};
use gstore_store::Store;

use crate::fixture;

#[test]
#[ignore = "measures; needs --release to mean anything"]
fn speed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fixture::large(&path, 4480, 64, 8192, 4);
    let run = Cancel::new();
    for threads in [1, 2] {
        for _ in 0..3 {
            let start = Instant::now();
            let snapshot = Store::open(&path).unwrap().snapshot().unwrap();
            let opened = start.elapsed();
            let runner = SqlRunner::new(snapshot, SqlOptions { threads, ..SqlOptions::default() }).unwrap();
            let ready = start.elapsed();
            let mut laps = Vec::new();
            for sql in [
                "SELECT id, score, subtask, source FROM influence('pool', 'target') ORDER BY score DESC LIMIT 100",
                "SELECT id, score, subtask, source FROM influence('pool', 'target') ORDER BY score DESC LIMIT 100",
                "SELECT id, score FROM influence('pool', 'target') WHERE source = 'math' ORDER BY score DESC LIMIT 100",
                "SELECT * FROM influence('pool', 'target')",
                "SELECT source, count(*) FROM pool GROUP BY source",
                "SELECT * FROM pool",
                "SELECT * FROM gstore.features",
            ] {
                let lap = Instant::now();
                let mut rows = runner.run(sql, &run).unwrap();
                let style = TableStyle::default();
                let mut writer = ResultWriter::new(Format::Csv, rows.schema(), Vec::new(), style).unwrap();
                rows.try_for_each(|batch| writer.write(&batch?)).unwrap();
                writer.finish().unwrap();
                laps.push(format!("{:.1}", lap.elapsed().as_secs_f64() * 1e3));
            }
            println!(
                "{threads} threads: store {:.1} ms, session {:.1} ms, then {} ms",
                opened.as_secs_f64() * 1e3,
                (ready - opened).as_secs_f64() * 1e3,
                laps.join(", ")
            );
        }
    }
}
