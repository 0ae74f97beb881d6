//! Promise: an answer from files that are not in memory is that from files that are, bit by bit and in every
//! mode, also where reads past the system's memory fail or are not to be had; damage is found the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::cold::{ColdVfs, Direct};
use crate::common::*;
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_query::kernel::{
    BlockKey, EstimatedRows, Folding, KeptRows, Kernel, ProductsError, Queries, RowBlock, RowProducts,
    Scratch,
};
use gstore_query::sketch::{self, SketchOptions};
use gstore_store::vfs::Vfs;
use gstore_store::{DType, EncodedSamples, Store};

const ROWS: usize = 9_000;
const K: usize = 20;

/// A pool at two checkpoints, with a sketch, in files most of which end inside a sector.
fn store(dtype: DType) -> TestStore {
    let mut numbers = Numbers(21);
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset_of("val", &[Some("x"), Some("y"), Some("x")]);
    let mut features = Vec::new();
    for c in 0..2 {
        let mut pool = Feature::new("pool", "grad-sgd", c, present(&numbers.vectors(ROWS, 70)));
        for i in (5..ROWS).step_by(401) {
            pool.rows[i].as_mut().unwrap().1 = 1;
        }
        // The checkpoints are cut at different rows.
        (pool.cut, pool.dtype) = (1_300 + 250 * c, dtype);
        features.push(pool);
        features.push(Feature::new("val", "grad-sgd", c, present(&numbers.vectors(3, 70))));
    }
    store.features(&features, Some(store.run("warmup", &[Some(0.6), Some(0.4)])));
    let snapshot = store.snapshot();
    for feature in snapshot.features_of("pool") {
        let reader = snapshot.open_feature(feature).unwrap();
        sketch::build(&store.store, &reader, &SketchOptions::default(), &mut |_| {}, &GO).unwrap();
    }
    let files = files(&store.path());
    let inside = |file: &&PathBuf| !fs_err::metadata(file).unwrap().len().is_multiple_of(4096);
    assert!(files.len() > 10 && files.iter().filter(inside).count() > 10);
    store
}

/// Segments and indexes.
fn files(store: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![store.join("segments"), store.join("indexes")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn modes() -> Vec<Mode> {
    let sketch = |planes: Option<&[Plane]>, certified| {
        let planes = planes.map(<[Plane]>::to_vec);
        Mode::Sketch(SketchMode { planes, certified, ..SketchMode::default() })
    };
    vec![
        Mode::Exact,
        sketch(None, false),
        sketch(None, true),
        sketch(Some(&[Plane::Sign, Plane::Nibble]), false),
        sketch(Some(&[Plane::Int8]), false),
    ]
}

fn prepared(vfs: Arc<dyn Vfs>, store: &TestStore, spec: &InfluenceSpec) -> Prepared {
    let store = Store::open_on(vfs, &store.path()).unwrap();
    Prepared::new(&store.snapshot().unwrap(), spec).unwrap()
}

/// Rankings, as bits.
type Answer = Vec<Vec<(u64, u32, u32)>>;

fn bits(rows: &[Scored]) -> Vec<(u64, u32, u32)> {
    rows.iter().map(|row| (row.row, row.score.to_bits(), row.subtask)).collect()
}

/// Both ends, some rows only, and a ranking for each subtask and for each sample.
fn answers(plan: &Prepared, threads: usize) -> Result<Answer, QueryError> {
    let mut all = Vec::new();
    let mut few = RowMask::new();
    (0..ROWS as u64)
        .filter(|row| row % 37 == 0 || (2_000..4_000).contains(row))
        .for_each(|row| few.insert(row));
    let few = RowFilter::single(few);
    for filter in [None, Some(&few)] {
        for order in [Order::Best, Order::Worst] {
            all.push(bits(&plan.top_k(order, K, filter, threads, &GO)?.rows));
        }
    }
    for each in [Each::Subtask, Each::Sample] {
        let request = EachRequest { threads, ..request(each, K) };
        let found = plan.top_k_each(&request, &GO)?;
        all.extend(found.rankings.iter().map(|ranking| bits(&ranking.rows)));
    }
    Ok(all)
}

#[test]
fn answers_do_not_depend_on_where_bytes_come_from() {
    let store = store(DType::F16);
    for (i, mode) in modes().into_iter().enumerate() {
        let spec = InfluenceSpec { mode, ..ask("pool", "val") };
        let want = answers(&plan(&store, &spec), 2).unwrap();
        assert!(want.iter().all(|ranking| ranking.len() == K));
        // The ways of failing do not depend on the mode.
        let others = if i == 0 { 3 } else { 1 };
        for direct in &[Direct::Works, Direct::MostlyFails, Direct::Missing][..others] {
            let vfs = ColdVfs::new(*direct);
            let plan = prepared(vfs.clone(), &store, &spec);
            // The second time every block was verified before.
            for threads in [1, 3] {
                assert!(answers(&plan, threads).unwrap() == want, "{:?} {direct:?}", spec.mode);
            }
            assert_eq!(vfs.reads() == 0, *direct == Direct::Missing, "{:?}", spec.mode);
            let read = || plan.top_k(Order::Best, K, None, 2, &GO).unwrap().summary.disk;
            // While many other rankings read ahead, this one does not.
            let some = (0..200).map(|_| read()).find(|read| i > 0 || read.bytes() > 0).unwrap();
            let other = if *direct == Direct::Missing { some.direct } else { some.ordinary };
            assert_eq!(other, 0, "{some:?}");
        }
    }
}

#[test]
fn codes_of_few_rows_are_read_without_those_between_them() {
    let (rows, dim) = (1_000, 2_048);
    let mut numbers = Numbers(22);
    let store = TestStore::of(&gradients(&numbers.vectors(rows, dim), &numbers.vectors(1, dim)));
    sketch::build(&store.store, &store.reader(), &SketchOptions::default(), &mut |_| {}, &GO).unwrap();
    let mut few = RowMask::new();
    [3, 4, 500, 990].into_iter().for_each(|row| few.insert(row));
    let few = RowFilter::single(few);
    let exact = ask("pool", "val");
    let want = plan(&store, &exact).top_k(Order::Best, 2, Some(&few), 1, &GO).unwrap();
    let mode = Mode::Sketch(SketchMode { planes: Some(vec![Plane::Int8]), ..SketchMode::default() });
    let vfs = ColdVfs::new(Direct::Works);
    let plan = prepared(vfs.clone(), &store, &InfluenceSpec { mode, ..exact });
    let got = plan.top_k(Order::Best, 2, Some(&few), 2, &GO).unwrap();
    assert_eq!(bits(&got.rows), bits(&want.rows));
    // A chunk of 64 KiB for each of three places, of 2 MB; also where they are asked for twice.
    assert!((1..=2 * 3 * 65_536).contains(&vfs.bytes()), "{} bytes", vfs.bytes());
}

/// A device that keeps every block, and multiplies single ones as the processor does.
#[derive(Debug)]
struct Keeper;

impl RowProducts for Keeper {
    fn scaled_dots(
        &self,
        block: &RowBlock<'_>,
        chosen: &[usize],
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        out: &mut [f32],
    ) -> Result<(), ProductsError> {
        let (kernel, mut scratch) = (Kernel::detect(), Scratch::default());
        kernel.scaled_dots_at(block.values, chosen, queries, groups, factors, &mut scratch, out);
        Ok(())
    }

    fn keeps(&self, _: BlockKey) -> bool {
        true
    }

    fn kept_dots(
        &self,
        _: KeptRows<'_>,
        _: &Queries,
        _: &[usize],
        _: &[f32],
        _: &mut [f32],
    ) -> Result<bool, ProductsError> {
        Ok(false)
    }

    fn estimates(
        &self,
        _: &[EstimatedRows<'_>],
        _: Folding<'_>,
        _: &mut [[f32; 2]],
    ) -> Result<bool, ProductsError> {
        Ok(false)
    }

    fn make_room(&self) -> bool {
        false
    }
}

impl Encoder for Keeper {
    fn encode(&self, _: &EncodeRequest<'_>, _: &Cancel) -> Result<EncodedSamples, QueryError> {
        Err(QueryError::Encoder("there are no models".into()))
    }

    fn products(&self) -> Result<Option<Arc<dyn RowProducts>>, QueryError> {
        Ok(Some(Arc::new(Keeper)))
    }
}

#[test]
fn rows_that_are_too_few_for_a_device_are_read_ahead_although_it_keeps_them() {
    let mut numbers = Numbers(23);
    let store = TestStore::new();
    store.dataset("pool", 60).dataset("val", 1);
    let mut pool = Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(60, 70)));
    // So small that blocks are read whole for any of their rows.
    pool.cut = 6;
    store.features(&[pool, Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(1, 70)))], None);
    let snapshot = store.snapshot();
    let reader = snapshot.open_feature(snapshot.features_of("pool")[0]).unwrap();
    sketch::build(&store.store, &reader, &SketchOptions::default(), &mut |_| {}, &GO).unwrap();
    let want = bits(&plan(&store, &ask("pool", "val")).top_k(Order::Best, 2, None, 1, &GO).unwrap().rows);
    let mode = Mode::Sketch(SketchMode { planes: Some(vec![Plane::Int8]), ..SketchMode::default() });
    let spec = InfluenceSpec { mode, ..ask("pool", "val") };
    // While many other rankings read ahead, this one does not.
    let reads_ahead = (0..200).any(|_| {
        let vfs = ColdVfs::new(Direct::Works);
        let cold = Store::open_on(vfs.clone(), &store.path()).unwrap().snapshot().unwrap();
        let plan = Prepared::with_encoder(&cold, &spec, Some(Arc::new(Keeper))).unwrap();
        assert_eq!(bits(&plan.top_k(Order::Best, 2, None, 2, &GO).unwrap().rows), want);
        vfs.spans().iter().any(|(path, _)| path.iter().any(|part| part == "segments"))
    });
    assert!(reads_ahead);
}

#[test]
fn damage_is_found_in_what_was_read_ahead() {
    let store = store(DType::F16);
    let of_pool = files(&store.path()).into_iter().find(|file| {
        file.components().any(|part| part.as_os_str() == "segments")
            && fs_err::metadata(file).unwrap().len() > 50_000
    });
    let path = of_pool.unwrap();
    let whole = fs_err::read(&path).unwrap();
    // The first block begins before, and the tail after.
    for at in [whole.len() / 3, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, &bytes).unwrap();
        let spec = ask("pool", "val");
        let said = |vfs: Arc<dyn Vfs>| {
            let error = prepared(vfs, &store, &spec).top_k(Order::Best, K, None, 2, &GO).unwrap_err();
            assert!(error.is_damage(), "{error}");
            error.to_string()
        };
        let want = said(Arc::new(gstore_store::vfs::OsVfs));
        for direct in [Direct::Works, Direct::MostlyFails, Direct::Missing] {
            let vfs = ColdVfs::new(direct);
            assert_eq!(said(vfs.clone()), want, "{direct:?}");
            assert_eq!(vfs.reads() == 0, direct == Direct::Missing);
        }
    }
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, whole).unwrap();
}

/// Where memory or a bus changes what a sound disk gave.
#[test]
fn bytes_that_a_direct_read_changes_are_damage_or_are_not_used() {
    let store = store(DType::F16);
    let exact = ask("pool", "val");
    let want = plan(&store, &exact).top_k(Order::Best, K, None, 2, &GO).unwrap();
    let vfs = ColdVfs::new(Direct::Flips("segments"));
    let error = prepared(vfs, &store, &exact).top_k(Order::Best, K, None, 2, &GO).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("digest"), "{error}");

    let planes = Some(vec![Plane::Sign, Plane::Nibble]);
    let mode = Mode::Sketch(SketchMode { planes, ..SketchMode::default() });
    let spec = InfluenceSpec { mode, ..exact };
    let vfs = ColdVfs::new(Direct::Flips("indexes"));
    let got = prepared(vfs, &store, &spec).top_k(Order::Best, K, None, 2, &GO).unwrap();
    assert_eq!(bits(&got.rows), bits(&want.rows));
    let notes = got.summary.notes.join("\n");
    assert!(notes.contains("damaged") && notes.contains("not used"), "{notes}");
    let got = plan(&store, &spec).top_k(Order::Best, K, None, 2, &GO).unwrap();
    assert!(got.summary.notes.is_empty() && bits(&got.rows) == bits(&want.rows), "{:?}", got.summary.notes);
}

#[test]
fn a_damaged_sketch_that_was_read_ahead_is_not_used() {
    let store = store(DType::F16);
    let planes = Some(vec![Plane::Sign, Plane::Nibble]);
    let mode = Mode::Sketch(SketchMode { planes, ..SketchMode::default() });
    let spec = InfluenceSpec { mode, ..ask("pool", "val") };
    let want = plan(&store, &ask("pool", "val")).top_k(Order::Best, K, None, 2, &GO).unwrap();
    for file in files(&store.path()) {
        if file.components().any(|part| part.as_os_str() == "indexes") {
            let mut bytes = fs_err::read(&file).unwrap();
            // Records, signs and bytes are there.
            for part in [1, 40, 80] {
                let at = bytes.len() * part / 100;
                bytes[at] ^= 16;
            }
            fs_err::remove_file(&file).unwrap();
            fs_err::write(&file, bytes).unwrap();
        }
    }
    for vfs in [ColdVfs::new(Direct::Works), ColdVfs::new(Direct::Missing)] {
        let got = prepared(vfs, &store, &spec).top_k(Order::Best, K, None, 2, &GO).unwrap();
        assert_eq!(bits(&got.rows), bits(&want.rows));
        let notes = got.summary.notes.join("\n");
        assert!(notes.contains("damaged") && notes.contains("not used"), "{notes}");
    }
}
