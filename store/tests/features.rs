//! Promise: what a segment writer was given comes back, from the buffer and from the map, in any cut of
//! files.

use crate::common::*;
use gstore_store::*;

fn read_all(reader: &FeatureReader) -> Vec<(u64, Vec<f32>)> {
    let mut buffer = BlockBuffer::new();
    let dim = reader.part().desc.dim() as usize;
    let range = |group: &ModuleGroup| group.start as usize..(group.start + group.len) as usize;
    let groups: Vec<_> = reader.part().attrs.groups.iter().map(range).collect();
    let mut out = Vec::new();
    for cell in reader.cells() {
        for b in reader.blocks_in(cell) {
            let block = reader.read_block(b, &mut buffer).unwrap();
            assert_eq!(block.len(), b.rows());
            for (i, row) in block.rows.iter().enumerate() {
                assert_eq!(row / CELL_ROWS, cell);
                let mut v = vec![f32::NAN; dim];
                block.vector(i, &groups, &mut v);
                out.push((*row, v));
            }
        }
    }
    out
}

#[test]
fn vectors_come_back_in_every_type() {
    for (dtype, tolerance) in [(DType::F32, 0.0), (DType::F16, 5e-4), (DType::I8, 5e-3)] {
        let f = feature("grad-sgd", 40, dtype);
        let (_dir, _, store) = placed(|path| filled(path, 300, &f, 70));
        let snapshot = store.snapshot().unwrap();
        let part = snapshot.feature("grad-sgd@checkpoint-7").unwrap();
        assert_eq!((part.rows(), part.state, part.segments.len()), (300, FeatureState::Complete, 5));
        let reader = snapshot.open_feature(part).unwrap();
        let (first, second) = (read_all(&reader), read_all(&reader));
        assert_eq!(first, second, "the buffer and the map differ");
        assert_eq!(first.len(), 300);
        for (i, (row, v)) in first.iter().enumerate() {
            assert_eq!(*row, i as u64);
            let expected = vector(*row, 40);
            for half in [0..20, 20..40] {
                let largest = expected[half.clone()].iter().fold(0f32, |m, x| m.max(x.abs()));
                for (a, b) in expected[half.clone()].iter().zip(&v[half.clone()]) {
                    assert!((a - b).abs() <= tolerance * largest, "{dtype} row {row}: {a} {b}");
                }
            }
            let stored = reader.row(*row).unwrap().unwrap();
            assert_eq!(stored.vector, *v);
            let norm = expected[..20].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!((f64::from(stored.norm[0]) / norm - 1.0).abs() < 1e-6);
        }
        assert!(reader.row(300).unwrap().is_none());
    }
}

#[test]
fn signs_have_the_mean_magnitude_of_their_module() {
    const ROWS: u64 = 300;
    let f = unrotated(feature("grad-sgd", 140, DType::I1));
    let (_dir, path, store) = with_samples(ROWS);
    let mut job = store.start_job(plan(vec![f])).unwrap();
    let mut w = job.segment_writer(0).unwrap();
    for row in 0..ROWS {
        let mut v = vector(row, 140);
        match row {
            3 => v[100] = f32::INFINITY,
            5 => v[..70].fill(0.0),
            _ => {}
        }
        w.push(row, &v, RowFlags::empty()).unwrap();
    }
    job.seal(0, w).unwrap();
    job.publish(None, true).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = &snapshot.features()[0];
    // Two modules of 70 coordinates, two words each.
    assert_eq!(part.attrs.value_bytes(DType::I1), 32);
    let reader = snapshot.open_feature(part).unwrap();
    for (row, found) in read_all(&reader) {
        let stored = reader.row(row).unwrap().unwrap();
        assert_eq!(stored.vector, found);
        assert_eq!(stored.flags.contains(RowFlags::NON_FINITE), row == 3);
        let given = vector(row, 140);
        for (half, norm) in [0..70, 70..140].into_iter().zip(stored.norm) {
            let (given, found) = (&given[half.clone()], &found[half.clone()]);
            if row == 3 || row == 5 && half.start == 0 {
                assert!(norm == 0.0 && found.iter().all(|x| *x == 0.0), "row {row}");
                continue;
            }
            let mean = given.iter().map(|x| f64::from(x.abs())).sum::<f64>() / 70.0;
            for (x, found) in given.iter().zip(found) {
                let want = if *x < 0.0 { -mean } else { mean };
                assert!((f64::from(*found) - want).abs() <= 1e-6 * mean, "row {row}: {found} for {x}");
            }
            let length = given.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!((f64::from(norm) / length - 1.0).abs() < 1e-6, "row {row}");
        }
    }
    // A version that does not know the type refuses the feature, and does not call it damaged.
    let of_feature = |file: &&std::path::PathBuf| file.to_string_lossy().starts_with("manifests/feature-");
    let files = files(&path);
    let manifest = files.iter().find(of_feature).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs_err::read(path.join(manifest)).unwrap()).unwrap();
    assert_eq!(manifest["requires"], serde_json::json!(["signs"]));
    assert!(verify(&store).is_sound());
}

/// The largest of the coordinates' variances over the mean one: 1 where all are alike.
fn peak(vector: &[f32]) -> f64 {
    let squares = || vector.iter().map(|x| f64::from(*x).powi(2));
    squares().fold(0.0, f64::max) * vector.len() as f64 / squares().sum::<f64>()
}

#[test]
fn signs_of_rotated_modules_stand_for_vectors_in_their_own_coordinates() {
    const ROWS: u64 = 40;
    let (_dir, path, store) = with_samples(ROWS);
    // Two modules of 128 coordinates, each with few that are large.
    let given = |row: u64| -> Vec<f32> {
        let mut v: Vec<f32> = (0..256).map(|i| ((i * 37 + row * 11) % 19) as f32 * 0.001 - 0.009).collect();
        for half in v.chunks_mut(128) {
            half[row as usize] = 3.0;
            half[row as usize + 50] = -2.0;
        }
        v
    };
    let plain = unrotated(feature("grad-plain", 256, DType::I1));
    let rotated = feature("grad-rotated", 256, DType::I1);
    assert_ne!(plain.desc.rotation, rotated.desc.rotation);
    let mut job = store.start_job(plan(vec![plain, rotated])).unwrap();
    for f in 0..2 {
        let mut w = job.segment_writer(f).unwrap();
        (0..ROWS).for_each(|row| w.push(row, &given(row), RowFlags::empty()).unwrap());
        job.seal(f, w).unwrap();
    }
    job.publish(None, true).unwrap();
    let snapshot = store.snapshot().unwrap();
    let parts = snapshot.features();
    let found = |rotation: SignRotation| -> Vec<Vec<f32>> {
        let part = parts.iter().find(|part| part.desc.rotation == rotation).unwrap();
        let reader = snapshot.open_feature(part).unwrap();
        for (row, vector) in read_all(&reader) {
            assert_eq!(reader.row(row).unwrap().unwrap().vector, vector);
        }
        (0..ROWS).map(|row| reader.row(row).unwrap().unwrap().vector).collect()
    };
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let (plain, rotated) = (found(SignRotation::None), found(SignRotation::Hadamard));
    for row in 0..ROWS {
        let given = given(row);
        // The signs of nearly normal coordinates have sqrt(2 / pi) of the direction, the others almost
        // nothing.
        let (of_plain, of_rotated) =
            (cosine(&given, &plain[row as usize]), cosine(&given, &rotated[row as usize]));
        assert!(peak(&given) > 50.0 && of_plain < 0.25, "row {row}: {of_plain}");
        assert!((of_rotated - 0.8).abs() < 0.15, "row {row}: {of_rotated}");
    }
    let of_feature = |file: &&std::path::PathBuf| file.to_string_lossy().starts_with("manifests/feature-");
    let requires: Vec<serde_json::Value> = files(&path)
        .iter()
        .filter(of_feature)
        .map(|file| serde_json::from_slice(&fs_err::read(path.join(file)).unwrap()).unwrap())
        .map(|manifest: serde_json::Value| manifest["requires"].clone())
        .collect();
    assert!(requires.contains(&serde_json::json!(["signs", "rotated_signs"])), "{requires:?}");
    assert!(requires.contains(&serde_json::json!(["signs"])), "{requires:?}");
    assert!(verify(&store).is_sound());
}

#[test]
fn descriptions_without_a_rotation_have_none_and_unknown_ones_are_refused() {
    let desc = unrotated(feature("grad-sgd", 140, DType::I1)).desc;
    let text = desc.canonical();
    assert!(!text.contains("rotation"), "{text}");
    let read = |text: &str| serde_json::from_str::<FeatureDesc>(text);
    assert_eq!(read(&text).unwrap().rotation, SignRotation::None);
    let rotated = FeatureDesc { rotation: SignRotation::Hadamard, ..desc };
    assert_eq!(read(&rotated.canonical()).unwrap(), rotated);
    assert_ne!(rotated.key(), read(&text).unwrap().key());
    let error = read(&rotated.canonical().replace("hadamard", "haar")).unwrap_err().to_string();
    assert!(error.contains("haar"), "{error}");
    // Only signs are taken of rotated vectors.
    let (_dir, _, store) = with_samples(3);
    let mut f = feature("grad-sgd", 140, DType::F16);
    f.desc.rotation = SignRotation::Hadamard;
    assert!(store.start_job(plan(vec![f])).is_err());
}

#[test]
fn slices_are_aligned_and_later_ones_are_not_copied() {
    let f = feature("grad-sgd", 100, DType::F16);
    let (_dir, _, store) = placed(|path| filled(path, 10, &f, 10));
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    let b = reader.blocks()[0];
    let mut buffer = BlockBuffer::new();
    let address = |block: &Block<'_>| match block.values {
        Values::F16(v) => v.as_ptr() as usize,
        _ => unreachable!(),
    };
    let first = address(&reader.read_block(b, &mut buffer).unwrap());
    let inside = buffer.as_bytes().as_ptr_range();
    assert!((inside.start as usize..inside.end as usize).contains(&first));
    let second = address(&reader.read_block(b, &mut buffer).unwrap());
    assert!(!(inside.start as usize..inside.end as usize).contains(&second));
    assert_eq!(second, address(&reader.read_block(b, &mut BlockBuffer::new()).unwrap()));
    assert_eq!((first % 64, second % 64), (0, 0));
    let unchecked = snapshot.with_checks(Checks::Off).open_feature(&snapshot.features()[0]).unwrap();
    assert_eq!(address(&unchecked.read_block(b, &mut buffer).unwrap()) % 64, 0);
}

#[test]
fn blocks_stay_inside_cells_and_below_eight_mib() {
    let (_dir, _, store) = with_samples(9000);
    let f = feature("grad-sgd", 1024, DType::F32);
    let snapshot = publish_rows(&store, &f, (100..9000).filter(|r| r % 7 != 0), false);
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    assert_eq!(reader.cells(), [0, 1, 2]);
    let mut last = 0;
    for b in reader.blocks() {
        assert!(b.rows() * (4096 + 16 + 17) < 8 << 20);
        assert_eq!(b.cell(), (b.range().end - 1) / CELL_ROWS);
        assert!(b.range().start >= last);
        last = b.range().end;
    }
    assert!(reader.part().has_gaps());
    let expected = RowSet::from_rows((100..9000).filter(|r| r % 7 != 0));
    assert_eq!(reader.row_set().unwrap(), expected);
    assert!(reader.row(105).unwrap().is_none());
    assert_eq!(reader.row(8999).unwrap().unwrap().vector, vector(8999, 1024));
    assert!(verify(&store).is_sound());
}

#[test]
fn content_digest_does_not_depend_on_the_cut() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 12, DType::F16);
    let a = filled(&dir.path().join("a"), 500, &f, 500);
    let b = filled(&dir.path().join("b"), 500, &f, 33);
    assert_eq!(digest(&a, &f), digest(&b, &f));
    let c = Store::create(dir.path().join("c")).unwrap();
    add(&c, 0..500).unwrap();
    let mut job = c.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, (0..500).filter(|r| r % 2 == 1));
    seal(&mut job, 0, (0..500).filter(|r| r % 2 == 0));
    job.publish(None, true).unwrap();
    assert_eq!(digest(&a, &f), digest(&c, &f), "interleaved segments");
    let d = filled(&dir.path().join("d"), 499, &f, 500);
    assert_ne!(digest(&a, &f), digest(&d, &f));
}

#[test]
fn what_is_not_finite_is_flagged_and_zero() {
    for dtype in [DType::F32, DType::F16, DType::I8, DType::I1] {
        let (_dir, _, store) = with_samples(4);
        let mut job = store.start_job(plan(vec![unrotated(feature("grad-sgd", 4, dtype))])).unwrap();
        let mut w = job.segment_writer(0).unwrap();
        w.push(0, &[1.0, f32::NAN, 0.0, 0.0], RowFlags::TRUNCATED).unwrap();
        w.push(1, &[0.0; 4], RowFlags::NO_SCORED).unwrap();
        w.push(2, &[1.0; 4], RowFlags::empty()).unwrap();
        // What a vector was made of may be no numbers though the vector is.
        w.push(3, &[1.0, -2.0, 3.0, 4.0], RowFlags::NON_FINITE).unwrap();
        assert_eq!(w.not_finite(), 2);
        job.seal(0, w).unwrap();
        let snapshot = job.publish(None, true).unwrap();
        let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        let row = |r| reader.row(r).unwrap().unwrap();
        for (at, bits) in [(0, 2 | 4), (3, 2)] {
            let found = (row(at).flags.bits(), row(at).vector, row(at).norm);
            assert_eq!(found, (bits, vec![0.0; 4], vec![0.0; 2]), "{dtype} row {at}");
        }
        assert_eq!((row(1).flags, row(1).vector), (RowFlags::NO_SCORED, vec![0.0; 4]));
        assert_eq!((row(2).flags.bits(), row(2).vector), (0, vec![1.0; 4]));
        let of_zeros = if dtype == DType::I1 { 0.0 } else { 1.0 };
        let mut buffer = BlockBuffer::new();
        let block = reader.read_block(reader.blocks()[0], &mut buffer).unwrap();
        assert_eq!((&block.scale[..2], &block.scale[6..]), (&[of_zeros; 2][..], &[of_zeros; 2][..]));
        assert!(verify(&store).is_sound());
    }
}

#[test]
fn writers_refuse_what_would_break_a_segment() {
    let (_dir, _, store) = with_samples(10);
    let f = feature("grad-sgd", 4, DType::F32);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    let mut w = job.segment_writer(0).unwrap();
    assert!(matches!(
        w.push(0, &[0.0; 3], RowFlags::empty()),
        Err(WriteError::Dim { expected: 4, found: 3, .. })
    ));
    w.push(5, &[0.0; 4], RowFlags::empty()).unwrap();
    assert!(matches!(w.push(5, &[0.0; 4], RowFlags::empty()), Err(WriteError::Order { row: 5, last: 5 })));
    assert!(matches!(w.push(4, &[0.0; 4], RowFlags::empty()), Err(WriteError::Order { row: 4, last: 5 })));
    job.seal(0, w).unwrap();
    let w = job.segment_writer(0).unwrap();
    assert!(matches!(job.seal(0, w), Err(WriteError::Empty)));
    let mut w = job.segment_writer(0).unwrap();
    w.push(5, &[0.0; 4], RowFlags::empty()).unwrap();
    assert!(matches!(job.seal(0, w), Err(WriteError::Overlap { .. })));
    assert!(matches!(job.segment_writer(1), Err(WriteError::WrongFeature(1))));
    let mut w = job.segment_writer(0).unwrap();
    w.push(10, &[0.0; 4], RowFlags::empty()).unwrap();
    job.seal(0, w).unwrap();
    assert!(matches!(job.publish(None, true), Err(CommitError::BeyondDataset { end: 11, next_row: 10, .. })));
    let mut loss = feature("loss", 1, DType::F16);
    loss.desc.space.family = Family::Loss;
    assert!(matches!(store.start_job(plan(vec![loss])), Err(JobError::Description { .. })));
    let mut groups = f;
    groups.attrs.groups.pop();
    assert!(matches!(store.start_job(plan(vec![groups])), Err(JobError::Description { .. })));
}

#[test]
fn what_a_feature_lacks_is_counted_in_live_rows_of_now() {
    use CoverageState::{Behind, Building, Complete};
    let (f, gaps) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 4, DType::F32));
    let (_dir, _, store) = placed(|path| filled(path, 20, &f, 10));
    publish_rows(&store, &gaps, [0, 1, 7, 19], false);
    let shown = || {
        let snapshot = store.snapshot().unwrap();
        [&f, &gaps].map(|f| {
            let c = snapshot.coverage(snapshot.feature_by_key(&f.desc.key()).unwrap()).unwrap();
            (c.state, c.rows, c.missing)
        })
    };
    assert_eq!(shown(), [(Complete, 20, 0), (Building, 4, 16)]);
    add(&store, 20..25).unwrap();
    assert_eq!(shown(), [(Behind, 20, 5), (Building, 4, 21)]);
    delete(&store, [7, 8, 24]);
    assert_eq!(shown(), [(Behind, 18, 4), (Building, 3, 19)]);
    delete(&store, 20..24);
    assert_eq!(shown(), [(Complete, 18, 0), (Building, 3, 15)]);
    add(&store, 30..33).unwrap();
    publish_rows(&store, &f, 25..28, true);
    assert_eq!(shown(), [(Complete, 21, 0), (Building, 3, 18)]);
}
