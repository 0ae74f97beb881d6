//! Promise: vectors and numbers from outside that are not finite, or of another length or space, are refused
//! or left out and counted; none reaches a score.
//!
//! Where vectors enter: stored features of pools and of targets (samples and tokens), what an encoder
//! computes of samples that are given with the question, sketches of files or handed over, and what rows
//! are compared with by exact numbers of the question (weights, module weights, probabilities,
//! tolerances, limits, percentages).

use std::sync::Arc;

use crate::common::memory::MemorySections;
use crate::common::pair_scores::each_score;
use crate::common::*;
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_query::sketch::{Section, Sketch, SketchHeader, padded_dim};
use gstore_store::*;

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn store(pool: Vec<Row>, target: Vec<Row>, dtype: DType) -> TestStore {
    TestStore::of(
        &[("pool", pool), ("val", target)]
            .map(|(dataset, rows)| Feature { dtype, ..Feature::new(dataset, "grad-sgd", 0, rows) }),
    )
}

fn rows(seed: u64, count: usize, dim: usize) -> Vec<Row> {
    present(&Numbers(seed).vectors(count, dim))
}

/// Every way to ask for rows gives none that has a value that is not finite, and says how many there are.
#[test]
fn pool_rows_that_are_not_finite_are_left_out_of_every_answer() {
    for dtype in DType::ALL {
        let mut pool = rows(1, 40, 20);
        for (i, bad) in BAD.into_iter().enumerate() {
            pool[5 * i + 2].as_mut().unwrap().0[7 * i] = bad;
        }
        let store = store(pool, rows(2, 3, 20), dtype);
        let wrong = [2, 7, 12];
        for sim in [Sim::Cosine, Sim::Dot] {
            let planes = Some(vec![Plane::Sign, Plane::Nibble, Plane::Int8]);
            for mode in [
                Mode::Exact,
                Mode::Sketch(SketchMode { planes, ..SketchMode::default() }),
                Mode::Sketch(SketchMode {
                    certified: true,
                    planes: Some(vec![Plane::Certified]),
                    ..SketchMode::default()
                }),
            ] {
                let spec = InfluenceSpec { sim, mode, ..ask("pool", "val") };
                let snapshot = store.snapshot();
                let feature = snapshot.features_of("pool")[0];
                let reader = snapshot.open_feature(feature).unwrap();
                let sketch = Arc::new(memory::in_memory(&reader, 3, 1, &GO).unwrap());
                let plan = plan(&store, &spec).with_sketch(feature.number, sketch);
                for order in [Order::Best, Order::Worst] {
                    let found = plan.top_k(order, 100, None, 1, &GO).unwrap();
                    assert_eq!((found.rows.len(), found.summary.excluded.non_finite), (37, 3));
                    assert!(found.rows.iter().all(|s| s.score.is_finite() && !wrong.contains(&s.row)));
                    for each in [Each::Sample, Each::Subtask, Each::Target] {
                        let request = EachRequest { order, threads: 1, ..request(each, 100) };
                        let found = plan.top_k_each(&request, &GO).unwrap();
                        assert_eq!(found.summary.excluded.non_finite, 3);
                        for ranking in &found.rankings {
                            assert_eq!(ranking.rows.len(), 37);
                            assert!(ranking.rows.iter().all(|s| !wrong.contains(&s.row)));
                        }
                    }
                    if sim == Sim::Dot {
                        let own = plan.top_k_self(order, 100, None, 1, &GO).unwrap();
                        assert!(own.rows.len() == 37 && own.rows.iter().all(|s| !wrong.contains(&s.row)));
                    }
                }
                let all = scores(&plan);
                assert!(all.len() == 37 && wrong.iter().all(|row| !all.contains_key(&(0, *row))));
                let left: Vec<_> = excluded(&plan).iter().map(|e| (e.row, e.reason)).collect();
                assert_eq!(left, wrong.map(|row| (row, Reason::NonFinite)));
                let (_, alone) = each_score(&plan, Each::Sample, None, 2).unwrap();
                assert!(alone.len() == 37 && alone.values().flatten().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn a_target_without_a_finite_vector_is_an_error() {
    for bad in BAD {
        let mut target = rows(2, 2, 6);
        target[1].as_mut().unwrap().0[3] = bad;
        let half = store(rows(1, 5, 6), target.clone(), DType::F32);
        let found = plan(&half, &ask("pool", "val")).top_k(Order::Best, 5, None, 1, &GO).unwrap();
        assert_eq!((found.summary.target_rows, found.summary.target_excluded.non_finite), (1, 1));
        target[0].as_mut().unwrap().0[0] = bad;
        let none = store(rows(1, 5, 6), target, DType::F32);
        let error = plan(&none, &ask("pool", "val")).top_k(Order::Best, 5, None, 1, &GO).unwrap_err();
        assert!(error.to_string().contains("2 are not finite"), "{error}");
    }
}

#[test]
fn tokens_that_are_not_finite_are_left_out() {
    for bad in BAD {
        let mut numbers = Numbers(4);
        let tokens = (0..6)
            .map(|row| {
                let mut of_row = vec![(1, numbers.vector(5), 0), (3, numbers.vector(5), 0)];
                if row == 2 {
                    of_row[1].1[4] = bad;
                }
                Some(of_row)
            })
            .collect();
        let pool = Feature::of_tokens("pool", "grad-sgd", 0, tokens);
        let store = TestStore::of(&[pool, Feature::new("val", "grad-sgd", 0, rows(2, 2, 5))]);
        let spec = InfluenceSpec { per_token: true, ..ask("pool", "val") };
        let found = plan(&store, &spec).top_k(Order::Best, 100, None, 1, &GO).unwrap();
        assert_eq!((found.rows.len(), found.summary.excluded.non_finite), (11, 1));
        assert!(!found.rows.iter().any(|s| (s.row, s.pos) == (2, Some(3))));
    }
}

/// Vectors that are finite and products that are not: nothing is ranked by chance.
#[test]
fn what_overflows_is_counted_and_not_ranked() {
    let huge = vec![1e25; 8];
    let mut pool = rows(1, 9, 8);
    pool[4] = Some((huge.clone(), 0));
    for target in [vec![Some((huge, 0))], rows(2, 1, 8)] {
        let store = store(pool.clone(), target, DType::F32);
        for order in [Order::Best, Order::Worst] {
            let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") };
            let found = plan(&store, &spec).top_k(order, 9, None, 1, &GO).unwrap();
            assert!(found.rows.iter().all(|s| s.score.is_finite()));
            assert_eq!(found.rows.len() as u64 + found.summary.excluded.overflow, 9);
        }
    }
}

/// A writer refuses what has another length, so no segment holds it.
#[test]
fn vectors_of_another_length_are_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("store")).unwrap();
    let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
    let mut append = store.append(&DatasetName::try_from("pool").unwrap(), Vec::new(), options).unwrap();
    append.push(NewSample { id: "a", record: None, metadata: Vec::new() }).unwrap();
    append.finish().unwrap();
    let space = Space { modules: "m".repeat(64), ..Space::new(Family::Gradient, None, 4) };
    let desc = FeatureDesc::new("pool", "e".repeat(64), "grad-sgd", space, DType::F16);
    let plan = JobPlan {
        command: "test".into(),
        identity: serde_json::json!(1),
        features: vec![JobFeature { desc, attrs: FeatureAttrs::new("x", 4) }],
        detail: serde_json::Value::Null,
    };
    let mut job = store.start_job(plan).unwrap();
    let mut writer = job.segment_writer(0).unwrap();
    for len in [0, 3, 5] {
        let error = writer.push(0, &vec![1.0; len], RowFlags::default()).unwrap_err().to_string();
        assert!(error.contains(&len.to_string()) && error.contains('4'), "{error}");
    }
    writer.push(0, &[1.0; 4], RowFlags::default()).unwrap();
}

/// Features that differ in any part of their space, or in length, are not compared.
#[test]
fn vectors_of_other_spaces_are_refused() {
    let refused = |change: &dyn Fn(&mut Feature), word: &str| {
        let mut target = Feature::new("val", "grad-sgd", 0, rows(2, 2, 6));
        change(&mut target);
        let store = TestStore::of(&[Feature::new("pool", "grad-sgd", 0, rows(1, 4, 6)), target]);
        let error = Prepared::new(&store.snapshot(), &ask("pool", "val")).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&|f| f.rows = rows(2, 2, 7), "dim");
    refused(&|f| f.projection = "f".repeat(64), "projection");
    refused(&|f| f.checkpoint = 1, "checkpoint");
    refused(&|f| f.kind = "embed-mean".into(), "grad-sgd");
    // The same length in other module groups: coordinates would not mean the same.
    refused(&|f| f.groups = vec![2, 4], "group");
}

/// Hands out the same vector for every sample.
#[derive(Debug)]
struct Fixed(Vec<f32>);

impl Encoder for Fixed {
    fn encode(&self, request: &EncodeRequest<'_>, _: &Cancel) -> Result<EncodedSamples, QueryError> {
        let samples = request.samples.len();
        Ok(EncodedSamples {
            vectors: vec![vec![self.0.clone(); samples]; request.features.len()],
            tokens: vec![(3, 2); samples],
        })
    }
}

#[test]
fn what_an_encoder_computes_is_checked() {
    let store = store(rows(1, 5, 6), rows(2, 1, 6), DType::F16);
    let spec =
        InfluenceSpec { targets: Vec::new(), given: vec!["{\"text\":\"a\"}".into()], ..ask("pool", "val") };
    let ask = |vector: Vec<f32>| {
        let plan = Prepared::with_encoder(&store.snapshot(), &spec, Some(Arc::new(Fixed(vector))))?;
        plan.top_k(Order::Best, 5, None, 1, &GO)
    };
    assert_eq!(ask(vec![0.5; 6]).unwrap().rows.len(), 5);
    for bad in BAD {
        let mut vector = vec![0.5; 6];
        vector[5] = bad;
        assert!(ask(vector).unwrap_err().to_string().contains("is not finite"));
    }
    for len in [0, 5, 7] {
        assert!(ask(vec![0.5; len]).unwrap_err().to_string().contains("6 coordinates"));
    }
}

/// A sketch of other vectors is refused when it is opened; one of other blocks is not used
/// and the answer says so.
#[test]
fn sketches_of_other_vectors_are_not_used() {
    let (a, b) = (
        store(rows(1, 30, 20), rows(2, 1, 20), DType::F16),
        store(rows(3, 29, 20), rows(4, 1, 20), DType::F16),
    );
    let (mine, other) = (a.reader(), b.reader());
    for (dim, vectors) in [(21, 30), (20, 31), (64, 30), (0, 30), (usize::MAX, 30)] {
        let mut header = SketchHeader::new(20, 1, vectors);
        (header.dim, header.padded) = (dim, if dim == 20 { padded_dim(20) } else { dim });
        let added = Sketch::new(20).add(&header, mine.blocks(), Box::new(MemorySections::default()));
        assert!(added.is_err(), "{header:?}");
    }
    let sketch = Arc::new(memory::in_memory(&other, 1, 1, &GO).unwrap());
    let mode = Mode::Sketch(SketchMode { planes: Some(vec![Plane::Sign]), ..SketchMode::default() });
    let want = plan(&a, &ask("pool", "val")).top_k(Order::Best, 5, None, 1, &GO).unwrap();
    let asked = plan(&a, &InfluenceSpec { mode, ..ask("pool", "val") });
    let number = a.snapshot().features_of("pool")[0].number;
    let got = asked.with_sketch(number, sketch).top_k(Order::Best, 5, None, 1, &GO).unwrap();
    assert_eq!((got.rows, got.summary.guarantee.as_str()), (want.rows, "exact"));
    assert!(got.summary.notes.iter().any(|note| note.contains("lacks segments")), "{:?}", got.summary.notes);
}

/// Factors of a sketch that are not finite leave rows to the exact scan.
#[test]
fn records_of_a_sketch_that_are_not_finite_exclude_nothing() {
    let (count, dim) = (300, 20);
    let store = store(rows(1, count, dim), rows(2, 2, dim), DType::F32);
    let snapshot = store.snapshot();
    let feature = snapshot.features_of("pool")[0];
    let reader = snapshot.open_feature(feature).unwrap();
    let good = memory::in_memory(&reader, 5, 1, &GO).unwrap();
    let mut scratch = BlockBuffer::new();
    for bad in BAD {
        for at in [Section::Rows, Section::SignFactors, Section::NibbleFactors, Section::ByteFactors] {
            let mut sections = MemorySections::default();
            for section in Section::ALL {
                for block in reader.blocks() {
                    let mut bytes = good.read(*block, section, None, &mut scratch).unwrap().to_vec();
                    if section == at {
                        // The first two floats of every record: the length and norm of a row,
                        // the factors of a plane.
                        let each = section.vector_bytes(padded_dim(dim));
                        for record in bytes.chunks_exact_mut(each) {
                            record[..4].copy_from_slice(&bad.to_le_bytes());
                            record[4..8].copy_from_slice(&bad.to_le_bytes());
                        }
                    }
                    sections.append(section, &bytes);
                }
            }
            let mut sketch = Sketch::new(dim);
            let header = SketchHeader::new(dim, 5, count as u64);
            sketch.add(&header, reader.blocks(), Box::new(sections)).unwrap();
            let sketch = Arc::new(sketch);
            for planes in [vec![Plane::Sign], vec![Plane::Nibble], vec![Plane::Int8], vec![Plane::Certified]]
            {
                let mode = Mode::Sketch(SketchMode { planes: Some(planes), ..SketchMode::default() });
                let spec = InfluenceSpec { mode, sim: Sim::Dot, ..ask("pool", "val") };
                let plan = plan(&store, &spec).with_sketch(feature.number, sketch.clone());
                let got = plan.top_k(Order::Best, 7, None, 1, &GO).unwrap();
                assert!(got.rows.iter().all(|s| s.score.is_finite()));
                assert_eq!(got.rows.len(), 7);
            }
        }
    }
}

/// Numbers of the question.
#[test]
fn numbers_that_are_not_finite_or_out_of_range_are_refused() {
    let store = store(rows(1, 5, 6), rows(2, 1, 6), DType::F16);
    let refused = |change: &dyn Fn(&mut InfluenceSpec)| {
        let mut spec = ask("pool", "val");
        change(&mut spec);
        let asked =
            Prepared::new(&store.snapshot(), &spec).and_then(|plan| plan.top_k(Order::Best, 5, None, 1, &GO));
        assert!(matches!(asked, Err(QueryError::Spec(_))), "{spec:?}: {asked:?}");
    };
    let sketch = |miss, tolerance| Mode::Sketch(SketchMode { miss, tolerance, ..SketchMode::default() });
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        refused(&|spec| spec.weights = Some(vec![bad]));
        refused(&|spec| spec.mode = sketch(bad, 0.0));
        refused(&|spec| spec.mode = sketch(1e-6, bad));
        assert!(format!("layers.*={bad}").parse::<ModuleWeights>().is_err(), "{bad}");
    }
    refused(&|spec| spec.weights = Some(vec![0.5, 0.5]));
    refused(&|spec| spec.weights = Some(vec![]));
    refused(&|spec| spec.mode = sketch(0.5, 0.0));
    refused(&|spec| {
        spec.mode = Mode::Sketch(SketchMode { planes: Some(Vec::new()), ..SketchMode::default() });
    });
    for top in ["NaN", "inf", "-1", "-5%", "NaN%", "inf%", "101%", "", "%", "1e3%"] {
        assert!(resolve_top(top, 100).is_err(), "{top}");
    }
}
