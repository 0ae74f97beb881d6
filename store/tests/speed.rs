//! Figures, not promises: how fast segments are written, opened and read here. Run with
//! `--ignored --nocapture`.

use crate::common::*;
use gstore_store::*;
use std::time::Instant;

#[test]
#[ignore = "prints figures"]
fn segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    const ROWS: u64 = 20_000;
    add(&store, 0..ROWS).unwrap();
    for (dtype, dim) in [(DType::F16, 8192), (DType::F32, 8192), (DType::I8, 8192), (DType::I1, 8192)] {
        let f = feature("grad-sgd", dim, dtype);
        let vectors: Vec<Vec<f32>> = (0..64).map(|r| vector(r, dim)).collect();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let start = Instant::now();
        let mut w = job.segment_writer(0).unwrap();
        for row in 0..ROWS {
            w.push(row, &vectors[row as usize % 64], RowFlags::empty()).unwrap();
        }
        let pushed = start.elapsed();
        job.seal(0, w).unwrap();
        let sealed = start.elapsed();
        let mb = job.sealed(0)[0].bytes() as f64 / 1e6;
        job.publish(None, true).unwrap();
        let snapshot = store.snapshot().unwrap();
        let reader = snapshot.open_feature(snapshot.feature_by_key(&f.desc.key()).unwrap()).unwrap();
        let mut buffer = BlockBuffer::new();
        let mut pass = || {
            let start = Instant::now();
            let mut sum = 0u64;
            for b in reader.blocks() {
                let block = reader.read_block(*b, &mut buffer).unwrap();
                sum += block.rows[0];
            }
            (start.elapsed(), sum)
        };
        let (first, a) = pass();
        let (second, b) = pass();
        assert_eq!(a, b);
        let rate = |d: std::time::Duration| mb / d.as_secs_f64();
        println!(
            "{dtype}: {mb:.0} MB, push {:.0} MB/s, with flush {:.0} MB/s, first touch {:.0} MB/s, map {second:?} for {} blocks",
            rate(pushed),
            rate(sealed),
            rate(first),
            reader.blocks().len()
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let f = feature("grad-sgd", 64, DType::F16);
    filled(&path, 3000, &f, 10);
    for _ in 0..3 {
        let start = Instant::now();
        let store = Store::open(&path).unwrap();
        let opened = start.elapsed();
        let snapshot = store.snapshot().unwrap();
        let start = Instant::now();
        let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        let feature = start.elapsed();
        let start = Instant::now();
        reader.row_set().unwrap();
        println!(
            "{} segments: store {opened:?}, feature {feature:?}, rows {:?}",
            reader.part().segments.len(),
            start.elapsed()
        );
    }
    let store = Store::open(&path).unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        store.snapshot().unwrap();
    }
    println!("unchanged snapshot {:?}", start.elapsed() / 1000);
}

#[test]
#[ignore = "prints figures"]
fn samples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path).unwrap();
    let start = Instant::now();
    add(&store, 0..100_000).unwrap();
    println!("100,000 samples added in {:?}", start.elapsed());
    let start = Instant::now();
    add(&store, 0..100_000).unwrap();
    println!("found again in {:?}", start.elapsed());
    fs_err::remove_file(path.join("ledger.redb")).unwrap();
    let start = Instant::now();
    add(&store, 100_000..100_001).unwrap();
    println!("ledger made anew and one sample added in {:?}", start.elapsed());
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let rows: Vec<u64> = (0..1000u64).map(|i| i * 7919 % 100_000).collect();
    for _ in 0..2 {
        let start = Instant::now();
        reader.get(&rows, &["record"]).unwrap();
        println!("1000 scattered records in {:?}", start.elapsed());
    }
}

#[test]
#[ignore = "prints figures"]
fn cpu_of_writing() {
    fn cpu() -> f64 {
        let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap()) / 100.0
    }
    fn sys() -> f64 {
        let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[12].parse::<f64>().unwrap()) / 100.0
    }
    for (dtype, rows) in [(DType::F16, 30_000u64), (DType::F32, 15_000), (DType::I8, 30_000)] {
        let dir = crate::common::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        add(&store, 0..rows).unwrap();
        let f = feature("grad-sgd", 8192, dtype);
        let vectors: Vec<Vec<f32>> = (0..64).map(|r| vector(r, 8192)).collect();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let (c, s) = (cpu(), sys());
        let mut w = job.segment_writer(0).unwrap();
        for row in 0..rows {
            w.push(row, &vectors[row as usize % 64], RowFlags::empty()).unwrap();
        }
        job.seal(0, w).unwrap();
        let mb = job.sealed(0)[0].bytes() as f64 / 1e6;
        println!("{dtype}: {mb:.0} MB, user {:.2} s, system {:.2} s", cpu() - c, sys() - s);
    }
}
