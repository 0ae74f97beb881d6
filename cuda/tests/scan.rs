//! Promise: stored rows that a device multiplies have the products, scores and order that the processor
//! finds, to the bit, whether they stay on the device or are copied each time.

use std::ops::Range;
use std::sync::Arc;

use crate::common::world::{questions, world};
use crate::common::*;
use gstore_core::Cancel;
use gstore_cuda::{Cuda, CudaScan, Emulator, Precision, Runtime};
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_query::kernel::{
    Combined, EstimatedRows, Folding, KeptRows, Kernel, Queries, RowBlock, RowProducts, Scratch,
};
use gstore_store::*;
use half::f16;

pub const ALL: usize = usize::MAX;

/// Rows of more than one cell.
const ROWS: usize = 4500;
const DIM: usize = 33;

fn numbers(n: &mut Numbers, count: usize) -> Vec<f32> {
    (0..count).map(|_| n.next() * [1.0, 1e-6, 1e-38, 3e4][n.below(4)]).collect()
}

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|x| f16::from_f32(*x)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn on_the_emulator() -> Cuda<Emulator> {
    Cuda::new(Emulator::default(), Precision::Single)
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
        // One group may have zero weight.
        let used: Vec<usize> = (n.below(2).min(groups.len() - 1)..groups.len()).collect();
        let first = n.below(stored);
        let chosen: Vec<usize> = match seed % 2 {
            0 => (first..stored).collect(),
            _ => (0..stored).filter(|row| *row == first || n.below(3) > 0).collect(),
        };
        let factors = numbers(&mut n, chosen.len() * groups.len());
        let singles = numbers(&mut n, stored * dim);
        let rounded = halves(&singles);
        let bytes: Vec<i8> = singles.iter().map(|_| n.bits() as i8).collect();
        let vectors = numbers(&mut n, width * dim);
        for (key, values) in
            [Values::F16(&rounded), Values::F32(&singles), Values::I8(&bytes)].into_iter().enumerate()
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
                    assert_eq!(bits(&found), bits(&expected), "seed {seed}, type {key}, again {again}");
                }
            }
        }
    }
    assert!(scans[0].kept_bytes() > 0 && scans[1].kept_bytes() == 0);
}

/// Rows of several resident blocks, which are multiplied at once: with one query, few and many, in groups
/// whose start allows wide loads and in others.
pub fn products_of_many_blocks_have_the_bits_of_the_processor<R: Runtime>(on: &Cuda<R>) {
    for seed in 0..24 {
        let mut n = Numbers(seed);
        let (scan, kernel) = (CudaScan::with_budget(on.clone(), ALL), Kernel::detect());
        let dim = [64, 200, 129, 1040][n.below(4)];
        let width = [1, 1, 2, 7, 40][n.below(5)];
        let cut = [dim, 48, 41][n.below(3)];
        let groups = if cut == dim { vec![0..dim] } else { vec![0..cut, cut..dim] };
        let used: Vec<usize> = (0..groups.len()).collect();
        let vectors = numbers(&mut n, width * dim);
        let queries = Queries::new(&vectors, dim, &groups);
        let blocks: Vec<Vec<f16>> = (0..5)
            .map(|_| {
                let count = (1 + n.below(70)) * dim;
                halves(&numbers(&mut n, count))
            })
            .collect();
        let (mut kept, mut places, mut factors, mut expected) = (vec![], vec![], vec![], vec![]);
        for (key, values) in blocks.iter().enumerate() {
            let block = RowBlock { key: (1, key), values: Values::F16(values) };
            let stored = values.len() / dim;
            let chosen: Vec<usize> =
                (0..stored).filter(|row| key == 2 || row % 3 != seed as usize % 3).collect();
            let own = numbers(&mut n, chosen.len() * groups.len());
            let mut sums = vec![f32::NAN; chosen.len() * width];
            assert!(!scan.keeps(block.key));
            if !chosen.is_empty() {
                let scratch = &mut Scratch::default();
                kernel.scaled_dots_at(block.values, &chosen, &queries, &used, &own, scratch, &mut sums);
            }
            // Loads the block, whose first row may not be wanted.
            let (all, ones) = ((0..stored).collect::<Vec<_>>(), vec![1.0; stored * groups.len()]);
            scan.scaled_dots(&block, &all, &queries, &used, &ones, &mut vec![0.0; stored * width]).unwrap();
            assert!(scan.keeps(block.key));
            kept.push((block.key, chosen.len()));
            places.extend(chosen);
            factors.extend(own);
            expected.extend(sums);
        }
        let mut found = vec![f32::NAN; expected.len()];
        let rows = KeptRows { blocks: &kept, places: &places };
        assert!(scan.kept_dots(rows, &queries, &used, &factors, &mut found).unwrap());
        assert_eq!(bits(&found), bits(&expected), "seed {seed}, {width} queries, {dim} values");

        // Neither rows that a block does not have, nor blocks that are not resident.
        let mut beyond = places.clone();
        beyond[0] = blocks[0].len() / dim;
        let rows = KeptRows { blocks: &kept, places: &beyond };
        assert!(scan.kept_dots(rows, &queries, &used, &factors, &mut found).is_err() || kept[0].1 == 0);
        let rows = KeptRows { blocks: &kept[1..], places: &places };
        assert!(scan.kept_dots(rows, &queries, &used, &factors, &mut found).is_err() || kept[0].1 == 0);
        kept[1].0 = (2, 1);
        let rows = KeptRows { blocks: &kept, places: &places };
        assert!(!scan.kept_dots(rows, &queries, &used, &factors, &mut found).unwrap());
    }
}

/// A sum that is great at first, to which many terms just below half of its last place are added one by one.
pub fn estimates_of_many_groups_are_as_close_as_they_say<R: Runtime>(on: &Cuda<R>) {
    const GROUPS: usize = 100;
    const EACH: usize = 8;
    const CHECKPOINTS: usize = 4;
    const WIDTH: usize = 9;
    let (scan, kernel) = (CudaScan::with_budget(on.clone(), ALL), Kernel::detect());
    let spans: Vec<Range<usize>> = (0..GROUPS).map(|group| group * EACH..(group + 1) * EACH).collect();
    let used: Vec<usize> = (0..GROUPS).collect();
    let (factors, dim) = (vec![1.0; GROUPS], GROUPS * EACH);
    let (mut exact, mut parts) = ([0.0f32; WIDTH], Vec::new());
    for c in 0..CHECKPOINTS {
        let (mut row, mut query) = (vec![f16::ZERO; dim], vec![0.0f32; dim]);
        for group in 0..GROUPS {
            let small = 0.5f32.powi(12);
            let (value, factor) =
                if c + group == 0 { (1.0, 1.0) } else { (small * (1.0 - 0.5f32.powi(10)), small) };
            (row[group * EACH], query[group * EACH]) = (f16::from_f32(value), factor);
        }
        let queries = Queries::new(&query.repeat(WIDTH), dim, &spans);
        let block = RowBlock { key: (1, c), values: Values::F16(&row) };
        let (scratch, mut sums) = (&mut Scratch::default(), [f32::NAN; WIDTH]);
        kernel.scaled_dots_at(block.values, &[0], &queries, &used, &factors, scratch, &mut sums);
        exact.iter_mut().zip(&sums).for_each(|(exact, sum)| *exact += sum);
        scan.scaled_dots(&block, &[0], &queries, &used, &factors, &mut sums).unwrap();
        parts.push((queries, [(block.key, 1)]));
    }
    let asked: Vec<EstimatedRows<'_>> = parts
        .iter()
        .map(|(queries, blocks)| EstimatedRows {
            rows: KeptRows { blocks, places: &[0] },
            slots: &[0],
            queries,
            groups: &used,
            factors: &factors,
        })
        .collect();
    let folding = Folding { subtasks: &[0..WIDTH], within: Combined::Max, across: Combined::Max };
    let mut scores = [[f32::NAN; 2]];
    assert!(scan.estimates(&asked, folding, &mut scores).unwrap());
    let [found, error] = scores[0];
    assert!((found - exact[0]).abs() <= error, "{found} and {}, {error}", exact[0]);
}

/// Scores of random rows at one checkpoint or two, each of which lies within the bounds of its estimate.
pub fn estimates_are_as_close_as_they_say<R: Runtime>(on: &Cuda<R>) {
    let folds = [
        (Combined::Max, Within::Max, Combined::Max, Across::Max),
        (Combined::Mean, Within::Mean, Combined::Min, Across::Min),
        (Combined::Sum, Within::Sum, Combined::Mean, Across::Mean),
        (Combined::Min, Within::Min, Combined::Sum, Across::Sum),
    ];
    for seed in 0..16 {
        let mut n = Numbers(seed);
        let (scan, kernel) = (CudaScan::with_budget(on.clone(), ALL), Kernel::detect());
        let (dim, width) = ([32, 40, 136, 520, 1032][n.below(5)], [9, 64, 70][n.below(3)]);
        let groups = if n.below(2) == 0 { vec![0..dim] } else { vec![0..8, 8..dim] };
        let used: Vec<usize> = (n.below(2).min(groups.len() - 1)..groups.len()).collect();
        let (checkpoints, stored) = (1 + n.below(2), [1, 1, 1, 190][n.below(4)] + n.below(90));
        // Numbers of similar magnitude, or of very different ones.
        let is_even = seed % 2 == 0;
        let vector = |n: &mut Numbers, count| if is_even { n.vector(count) } else { numbers(n, count) };
        let mut exact = vec![0.0f32; stored * width];
        let (mut parts, mut largest) = (Vec::new(), 0.0);
        for c in 0..checkpoints {
            let queries = Queries::new(&vector(&mut n, width * dim), dim, &groups);
            let values = halves(&vector(&mut n, stored * dim));
            let factors = vector(&mut n, stored * groups.len());
            let block = RowBlock { key: (u128::from(seed), c), values: Values::F16(&values) };
            let (all, mut sums) = ((0..stored).collect::<Vec<_>>(), vec![f32::NAN; stored * width]);
            let scratch = &mut Scratch::default();
            kernel.scaled_dots_at(block.values, &all, &queries, &used, &factors, scratch, &mut sums);
            exact.iter_mut().zip(&sums).for_each(|(exact, sum)| *exact += sum);
            scan.scaled_dots(&block, &all, &queries, &used, &factors, &mut sums).unwrap();
            // Lengths of rows and queries are at most the root of their values, factors at most 1.
            largest += dim as f32;
            parts.push((queries, factors, [(block.key, stored)], all));
        }
        let subtasks = vec![0..3, 3..width];
        let (own_within, within, own_across, across) = folds[seed as usize / 2 % 4];
        let terms = Terms { within, across, subtasks: subtasks.clone() };
        // Row i has place stored - i; nothing has place 0.
        let slots: Vec<usize> = (1..=stored).rev().collect();
        let asked: Vec<EstimatedRows<'_>> = parts
            .iter()
            .map(|(queries, factors, blocks, places)| EstimatedRows {
                rows: KeptRows { blocks, places },
                slots: &slots,
                queries,
                groups: &used,
                factors,
            })
            .collect();
        let folding = Folding { subtasks: &subtasks, within: own_within, across: own_across };
        let mut scores = vec![[f32::NAN; 2]; stored + 1];
        assert!(scan.estimates(&asked, folding, &mut scores).unwrap());
        let most = if own_within == Combined::Sum { width } else { 2 };
        for (row, values) in exact.chunks_exact(width).enumerate() {
            let ([found, error], (expected, _)) = (scores[stored - row], terms.score(values));
            assert!(error.is_finite() && expected.is_finite(), "seed {seed}, row {row}: {error}");
            let off = (f64::from(found) - f64::from(expected)).abs();
            assert!(off <= f64::from(error), "seed {seed}, row {row}: {found} and {expected}, {error}");
            assert!(!is_even || error < most as f32 * largest * 2e-3, "seed {seed}, row {row}: {error}");
        }

        // Neither other rows, nor groups with other bounds, nor blocks that are not resident.
        let other = KeptRows { blocks: &[((u128::from(seed), 9), stored)], places: &parts[0].3 };
        let gone = EstimatedRows { rows: other, ..asked[0] };
        assert!(!scan.estimates(&[gone], folding, &mut scores).unwrap());
        let odd = Queries::new(&vec![1.0; width * dim], dim, &[0..dim - 3, dim - 3..dim]);
        let factors = vec![1.0; 2 * stored];
        let odd = EstimatedRows { queries: &odd, groups: &[0], factors: &factors, ..asked[0] };
        assert!(!scan.estimates(&[odd], folding, &mut scores).unwrap());
        let beyond = vec![stored + 1; stored];
        let beyond = EstimatedRows { slots: &beyond, ..asked[0] };
        assert!(scan.estimates(&[beyond], folding, &mut scores).is_err());
    }
}

/// Values that are not finite, or may overflow, have no bound; others next to them do.
pub fn estimates_of_what_is_not_finite_say_nothing<R: Runtime>(on: &Cuda<R>) {
    const DIM: usize = 64;
    const WIDTH: usize = 9;
    let scan = CudaScan::with_budget(on.clone(), ALL);
    let mut values = vec![f16::ONE; 4 * DIM];
    values[5] = f16::NAN;
    values[DIM + 40] = f16::INFINITY;
    let block = RowBlock { key: (0, 0), values: Values::F16(&values) };
    let places = [0, 1, 2, 3];
    let ask = |vectors: &[f32], last: f32| {
        let queries = Queries::new(vectors, DIM, &[]);
        let factors = [1.0, 1.0, 1.0, last];
        scan.scaled_dots(&block, &places, &queries, &[0], &factors, &mut [0.0; 4 * WIDTH]).unwrap();
        let rows = KeptRows { blocks: &[(block.key, 4)], places: &places };
        let own = EstimatedRows { rows, slots: &places, queries: &queries, groups: &[0], factors: &factors };
        let folding = Folding { subtasks: &[0..WIDTH], within: Combined::Max, across: Combined::Max };
        let mut scores = [[0.0; 2]; 4];
        assert!(scan.estimates(&[own], folding, &mut scores).unwrap());
        scores.map(|[_, error]| error.is_finite())
    };
    let mut vectors = vec![1.0; WIDTH * DIM];
    assert_eq!(ask(&vectors, 1.0), [false, false, true, true]);
    assert_eq!(ask(&vectors, 1e30), [false, false, true, false]);
    assert_eq!(ask(&vectors, f32::NAN), [false, false, true, false]);
    vectors[DIM] = 1e30;
    assert_eq!(ask(&vectors, 1.0), [false; 4]);
    vectors[DIM] = f32::NAN;
    assert_eq!(ask(&vectors, 1.0), [false; 4]);
}

fn scan_in(memory: usize, budget: usize) -> Arc<CudaScan<Emulator>> {
    let on = Cuda::new(Emulator::with_memory(memory), Precision::Single);
    Arc::new(CudaScan::with_budget(on, budget))
}

/// Gives questions a device.
#[derive(Debug)]
struct OnDevice(Arc<dyn RowProducts>);

impl Encoder for OnDevice {
    fn encode(&self, _: &EncodeRequest<'_>, _: &Cancel) -> Result<EncodedSamples, QueryError> {
        Err(QueryError::Encoder("there are no models".into()))
    }

    fn products(&self) -> Result<Option<Arc<dyn RowProducts>>, QueryError> {
        Ok(Some(self.0.clone()))
    }
}

pub fn on_device<R: Runtime>(store: &TestStore, spec: &InfluenceSpec, scan: &Arc<CudaScan<R>>) -> Prepared {
    let products: Arc<dyn RowProducts> = scan.clone();
    let device = Arc::new(OnDevice(products));
    Prepared::with_encoder(&store.snapshot(), spec, Some(device)).unwrap()
}

/// All scores of a question, why rows have none, and the first rows from both ends, with the bits of scores.
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
    products_have_the_bits_of_the_processor(&on_the_emulator());
}

#[test]
fn products_of_many_blocks_have_the_bits_of_the_processor_on_the_emulator() {
    products_of_many_blocks_have_the_bits_of_the_processor(&on_the_emulator());
}

#[test]
fn estimates_are_as_close_as_they_say_on_the_emulator() {
    let on = on_the_emulator();
    estimates_are_as_close_as_they_say(&on);
    estimates_of_what_is_not_finite_say_nothing(&on);
    estimates_of_many_groups_are_as_close_as_they_say(&on);
    // As much shared memory as an RTX 4090 has.
    let on = Cuda::new(Emulator::default().with_shared(99 << 10), Precision::Single);
    estimates_are_as_close_as_they_say(&on);
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
            // Signs are multiplied by the processor.
            assert_eq!(scan.kept_bytes() > 0, dtype != DType::I1);
        }
    }
}

/// Two checkpoints of rows in half precision, some of which are deleted.
fn store(per_token: bool) -> TestStore {
    store_of(per_token, DIM)
}

/// The same with rows of that many values; a few samples lack the second checkpoint, or have no gradient
/// there.
fn store_of(per_token: bool, dim: usize) -> TestStore {
    let (mut n, store) = (Numbers(7), TestStore::new());
    let count = if per_token { ROWS / 2 } else { ROWS };
    store.dataset("pool", count).dataset("val", 40);
    let mut features = Vec::new();
    for c in 0..2 {
        let rows = n.vectors(ROWS, dim);
        let mut feature = match per_token {
            false => {
                let mut rows = present(&rows);
                if c == 1 && dim != DIM {
                    rows[7] = None;
                    rows[11] = Some((vec![0.0; dim], 1));
                }
                Feature::new("pool", "grad-adam", c, rows)
            }
            true => {
                let tokens = rows.chunks(2).map(|two| {
                    let tokens = two.iter().enumerate().map(|(at, v)| (3 + at as u32, v.clone(), 0));
                    Some(tokens.collect())
                });
                Feature::of_tokens("pool", "grad-adam", c, tokens.collect())
            }
        };
        feature.dtype = DType::F16;
        features.extend([feature, Feature::new("val", "grad-sgd", c, present(&n.vectors(40, dim)))]);
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
    // A query for each target sample, whose estimates are computed on the processor.
    let spec = InfluenceSpec { within: Within::Max, ..ask("pool", "val") };
    let expected = [Order::Best, Order::Worst].map(|order| first(&plan(&store, &spec), order, 20));
    let (of_cell, of_all) = (4096 * DIM * 2, 2 * ROWS * DIM * 2);
    let asked = |scan: &Arc<CudaScan<Emulator>>, order| {
        let counts = |scan: &CudaScan<Emulator>| [scan.runtime().bytes_written(), scan.runtime().launches()];
        let before = counts(scan);
        let found = first(&on_device(&store, &spec, scan), order, 20);
        let [written, launches] = counts(scan);
        (found, written - before[0], launches - before[1])
    };
    for (budget, stays) in [(ALL, of_all), (of_cell - 1, of_all - 2 * of_cell), (0, 0)] {
        let scan = scan_in(ALL, budget);
        let (best, brought, launches) = asked(&scan, Order::Best);
        let (worst, again, fewer) = asked(&scan, Order::Worst);
        assert_eq!([best, worst], expected, "in {budget} bytes");
        assert_eq!(scan.kept_bytes(), stays, "in {budget} bytes");
        // With fewer products, their groups are described fewer times.
        let saved = stays..stays + 1000;
        assert!(brought > of_all && saved.contains(&(brought - again)), "{brought}, then {again} bytes");
        // Resident rows are multiplied at once, across blocks and cells: one product for each checkpoint.
        assert!(
            if stays == of_all { fewer == 2 && launches > 2 } else { fewer == launches },
            "{launches}, {fewer}"
        );
        // Every product came from the device.
        assert!(scan.runtime().bytes_read() > 2 * 2 * 40 * 4 * ROWS / 2);
    }
}

/// Once all rows are resident, few are multiplied exactly: those whose estimates may rank.
#[test]
fn with_many_queries_a_device_estimates_scores_and_the_answer_is_the_same() {
    let (store, scan) = (store_of(false, 64), scan_in(ALL, ALL));
    let all = ROWS * 2 * 40 * 4;
    for (within, across, missing) in [
        (Within::Max, Across::Max, Missing::Exclude),
        (Within::Min, Across::Sum, Missing::Renormalise),
        (Within::Mean, Across::Max, Missing::Exclude),
    ] {
        let spec = InfluenceSpec { within, across, missing, ..ask("pool", "val") };
        for order in [Order::Best, Order::Worst] {
            let expected = first(&plan(&store, &spec), order, 20);
            for again in [false, true] {
                let before = scan.runtime().bytes_read();
                assert_eq!(first(&on_device(&store, &spec, &scan), order, 20), expected, "{within} {order}");
                let read = scan.runtime().bytes_read() - before;
                assert!(!again || read < all / 5, "{read} of {all} bytes");
            }
        }
    }
    // Memory that is too small for estimates is enough for products.
    let kept = 2 * ROWS * 64 * 2;
    let short = scan_in(kept + 580_000, ALL);
    let spec = InfluenceSpec { within: Within::Max, missing: Missing::Exclude, ..ask("pool", "val") };
    let expected = first(&plan(&store, &spec), Order::Best, 20);
    for _ in 0..3 {
        assert_eq!(first(&on_device(&store, &spec, &short), Order::Best, 20), expected);
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

/// Something else took the memory that was meant for blocks.
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

/// Other threads hold the memory that a product needs, and free it.
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
