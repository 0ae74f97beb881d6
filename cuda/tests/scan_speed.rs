//! Speed of stored rows on a device, for `cuda/check`: of their products with queries, and of whole
//! questions about a store.

use std::sync::Arc;
use std::time::Instant;

use crate::check::Table;
use crate::common::*;
use crate::scan::{ALL, on_device};
use gstore_cuda::{Cuda, CudaScan, Runtime};
use gstore_query::influence::*;
use gstore_query::kernel::{Queries, RowBlock, RowProducts};
use gstore_store::*;
use half::f16;

/// Speed of the products of a resident block of rows in half precision with some queries, from one thread:
/// what is measured, and the figures.
pub fn timed<R: Runtime>(on: &Cuda<R>, [rows, dim, width]: [usize; 3], repeats: u32) -> (String, String) {
    let (scan, mut n) = (CudaScan::with_budget(on.clone(), ALL), Numbers(1));
    let values: Vec<f16> = (0..rows * dim).map(|_| f16::from_f32(n.next())).collect();
    let queries = Queries::new(&n.vector(width * dim), dim, &[]);
    let block = RowBlock { key: (0, 0), values: Values::F16(&values) };
    let (chosen, factors) = ((0..rows).collect::<Vec<_>>(), vec![1.0; rows]);
    let mut out = vec![0.0; rows * width];
    let mut multiply = || scan.scaled_dots(&block, &chosen, &queries, &[0], &factors, &mut out).unwrap();
    multiply();
    let begun = Instant::now();
    (0..repeats).for_each(|_| multiply());
    let seconds = begun.elapsed().as_secs_f64() / f64::from(repeats);
    let (bytes, sums) = ((rows * dim * 2) as f64, (rows * dim * width) as f64);
    let found = format!(
        "{:.1} us, {:.1} GB/s, {:.2} Tflop/s",
        seconds * 1e6,
        bytes / seconds / 1e9,
        2.0 * sums / seconds / 1e12
    );
    (format!("a block of {rows} x {dim} f16 with {width} queries"), found)
}

/// A store about which questions are asked.
#[derive(Debug, Clone, Copy)]
pub struct Questions {
    pub rows: usize,
    pub dim: usize,
    /// How often each question is asked.
    pub repeats: u32,
}

impl Questions {
    /// Rows for which times are required.
    pub const ASKED: usize = 1_000_000;
}

/// Query vectors of a question, and the milliseconds within which it has to be answered.
const TARGETS: [(&str, usize, f64); 2] = [("one", 1, 12.0), ("many", 64, 20.0)];

/// Random vectors that the rows of a large store are made of: of each row in turn the next one, which begins one
/// value later each time it is used again.
const RANDOM: usize = 509;

/// The values of a row.
fn values_of(vectors: &[Vec<f32>], row: usize) -> Vec<f32> {
    let vector = &vectors[row % vectors.len()];
    let (before, after) = vector.split_at(row / vectors.len() % vector.len());
    [after, before].concat()
}

/// Writes the rows of a store in half precision, one segment per thread.
fn write_rows(store: &TestStore, rows: usize, vectors: &[Vec<f32>]) {
    let mut feature = Feature::new("pool", "grad-adam", 0, present(&vectors[..1]));
    feature.dtype = DType::F16;
    let plan = JobPlan {
        command: "test".into(),
        identity: serde_json::json!({ "rows": rows }),
        features: vec![JobFeature { desc: feature.desc(), attrs: feature.attrs() }],
        detail: serde_json::Value::Null,
    };
    let mut job = store.store.start_job(plan).unwrap();
    let each = rows.div_ceil(threads()).max(1);
    let parts: Vec<(usize, SegmentWriter)> =
        (0..rows).step_by(each).map(|start| (start, job.segment_writer(0).unwrap())).collect();
    let written: Vec<SegmentWriter> = std::thread::scope(|scope| {
        let write = |(start, mut writer): (usize, SegmentWriter)| {
            scope.spawn(move || {
                for row in start..rows.min(start + each) {
                    let vector = values_of(vectors, row);
                    writer.push(row as u64, &vector, RowFlags::from_bits(0)).unwrap();
                }
                writer
            })
        };
        let running: Vec<_> = parts.into_iter().map(write).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for writer in written {
        job.seal(0, writer).unwrap();
    }
    job.publish(None, true).unwrap();
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Rows of the table: how fast whole questions are answered about a store whose rows are resident.
pub fn timed_questions<R: Runtime>(table: &mut Table, on: &Cuda<R>, asked: Questions) {
    let Questions { dim, repeats, .. } = asked;
    let scan = Arc::new(CudaScan::new(on.clone()).unwrap());
    // Rows may take half of the free memory.
    let room = on.runtime().free().unwrap() / 2 / (2 * dim);
    let rows = asked.rows.min(room);
    let (mut n, store) = (Numbers(9), TestStore::new());
    let vectors = n.vectors(RANDOM.min(rows), dim);
    store.dataset("pool", rows);
    let targets = TARGETS.map(|(name, count, _)| {
        store.dataset(name, count);
        Feature::new(name, "grad-sgd", 0, present(&n.vectors(count, dim)))
    });
    store.features(&targets, Some(store.run("warmup", &[Some(1.0)])));
    let begun = Instant::now();
    write_rows(&store, rows, &vectors);
    table.told(
        &format!("a store of {rows} x {dim} f16"),
        format!("written in {:.1} s", begun.elapsed().as_secs_f64()),
        format!("{} rows are asked for", Questions::ASKED),
    );
    for (name, count, limit) in TARGETS {
        // One query vector for each target sample.
        let spec = InfluenceSpec { within: Within::Max, ..ask("pool", name) };
        let ask_device = || {
            let begun = Instant::now();
            let prepared = on_device(&store, &spec, &scan);
            let planned = begun.elapsed();
            let found = prepared.top_k(Order::Best, 100, None, threads(), &GO).unwrap().rows;
            let found: Vec<(u64, u32)> = found.iter().map(|row| (row.row, row.score.to_bits())).collect();
            (found, begun.elapsed().as_secs_f64() * 1e3, planned.as_secs_f64() * 1e3)
        };
        let (first, brought, _) = ask_device();
        let mut times: Vec<(f64, f64)> = (0..repeats.max(1))
            .map(|_| {
                let (again, all, planned) = ask_device();
                assert_eq!(again, first, "the same question has another answer");
                (all, planned)
            })
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (all, planned) = times[times.len() / 2];
        let what = format!("{count} queries over {rows} x {dim} f16, resident");
        let found = format!("{all:.2} ms ({planned:.2} to plan; first {brought:.0})");
        match rows >= Questions::ASKED {
            true => table.row(&what, found, (format!("below {limit} ms"), all < limit)),
            false => table.told(&what, found, format!("below {limit} ms of {} rows", Questions::ASKED)),
        }
        let begun = Instant::now();
        let ranked = plan(&store, &spec).top_k(Order::Best, 100, None, threads(), &GO).unwrap().rows;
        let same = ranked.iter().map(|row| (row.row, row.score.to_bits())).eq(first.iter().copied());
        let found = format!("the same: {same} ({:.2} s)", begun.elapsed().as_secs_f64());
        table.row(
            &format!("the same question with {count} on the processor"),
            found,
            ("the same rows and bits".to_owned(), same),
        );
    }
    let all = rows * dim * 2;
    let kept = format!("{:.2} of {:.2} GB", scan.kept_bytes() as f64 / 1e9, all as f64 / 1e9);
    table.row("rows that stay on the device", kept, ("all".to_owned(), scan.kept_bytes() == all));
}
