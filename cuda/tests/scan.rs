//! Promise: stored rows that a device multiplies have the products, the scores and the order that the
//! processor finds, to the bit, whether they stay there or are copied each time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::common::world::{questions, world};
use crate::common::*;
use gstore_core::Cancel;
use gstore_cuda::{Cuda, CudaScan, Emulator, Precision, Runtime};
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_query::kernel::{Kernel, Queries, RowBlock, RowProducts, Scratch};
use gstore_store::*;
use half::f16;

const ALL: usize = usize::MAX;

/// Rows of more than one cell.
const ROWS: usize = 4500;
const DIM: usize = 33;

fn numbers(n: &mut Numbers, count: usize) -> Vec<f32> {
    (0..count).map(|_| n.next() * [1.0, 1e-6, 1e-38, 3e4][n.below(4)]).collect()
}

/// Random rows of each type, some or all, in module groups of any length, with few queries and with many.
pub fn products_have_the_bits_of_the_processor<R: Runtime>(on: &Cuda<R>) {
    let scans = [ALL, 0].map(|bytes| CudaScan::with_budget(on.clone(), bytes));
    for seed in 0..40 {
        let mut n = Numbers(seed);
        let (stored, dim, width) = (1 + n.below(150), 1 + n.below(200), 1 + n.below(40));
        let mut ends: Vec<usize> = (0..n.below(3)).map(|_| n.below(dim + 1)).collect();
        ends.push(dim);
        ends.sort_unstable();
        let starts = std::iter::once(&0).chain(&ends);
        let groups: Vec<Range<usize>> = starts.zip(&ends).map(|(start, end)| *start..*end).collect();
        // One group may count for nothing.
        let used: Vec<usize> = (n.below(2).min(groups.len() - 1)..groups.len()).collect();
        let first = n.below(stored);
        let chosen: Vec<usize> = match seed % 2 {
            0 => (first..stored).collect(),
            _ => (0..stored).filter(|row| *row == first || n.below(3) > 0).collect(),
        };
        let factors = numbers(&mut n, chosen.len() * groups.len());
        let singles = numbers(&mut n, stored * dim);
        let halves: Vec<f16> = singles.iter().map(|x| f16::from_f32(*x)).collect();
        let bytes: Vec<i8> = singles.iter().map(|_| n.bits() as i8).collect();
        let vectors = numbers(&mut n, width * dim);
        for (key, values) in
            [Values::F16(&halves), Values::F32(&singles), Values::I8(&bytes)].into_iter().enumerate()
        {
            let mut expected = vec![f32::NAN; chosen.len() * width];
            let queries = Queries::new(&vectors, dim, &groups);
            let (kernel, scratch) = (Kernel::detect(), &mut Scratch::default());
            kernel.scaled_dots_at(values, &chosen, &queries, &used, &factors, scratch, &mut expected);
            let block = RowBlock { key: (u128::from(seed), key), values };
            for scan in &scans {
                let queries = Queries::new(&vectors, dim, &groups);
                for again in [false, true] {
                    let mut found = vec![f32::NAN; expected.len()];
                    scan.scaled_dots(&block, &chosen, &queries, &used, &factors, &mut found).unwrap();
                    let bits = |all: &[f32]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&found), bits(&expected), "seed {seed}, type {key}, again {again}");
                }
            }
        }
    }
    assert!(scans[0].kept_bytes() > 0 && scans[1].kept_bytes() == 0);
}

/// A line of the table: how fast one thread has the products of a block of rows in half precision, which
/// stays on the device, with so many queries.
pub fn timed<R: Runtime>(on: &Cuda<R>, [rows, dim, width]: [usize; 3], repeats: u32) -> String {
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
    format!(
        "table | scan of {rows} x {dim} f16 with {width} queries | {:.1} GB/s | {:.2} Tflop/s",
        bytes / seconds / 1e9,
        2.0 * sums / seconds / 1e12
    )
}

fn scan_in(memory: usize, budget: usize) -> Arc<CudaScan<Emulator>> {
    let on = Cuda::new(Emulator::with_memory(memory), Precision::Single);
    Arc::new(CudaScan::with_budget(on, budget))
}

/// Lends questions a device.
#[derive(Debug)]
struct OnDevice(Arc<CudaScan<Emulator>>);

impl Encoder for OnDevice {
    fn encode(&self, _: &EncodeRequest<'_>, _: &Cancel) -> Result<EncodedSamples, EncoderError> {
        Err(EncoderError::Failed("there are no models".into()))
    }

    fn products(&self) -> Result<Option<Arc<dyn RowProducts>>, EncoderError> {
        let products: Arc<dyn RowProducts> = self.0.clone();
        Ok(Some(products))
    }
}

fn on_device(store: &TestStore, spec: &InfluenceSpec, scan: &Arc<CudaScan<Emulator>>) -> Prepared {
    let device = Arc::new(OnDevice(scan.clone()));
    Prepared::with_encoder(&store.snapshot(), spec, Some(device)).unwrap()
}

/// Every score of a question, why rows have none, and the first rows from both ends, with the bits of scores.
fn answers(prepared: &Prepared) -> String {
    let all: Vec<_> =
        scores(prepared).into_iter().map(|(row, (score, s))| (row, score.to_bits(), s)).collect();
    let ends = [Order::Best, Order::Worst].map(|order| first(prepared, order, 5));
    format!("{all:?} {:?} {ends:?}", excluded(prepared))
}

fn first(prepared: &Prepared, order: Order, k: usize) -> Vec<(u64, Option<u32>, u32)> {
    let rows = prepared.top_k(order, k, None, 2, &GO).unwrap().rows;
    rows.iter().map(|scored| (scored.row, scored.pos, scored.score.to_bits())).collect()
}

#[test]
fn products_have_the_bits_of_the_processor_on_the_emulator() {
    products_have_the_bits_of_the_processor(&Cuda::new(Emulator::default(), Precision::Single));
}

/// What `cuda/check` measures runs, on a small block.
#[test]
fn scans_that_are_timed_give_numbers() {
    let line = timed(&Cuda::new(Emulator::default(), Precision::Single), [70, 40, 3], 2);
    assert!(line.starts_with("table | scan of 70 x 40 f16 with 3 queries |"), "{line}");
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let scan = scan_in(ALL, ALL);
    let rows = [1.0f32; 12];
    let block = RowBlock { key: (0, 0), values: Values::F32(&rows) };
    let queries = Queries::new(&[1.0; 8], 4, &[]);
    let refused = |block: &RowBlock<'_>, chosen: &[usize], groups: &[usize], factors: usize, out: usize| {
        scan.scaled_dots(block, chosen, &queries, groups, &vec![1.0; factors], &mut vec![0.0; out]).is_err()
    };
    assert!(!refused(&block, &[0, 2], &[0], 2, 4) && !refused(&block, &[], &[0], 0, 0));
    for (chosen, groups, factors, out) in
        [(&[2, 0], 0, 2, 4), (&[1, 3], 0, 2, 4), (&[0, 1], 1, 2, 4), (&[0, 1], 0, 1, 4), (&[0, 1], 0, 2, 5)]
    {
        assert!(refused(&block, chosen, &[groups], factors, out), "{chosen:?}, {groups}, {factors}, {out}");
    }
    let signs = RowBlock { key: (0, 1), values: Values::I1(Signs::new(&[0; 3], 1)) };
    assert!(refused(&signs, &[0, 2], &[0], 2, 4));
}

#[test]
fn a_question_has_the_same_answer_on_a_device() {
    for seed in 0..4 {
        let world = world(seed).normal();
        for dtype in DType::ALL {
            let (store, scan) = (world.store(dtype), scan_in(ALL, ALL));
            let asked = questions().into_iter().filter(|spec| spec.missing != Missing::Error);
            for spec in asked.step_by(11) {
                let (here, there) = (plan(&store, &spec), on_device(&store, &spec, &scan));
                assert_eq!(answers(&here), answers(&there), "seed {seed} {dtype} {spec:?}");
            }
            // Signs are the processor's.
            assert_eq!(scan.kept_bytes() > 0, dtype != DType::I1);
        }
    }
}

/// Two checkpoints of rows in half precision, some of which are deleted.
fn store(per_token: bool) -> TestStore {
    let (mut n, store) = (Numbers(7), TestStore::new());
    let count = if per_token { ROWS / 2 } else { ROWS };
    store.dataset("pool", count).dataset("val", 40);
    let mut features = Vec::new();
    for c in 0..2 {
        let rows = n.vectors(ROWS, DIM);
        let mut feature = match per_token {
            false => Feature::new("pool", "grad-adam", c, present(&rows)),
            true => {
                let tokens = rows.chunks(2).map(|two| {
                    let tokens = two.iter().enumerate().map(|(at, v)| (3 + at as u32, v.clone(), 0));
                    Some(tokens.collect())
                });
                Feature::of_tokens("pool", "grad-adam", c, tokens.collect())
            }
        };
        feature.dtype = DType::F16;
        features.extend([feature, Feature::new("val", "grad-sgd", c, present(&n.vectors(40, DIM)))]);
    }
    store.features(&features, Some(store.run("warmup", &[Some(0.7), Some(0.2)])));
    let gone = RowSet::from_rows((0..count as u64).filter(|row| row % 5 == 3 || (100..300).contains(row)));
    let pool = store.snapshot();
    store.store.delete(pool.dataset("pool").unwrap(), &gone, DeleteOptions::default()).unwrap();
    store
}

#[test]
fn blocks_stay_from_one_question_to_the_next_as_far_as_they_fit() {
    let store = store(false);
    // A query for each target sample, of which estimates are made on the processor.
    let spec = InfluenceSpec { within: Within::Max, ..ask("pool", "val") };
    let expected = [Order::Best, Order::Worst].map(|order| first(&plan(&store, &spec), order, 20));
    let (of_cell, of_all) = (4096 * DIM * 2, 2 * ROWS * DIM * 2);
    let asked = |scan: &Arc<CudaScan<Emulator>>, order| {
        let before = scan.runtime().bytes_written();
        let found = first(&on_device(&store, &spec, scan), order, 20);
        (found, scan.runtime().bytes_written() - before)
    };
    for (budget, stays) in [(ALL, of_all), (of_cell - 1, of_all - 2 * of_cell), (0, 0)] {
        let scan = scan_in(ALL, budget);
        let (best, brought) = asked(&scan, Order::Best);
        let (worst, again) = asked(&scan, Order::Worst);
        assert_eq!([best, worst], expected, "in {budget} bytes");
        assert_eq!(scan.kept_bytes(), stays, "in {budget} bytes");
        assert!(brought > of_all && brought - again == stays, "{brought}, then {again} bytes");
        // Every product came from the device.
        assert!(scan.runtime().bytes_read() > 2 * 2 * 40 * 4 * ROWS / 2);
    }
}

#[test]
fn many_rankings_and_tokens_are_scanned_on_a_device() {
    let spec = ask("pool", "val");
    let (each, tokens) = (store(false), store(true));
    let scan = scan_in(ALL, ALL);
    let lists = |prepared: &Prepared| {
        let request = EachRequest {
            each: Each::Sample,
            order: Order::Best,
            k: 3,
            filter: None,
            threads: 2,
            memory: 1 << 30,
        };
        let found = prepared.top_k_each(&request, &GO).unwrap().rankings;
        found.into_iter().flat_map(|list| list.rows).map(|s| (s.row, s.score.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(lists(&on_device(&each, &spec, &scan)), lists(&plan(&each, &spec)));
    assert_eq!(scan.kept_bytes(), 2 * ROWS * DIM * 2);
    let spec = InfluenceSpec { per_token: true, ..spec };
    let found = first(&on_device(&tokens, &spec, &scan), Order::Best, 50);
    assert_eq!(found, first(&plan(&tokens, &spec), Order::Best, 50));
    assert_eq!(scan.kept_bytes(), 2 * 2 * ROWS * DIM * 2);
}

/// A model is loaded once rows are kept.
#[test]
fn blocks_make_room_for_something_else() {
    let (store, spec) = (store(false), InfluenceSpec { fold: Fold::Mean, ..ask("pool", "val") });
    let (all, scan) = (2 * ROWS * DIM * 2, scan_in(ALL, ALL));
    assert!(!scan.make_room(), "nothing is kept");
    let asked = || first(&on_device(&store, &spec, &scan), Order::Best, 20);
    let expected = asked();
    assert_eq!(scan.kept_bytes(), all);
    assert!(scan.make_room());
    assert_eq!(scan.kept_bytes(), 0);
    assert!(!scan.make_room(), "nothing is kept any more");
    assert_eq!(asked(), expected);
    assert!((1..=all / 2).contains(&scan.kept_bytes()), "{} of {all} bytes", scan.kept_bytes());
}

/// Something else took the memory that there was for blocks.
#[test]
fn blocks_give_way_where_the_device_has_too_little_memory() {
    let (store, spec) = (store(false), InfluenceSpec { fold: Fold::Mean, ..ask("pool", "val") });
    let expected = first(&plan(&store, &spec), Order::Best, 20);
    let all = 2 * ROWS * DIM * 2;
    let scan = scan_in(all + 1000, ALL);
    assert_eq!(first(&on_device(&store, &spec, &scan), Order::Best, 20), expected);
    assert!(scan.kept_bytes() < all, "{} of {all} bytes", scan.kept_bytes());

    let none = scan_in(1000, ALL);
    let error = on_device(&store, &spec, &none).top_k(Order::Best, 20, None, 2, &GO).unwrap_err();
    assert!(matches!(error, QueryError::Device(_)), "{error}");
    assert!(error.to_string().contains("out of memory"), "{error}");
}

/// Other threads have the memory that a product needs, and give it back.
#[test]
fn products_wait_for_one_another_where_the_device_has_room_for_one() {
    const ROWS: usize = 256;
    const DIM: usize = 64;
    let (values, vector) = (Numbers(3).vector(ROWS * DIM), Numbers(4).vector(DIM));
    let scan = scan_in(ROWS * DIM * 4 * 3 / 2, 0);
    let queries = Queries::new(&vector, DIM, &[]);
    let (chosen, factors) = ((0..ROWS).collect::<Vec<_>>(), vec![1.0; ROWS]);
    let product = |key: usize| {
        let block = RowBlock { key: (0, key), values: Values::F32(&values) };
        let mut out = vec![0.0; ROWS];
        scan.scaled_dots(&block, &chosen, &queries, &[0], &factors, &mut out).unwrap();
        out
    };
    let expected = product(0);
    std::thread::scope(|scope| {
        let (product, expected) = (&product, &expected);
        for key in 1..9 {
            scope.spawn(move || assert_eq!(&product(key), expected));
        }
    });
}
