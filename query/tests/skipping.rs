//! Promise: what is not read because of its length, or because few rows of a block are wanted, changes
//! neither the ranking nor its counts; and a damaged row that is wanted is an error.

use std::ops::ControlFlow;

use crate::common::*;
use gstore_query::influence::*;
use gstore_store::{DType, Store};

const ROWS: usize = 8_200;

/// A pool whose first rows of every thousand are long, cut into small segments.
fn store(dtype: DType, groups: &[u32], flagged: bool, equal: bool) -> TestStore {
    let dim = groups.iter().sum::<u32>() as usize;
    let mut numbers = Numbers(5);
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset_of("val", &[Some("a"), Some("a"), Some("b")]);
    let mut features = Vec::new();
    for c in 0..2 {
        let mut rows = numbers.vectors(ROWS, dim);
        for (i, row) in rows.iter_mut().enumerate() {
            let length = if i % 1000 < 50 { 100.0 } else { 10.0 / (1.0 + (i / 200) as f32) };
            row.iter_mut().for_each(|x| *x = if equal { 1.0 } else { *x * length });
        }
        let mut feature = Feature::new("pool", "grad-sgd", c, present(&rows));
        if flagged {
            (60..ROWS).step_by(900).for_each(|i| feature.rows[i].as_mut().unwrap().1 = 1);
        }
        (feature.dtype, feature.groups, feature.cut) = (dtype, groups.to_vec(), 50 * (c + 1));
        features.push(feature);
        let mut target = Feature::new("val", "grad-sgd", c, present(&numbers.vectors(3, dim)));
        (target.groups, target.dtype) = (groups.to_vec(), dtype);
        features.push(target);
    }
    store.features(&features, Some(store.run("warmup", &[Some(0.7), Some(0.3)])));
    store
}

/// All scores by a stream, which skips nothing, in the order of a ranking.
fn sorted(plan: &Prepared, order: Order) -> (Vec<Scored>, ScanSummary) {
    let mut rows = Vec::new();
    let take = |part: &[Scored]| {
        rows.extend_from_slice(part);
        ControlFlow::Continue(())
    };
    let summary = plan.scores(None, 2, &GO, take).unwrap();
    rows.sort_by(|a, b| {
        let by_score = a.score.total_cmp(&b.score);
        (if order == Order::Best { by_score.reverse() } else { by_score }).then(a.row.cmp(&b.row))
    });
    (rows, summary)
}

#[test]
fn short_blocks_are_not_read_and_the_answer_is_the_same() {
    for dtype in DType::ALL {
        for (flagged, equal) in [(false, false), (true, false), (false, true)] {
            let store = store(dtype, &[5, 16, 3], flagged, equal);
            for (within, across) in [
                (Within::Mean, Across::Max),
                (Within::Max, Across::Min),
                (Within::Sum, Across::Sum),
                (Within::Min, Across::Mean),
            ] {
                let modules = [None, Some("module0=0.25,module2".parse().unwrap())];
                for modules in modules {
                    let spec = InfluenceSpec { within, across, sim: Sim::Dot, modules, ..ask("pool", "val") };
                    let plan = plan(&store, &spec);
                    for order in [Order::Best, Order::Worst] {
                        let (whole, summary) = sorted(&plan, order);
                        for k in [1, 7, 120] {
                            for threads in [1, 3] {
                                let found = plan.top_k(order, k, None, threads, &GO).unwrap();
                                assert_eq!(found.rows, whole[..k], "{spec:?}");
                                assert_eq!(
                                    (found.summary.eligible, found.summary.excluded),
                                    (summary.eligible, summary.excluded)
                                );
                                assert_eq!(found.summary.scanned, summary.scanned);
                                if threads == 1 && !equal && across == Across::Max && spec.modules.is_none() {
                                    assert!(
                                        found.summary.bytes_read * 2 < summary.bytes_read,
                                        "{dtype} {k}: {} of {} bytes",
                                        found.summary.bytes_read,
                                        summary.bytes_read
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn filtered_rows_are_counted_as_without_skipping() {
    let store = store(DType::F16, &[24], false, false);
    let plan = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") });
    let filter = RowFilter::single((0..ROWS as u64).filter(|row| row % 7 != 0).collect());
    let found = plan.top_k(Order::Best, 10, Some(&filter), 1, &GO).unwrap();
    let want: Vec<Scored> =
        sorted(&plan, Order::Best).0.into_iter().filter(|s| s.row % 7 != 0).take(10).collect();
    assert_eq!(found.rows, want);
    assert_eq!(found.summary.eligible, (0..ROWS as u64).filter(|row| row % 7 != 0).count() as u64);
}

#[test]
fn few_rows_of_a_block_are_read_by_themselves() {
    let mut numbers = Numbers(6);
    let (rows, dim) = (12_000, 256);
    for dtype in [DType::F32, DType::F16, DType::I8] {
        let mut features = gradients(&numbers.vectors(rows, dim), &numbers.vectors(2, dim));
        features.iter_mut().for_each(|f| (f.dtype, f.groups) = (dtype, vec![100, 156]));
        features[0].rows[4096].as_mut().unwrap().1 = 1;
        let store = TestStore::of(&features);
        let whole = plan(&store, &ask("pool", "val")).top_k(Order::Best, rows, None, 2, &GO).unwrap();
        // Scattered, in runs, at the ends of cells.
        let scattered: Vec<u64> = (0..rows as u64).filter(|row| row % 100 == 3).collect();
        let clustered: Vec<u64> = (5000..5120).collect();
        let ends = vec![0, 1, 4095, 4096, 8191, 8192, rows as u64 - 1];
        for wanted in [scattered, clustered, ends] {
            let mask: RowMask = wanted.iter().copied().collect();
            let filter = RowFilter::single(mask.clone());
            // Another snapshot, in which nothing was read yet.
            let other = Store::open(store.store.path()).unwrap();
            let fresh = Prepared::new(&other.snapshot().unwrap(), &ask("pool", "val")).unwrap();
            for _ in 0..2 {
                let some = fresh.top_k(Order::Best, rows, Some(&filter), 1, &GO).unwrap();
                let want: Vec<Scored> = whole.rows.iter().filter(|s| mask.contains(s.row)).copied().collect();
                assert_eq!(some.rows, want);
                assert_eq!(some.summary.scanned, mask.len());
                let share = some.summary.bytes_read as f64 / whole.summary.bytes_read as f64;
                let rows_share = mask.len() as f64 / rows as f64;
                // The small columns of a block are read in full: 33 bytes a row for 256 values.
                assert!(share < 1.1 * rows_share + 0.15, "{share} of the bytes for {rows_share} of the rows");
            }
        }
    }
}

/// Changes a byte of the stored vector that begins with these values.
fn damage(store: &TestStore, vector: &[f32]) {
    let wanted: Vec<u8> = vector[..4].iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut folders = vec![store.path().join("segments")];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs_err::read(&path).unwrap();
            if let Some(at) = bytes.windows(16).position(|window| window == wanted) {
                bytes[at + 5] ^= 64;
                return fs_err::write(path, bytes).unwrap();
            }
        }
    }
    panic!("the vector is in no segment");
}

#[test]
fn a_damaged_row_is_an_error_when_it_is_wanted_and_only_then() {
    let mut numbers = Numbers(9);
    let vectors = numbers.vectors(1000, 64);
    let store = TestStore::of(&gradients(&vectors, &numbers.vectors(1, 64)));
    let ask = || plan(&store, &ask("pool", "val"));
    let few = |rows: &[u64]| RowFilter::single(rows.iter().copied().collect());
    let before = ask().top_k(Order::Best, 3, Some(&few(&[3, 500, 999])), 1, &GO).unwrap();
    damage(&store, &vectors[501]);
    let after = ask().top_k(Order::Best, 3, Some(&few(&[3, 500, 999])), 1, &GO).unwrap();
    assert_eq!(after.rows, before.rows);
    let error = ask().top_k(Order::Best, 3, Some(&few(&[3, 501, 999])), 1, &GO).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("check of row 501"), "{error}");
    assert!(ask().top_k(Order::Best, 3, None, 1, &GO).unwrap_err().is_damage());
}
