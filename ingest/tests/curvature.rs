//! Promise: sums for curvature do not depend on how the data is cut, are those of the factors that gradients
//! are made of, and hold no value that is no number.

use std::ops::Range;
use std::sync::Arc;

use crate::common::tiny::{Tiny, VOCAB};
use crate::common::{assert_says, tokens};
use gstore_curvature::{
    Blocks, Covariance, CurvatureError, Damping, Module, ModuleFactors, SampleGradient, Squares, Strategy,
    dot,
};
use gstore_ingest::curvature::{
    CurvatureEngine, CurvatureLoadError, Labels, Measurement, PassError, TargetSample,
};
use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineError, EngineOptions, GradFeatures, GradForm, GradientBackend,
    ModuleSelection, Projector, RequestedOutputs, module_shapes, tensor_specs,
};
use gstore_ingest::projection::{
    EigenBasis, EigenBlock, FactoredProjector, ModuleShape, ProjectionRoute, ProjectionSpec,
};
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::{ComputePrecision, PackedSample, Reduction, SavedActivations};
use tempfile::TempDir;

pub struct Sample {
    pub ids: Vec<u32>,
    pub targets: Vec<Option<u32>>,
}

/// Samples of these lengths, scored from these tokens on.
pub fn samples(shapes: &[(usize, usize)]) -> Vec<Sample> {
    let sample = |(seed, (len, first)): (usize, &(usize, usize))| {
        let ids = tokens(seed as u64 + 1, *len, VOCAB);
        let targets = (0..*len).map(|at| (at >= *first).then_some(ids[at])).collect();
        Sample { ids, targets }
    };
    shapes.iter().enumerate().map(sample).collect()
}

pub fn batch(samples: &[Sample]) -> Vec<TargetSample<'_>> {
    samples.iter().map(|sample| TargetSample { ids: &sample.ids, targets: &sample.targets }).collect()
}

/// One without a scored token, one of a single token, one whose prompt is long; the last has no tokens.
const SHAPES: [(usize, usize); 7] = [(9, 2), (5, 5), (1, 1), (31, 25), (17, 1), (12, 6), (0, 0)];

fn load<B: GradientBackend>(
    model: &Tiny,
    patterns: &[&str],
    backend: B,
    keep: SavedActivations,
) -> CurvatureEngine {
    try_load(model, patterns, backend, keep).unwrap()
}

fn try_load<B: GradientBackend>(
    model: &Tiny,
    patterns: &[&str],
    backend: B,
    keep: SavedActivations,
) -> Result<CurvatureEngine, CurvatureLoadError> {
    let folder = TempDir::new().unwrap();
    let source = CheckpointSource { model: model.write(folder.path()), adapter: None, tracked: Vec::new() };
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    CurvatureEngine::load(&source, backend, &ModuleSelection { patterns, biases: false }, keep)
}

pub fn cpu(model: &Tiny, patterns: &[&str]) -> CurvatureEngine {
    load(model, patterns, Cpu::new(ComputePrecision::F32), SavedActivations::All)
}

fn all(engine: &CurvatureEngine) -> Vec<usize> {
    (0..engine.modules().len()).collect()
}

type Pairs = Vec<(Covariance, Covariance)>;
/// Covariances, squares and losses.
type Sums = (Pairs, Vec<Squares>, Vec<f32>);

/// Covariances, squares, and losses of all samples, in batches of `size`, labels drawn if there is a seed.
fn sums(engine: &CurvatureEngine, samples: &[Sample], size: usize, seed: Option<u64>) -> Sums {
    let empty = |m: &Module| (Covariance::new(m.input), Covariance::new(m.out));
    let mut pairs: Pairs = engine.modules().iter().map(empty).collect();
    let mut squares: Vec<Squares> = engine.modules().iter().map(|m| Squares::new(m.len())).collect();
    let (mut losses, mut row) = (Vec::new(), 100);
    for part in samples.chunks(size) {
        let rows: Vec<u64> = (row..).take(part.len()).collect();
        row += part.len() as u64;
        let labels = match seed {
            Some(seed) => Labels::Sampled { seed, pass: 1, rows: &rows },
            None => Labels::Data,
        };
        losses.extend(engine.covariances(&batch(part), &labels, &all(engine), &mut pairs).unwrap());
        let again = engine.squares(&batch(part), &labels, &all(engine), false, &mut squares).unwrap();
        let last = &losses[losses.len() - part.len()..];
        again.iter().zip(last).for_each(|(a, b)| assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} {b}"));
    }
    for (activation, gradient) in &mut pairs {
        activation.mirror();
        gradient.mirror();
    }
    (pairs, squares, losses)
}

/// Asserts of each value that it is not further than `most` from the expected one: a maximum of all would
/// leave out what is not a number.
fn assert_within(found: &[f64], expected: &[f64], most: f64, what: &str) {
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= most, "{what}: {at}: {a} is not {b} within {most}");
    }
}

/// Asserts that values lie within `tolerance` of the largest.
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-9_f64, |most, value| most.max(value.abs()));
    assert_within(found, expected, tolerance * largest, what);
}

fn assert_same_sums(found: &Sums, expected: &Sums, tolerance: f64) {
    for ((a, b), (other_a, other_b)) in found.0.iter().zip(&expected.0) {
        for (found, expected) in [(a, other_a), (b, other_b)] {
            assert_eq!(found.count, expected.count);
            assert_close(&found.sums, &expected.sums, tolerance, "covariance");
        }
    }
    for (found, expected) in found.1.iter().zip(&expected.1) {
        assert_eq!(found.count, expected.count);
        assert_close(&found.sums, &expected.sums, tolerance, "squares");
    }
    let wide = |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).collect::<Vec<_>>();
    assert_close(&wide(&found.2), &wide(&expected.2), tolerance, "losses");
}

#[test]
fn sums_do_not_depend_on_batches_backends_and_what_is_kept() {
    let (model, samples) = (Tiny::new().with_biases(), samples(&SHAPES));
    let patterns = ["model.layers.*.self_attn.*", "*.mlp.*", "lm_head"];
    let engine = cpu(&model, &patterns);
    assert_eq!(engine.modules().len(), 15);
    for seed in [None, Some(7)] {
        let alone = sums(&engine, &samples, 1, seed);
        let tokens: usize = SHAPES.iter().map(|(len, _)| len).sum();
        assert!(alone.0.iter().all(|(a, g)| (a.count, g.count) == (tokens as u64, tokens as u64)));
        assert!(alone.1.iter().all(|squares| squares.count == SHAPES.len() as u64));
        for size in [2, 4, 6] {
            assert_same_sums(&sums(&engine, &samples, size, seed), &alone, 1e-5);
        }
    }
    let drawn = |seed| sums(&engine, &samples, 3, Some(seed)).2;
    assert!(drawn(7) == drawn(7) && drawn(7) != drawn(8));

    let whole = sums(&engine, &samples, 6, None);
    let recomputed = load(&model, &patterns, Cpu::new(ComputePrecision::F32), SavedActivations::Inputs);
    assert_same_sums(&sums(&recomputed, &samples, 6, None), &whole, 1e-6);
    let candle = load(&model, &patterns, Candle::cpu(), SavedActivations::All);
    assert_same_sums(&sums(&candle, &samples, 6, None), &whole, 1e-4);

    // Partitions of the data, and of the modules.
    let mut parts = sums(&engine, &samples[..3], 2, None);
    let other = sums(&engine, &samples[3..], 2, None);
    for (of, other) in parts.0.iter_mut().zip(&other.0) {
        of.0.merge(&other.0);
        of.1.merge(&other.1);
    }
    parts.1.iter_mut().zip(&other.1).for_each(|(of, other)| of.merge(other));
    parts.2.extend(&other.2);
    assert_same_sums(&parts, &whole, 1e-5);
    let one = engine.modules().iter().position(|m| m.name.ends_with("1.mlp.down_proj")).unwrap();
    let mut pairs = vec![(Covariance::default(), Covariance::default()); engine.modules().len()];
    let module = &engine.modules()[one];
    pairs[one] = (Covariance::new(module.input), Covariance::new(module.out));
    engine.covariances(&batch(&samples), &Labels::Data, &[one], &mut pairs).unwrap();
    pairs[one].0.mirror();
    pairs[one].1.mirror();
    assert_close(&pairs[one].0.sums, &whole.0[one].0.sums, 1e-6, "one module");
    assert_close(&pairs[one].1.sums, &whole.0[one].1.sums, 1e-6, "one module");
    assert!(pairs.iter().filter(|(activation, _)| activation.count > 0).count() == 1);
}

/// What a batch's factors make of each module: covariances, and the gradient of each sample.
fn from_factors(
    engine: &CurvatureEngine,
    samples: &[Sample],
    measurement: Measurement,
) -> (Pairs, Vec<Vec<f64>>) {
    let empty = |m: &Module| (Covariance::new(m.input), Covariance::new(m.out));
    let mut pairs: Pairs = engine.modules().iter().map(empty).collect();
    let mut gradients: Vec<Vec<f64>> =
        engine.modules().iter().map(|m| vec![0.0; samples.len() * m.len()]).collect();
    let add = |sum: &mut Covariance, row: &[f32]| {
        let products = row.iter().flat_map(|a| row.iter().map(move |b| f64::from(*a) * f64::from(*b)));
        sum.sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        sum.count += 1;
    };
    let mut each = |at: usize, x: &[f32], e: &[f32], spans: &[Range<usize>]| -> Result<(), PassError> {
        let Module { out, input, .. } = engine.modules()[at];
        for (span, gradient) in spans.iter().zip(gradients[at].chunks_exact_mut(out * input)) {
            for row in span.clone() {
                let (x, e) = (&x[row * input..][..input], &e[row * out..][..out]);
                add(&mut pairs[at].0, x);
                add(&mut pairs[at].1, e);
                let products = e.iter().flat_map(|e| x.iter().map(move |x| f64::from(*e) * f64::from(*x)));
                gradient.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            }
        }
        Ok(())
    };
    engine.factors(&batch(samples), measurement, &all(engine), &mut each).unwrap();
    (pairs, gradients)
}

fn gradients(
    engine: &CurvatureEngine,
    samples: &[Sample],
    measurement: Measurement,
    rotated: bool,
) -> Vec<Vec<f64>> {
    let mut found = vec![Vec::new(); engine.modules().len()];
    engine
        .gradients(&batch(samples), measurement, &all(engine), rotated, &mut |module, values| {
            found[module] = values.iter().map(|v| f64::from(*v)).collect();
            Ok(())
        })
        .unwrap();
    found
}

/// The sums of the outer products of each sample, of all calls.
fn from_outer_products(
    engine: &CurvatureEngine,
    samples: &[Sample],
    measurement: Measurement,
) -> Vec<Vec<f64>> {
    let empty = |m: &Module| vec![SampleGradient::empty(m); samples.len()];
    let mut found: Vec<Vec<SampleGradient>> = engine.modules().iter().map(empty).collect();
    let mut each = |at: usize, x: &[f32], e: &[f32], spans: &[Range<usize>]| -> Result<(), PassError> {
        let Module { out, input, .. } = engine.modules()[at];
        for (span, gradient) in spans.iter().zip(&mut found[at]) {
            gradient.add((&x[span.start * input..span.end * input], &e[span.start * out..span.end * out]), 3);
        }
        Ok(())
    };
    engine.outer_products(&batch(samples), measurement, &all(engine), &mut each).unwrap();
    let values =
        |gradient: &SampleGradient| gradient.values().iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    found.iter().map(|of_module| of_module.iter().flat_map(values).collect()).collect()
}

/// Models and patterns of modules: with biases, and with the head.
fn models() -> [(Tiny, &'static [&'static str]); 2] {
    [(Tiny::new().with_biases(), &["*_proj"]), (Tiny::new(), &["*down_proj", "*v_proj", "lm_head"])]
}

#[test]
fn sums_and_gradients_are_made_of_the_same_factors() {
    let samples = samples(&SHAPES);
    for (model, patterns) in models() {
        let mut engine = cpu(&model, patterns);
        for measurement in [Measurement::Loss, Measurement::Margin] {
            let (_, expected) = from_factors(&engine, &samples, measurement);
            for (found, expected) in gradients(&engine, &samples, measurement, false).iter().zip(&expected) {
                assert!(found.iter().any(|value| *value != 0.0));
                assert_close(found, expected, 1e-5, "gradients");
            }
            let found = from_outer_products(&engine, &samples, measurement);
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(found, expected, 1e-5, "outer products");
            }
        }
        let (pairs, plain) = from_factors(&engine, &samples, Measurement::Loss);
        let found = sums(&engine, &samples, 6, None);
        for ((found, expected), module) in found.0.iter().zip(&pairs).zip(engine.modules()) {
            assert_eq!((found.0.count, found.1.count), (expected.0.count, expected.1.count));
            assert_close(&found.0.sums, &expected.0.sums, 1e-5, &module.name);
            assert_close(&found.1.sums, &expected.1.sums, 1e-5, &module.name);
            assert!(!module.bias || found.0.sums.last() == Some(&(found.0.count as f64)), "a constant of 1");
        }
        let factors = found.0.into_iter().zip(engine.modules()).map(|((activation, gradient), module)| {
            let (activation, gradient) = (Some(activation), Some(gradient));
            let mut factors = ModuleFactors { activation, gradient, ..ModuleFactors::default() };
            factors.decompose(module).unwrap();
            factors
        });
        let factors: Vec<ModuleFactors> = factors.collect();
        engine.set_bases(&factors).unwrap();
        assert_turned(&engine, &samples, &factors, &plain);
    }
}

/// Passes for some layers after others hand on what one pass for all does, in the same order.
#[test]
fn layers_come_from_the_last_to_the_first_and_the_head_behind_all() {
    let samples = samples(&SHAPES);
    for (model, patterns) in models() {
        let engine = cpu(&model, patterns);
        let pass = |wanted: &[usize]| -> Vec<(usize, Vec<u32>)> {
            let mut found = Vec::new();
            let mut each = |module: usize, values: &[f32]| -> Result<(), PassError> {
                found.push((module, values.iter().map(|value| value.to_bits()).collect()));
                Ok(())
            };
            engine.gradients(&batch(&samples), Measurement::Loss, wanted, false, &mut each).unwrap();
            found
        };
        let mut numbers = engine.layers().concat();
        numbers.sort_unstable();
        assert_eq!(numbers, all(&engine));
        assert!(engine.layers().len() > 1 && engine.layers().iter().all(|layer| layer.is_sorted()));
        let parts: Vec<_> = engine.layers().iter().flat_map(|layer| pass(layer)).collect();
        assert!(parts == pass(&all(&engine)), "{:?}", engine.layers());
    }
}

#[test]
fn samples_without_tokens_have_zeros_and_change_no_bit_of_others() {
    let samples = samples(&[(0, 0), (5, 5), (0, 0), (9, 2), (12, 6), (0, 0)]);
    for (model, patterns) in models() {
        let engine = cpu(&model, patterns);
        // All, without a scored one, and without a token.
        for places in [0..6, 0..3, 2..3] {
            assert_zeros_at_their_places(&engine, &batch(&samples[places]));
        }
    }
}

fn assert_zeros_at_their_places(engine: &CurvatureEngine, given: &[TargetSample<'_>]) {
    let (modules, every) = (engine.modules(), all(engine));
    let empty = |m: &Module| (Covariance::new(m.input), Covariance::new(m.out));
    let passed = |samples: &[TargetSample<'_>], rows: &[u64]| -> (Pairs, Vec<f32>, Vec<Vec<Vec<f32>>>) {
        let mut pairs: Pairs = modules.iter().map(empty).collect();
        let labels = Labels::Sampled { seed: 5, pass: 0, rows };
        let losses = engine.covariances(samples, &labels, &every, &mut pairs).unwrap();
        let mut gradients = vec![Vec::new(); modules.len()];
        let mut each = |module: usize, values: &[f32]| -> Result<(), PassError> {
            gradients[module] = values.chunks(modules[module].len()).map(<[f32]>::to_vec).collect();
            engine.check_gradients(module, values)
        };
        engine.gradients(samples, Measurement::Loss, &every, false, &mut each).unwrap();
        (pairs, losses, gradients)
    };
    let rows: Vec<u64> = (7..).take(given.len()).collect();
    let numbered = given.iter().copied().zip(rows.iter().copied());
    let (others, others_rows): (Vec<TargetSample<'_>>, Vec<u64>) =
        numbered.filter(|(sample, _)| !sample.ids.is_empty()).unzip();
    let (pairs, losses, gradients) = passed(given, &rows);
    let (others_pairs, others_losses, others_gradients) = passed(&others, &others_rows);
    assert!(pairs == others_pairs, "covariances");
    assert_eq!(losses, with_zeros(given, &others_losses, &0.0));
    for ((found, others), module) in gradients.iter().zip(&others_gradients).zip(modules) {
        let expected = with_zeros(given, others, &vec![0.0; module.len()]);
        assert!(*found == expected, "{}", module.name);
    }
    let mut each = |_: usize, _: &[f32], _: &[f32], spans: &[Range<usize>]| -> Result<(), PassError> {
        assert!(spans.iter().map(Range::len).eq(given.iter().map(|sample| sample.ids.len())), "{spans:?}");
        Ok(())
    };
    engine.factors(given, Measurement::Loss, &every, &mut each).unwrap();
}

/// Values of the samples with tokens, and `zero` at the places of the others.
fn with_zeros<T: Clone>(given: &[TargetSample<'_>], values: &[T], zero: &T) -> Vec<T> {
    let mut values = values.iter();
    let at = |sample: &TargetSample<'_>| if sample.ids.is_empty() { Some(zero) } else { values.next() };
    given.iter().filter_map(at).cloned().collect()
}

/// Asserts that the engine turns gradients as the factors' bases do.
fn assert_turned(
    engine: &CurvatureEngine,
    samples: &[Sample],
    factors: &[ModuleFactors],
    plain: &[Vec<f64>],
) {
    let turned = gradients(engine, samples, Measurement::Loss, true);
    for (index, module) in engine.modules().iter().enumerate() {
        let mut lambda = factors[index].clone();
        lambda.lambda = Some(Squares::new(module.len()));
        let inverse = lambda.inverse(module, Strategy::Ekfac, Damping::Value(1.0)).unwrap();
        for (turned, plain) in turned[index].chunks(module.len()).zip(plain[index].chunks(module.len())) {
            let expected = inverse.rotated(plain);
            let norm = plain.iter().map(|v| v * v).sum::<f64>().sqrt();
            assert_eq!(turned.len(), expected.len());
            assert_within(turned, &expected, 1e-5 * norm, &module.name);
        }
    }
}

#[test]
fn sides_in_blocks_are_summed_and_turned_as_with_zeros_outside() {
    let (model, samples) = (Tiny::new().with_biases(), samples(&SHAPES));
    for backend in ["cpu", "candle"] {
        let mut engine = match backend {
            "cpu" => cpu(&model, &["*_proj"]),
            _ => load(&model, &["*_proj"], Candle::cpu(), SavedActivations::All),
        };
        let whole = sums(&engine, &samples, 6, None).0;
        let plain = gradients(&engine, &samples, Measurement::Loss, false);
        // Where blocks have one row, the last of a bias is that of the constant alone.
        for most in [1, 5] {
            let blocks = |size| Covariance::in_blocks(Blocks::new(size, most));
            let mut pairs: Pairs =
                engine.modules().iter().map(|m| (blocks(m.input), blocks(m.out))).collect();
            engine.covariances(&batch(&samples), &Labels::Data, &all(&engine), &mut pairs).unwrap();
            for (activation, gradient) in &mut pairs {
                activation.mirror();
                gradient.mirror();
            }
            for (found, whole) in pairs.iter().zip(&whole) {
                for (found, whole) in [(&found.0, &whole.0), (&found.1, &whole.1)] {
                    let expected = whole.clone().cut(found.blocks().unwrap()).unwrap();
                    assert_eq!(found.count, expected.count);
                    assert_close(&found.sums, &expected.sums, 1e-4, backend);
                }
            }
            let factors = fitted(&mut engine, &samples, most);
            assert_turned(&engine, &samples, &factors, &plain);
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_named() {
    let (mut model, mut samples) = (Tiny::new(), samples(&SHAPES));
    // Places are those of the batch: the sample without tokens is the first.
    samples.rotate_right(1);
    // A token of one sample alone.
    let (token, bad) = (VOCAB as u32 - 1, 4);
    samples.iter_mut().flat_map(|sample| &mut sample.ids).for_each(|id| *id = (*id).min(token - 1));
    samples[bad].ids[10] = token;
    let embedding = &mut model.weights.get_mut("model.embed_tokens.weight").unwrap().1;
    let width = embedding.len() / VOCAB;
    embedding[token as usize * width] = f32::NAN;
    let mut engine = cpu(&model, &["*_proj"]);
    let (modules, every) = (engine.modules().to_vec(), all(&engine));
    let empty = |m: &Module| (Covariance::new(m.input), Covariance::new(m.out));
    let mut pairs: Pairs = modules.iter().map(empty).collect();
    let wrong = engine.covariances(&batch(&samples), &Labels::Data, &every, &mut pairs).unwrap_err();
    assert_says(&wrong.to_string(), &["model.layers.1.mlp.down_proj", "an input of sample 4 ", "NaN"]);
    let mut squares: Vec<Squares> = modules.iter().map(|m| Squares::new(m.len())).collect();
    let wrong = engine.squares(&batch(&samples), &Labels::Data, &every, false, &mut squares).unwrap_err();
    assert!(matches!(wrong, PassError::NotFinite { sample, value, .. } if sample == bad && value.is_nan()));
    let gradients =
        engine.gradients(&batch(&samples), Measurement::Loss, &every, false, &mut |module, values| {
            engine.check_gradients(module, values)
        });
    assert_eq!(gradients.unwrap_err().to_string(), wrong.to_string());
    let wrong = engine.covariances(&batch(&samples), &Labels::Data, &[], &mut []).unwrap_err();
    assert!(matches!(wrong, PassError::Loss { sample, .. } if sample == bad), "{wrong}");
    engine.set_bases(&vec![ModuleFactors::default(); modules.len()]).unwrap();
    let none = engine.squares(&batch(&samples), &Labels::Data, &every, true, &mut squares).unwrap_err();
    assert_says(&none.to_string(), &["model.layers.0.self_attn.q_proj", "eigenvectors"]);
}

#[test]
fn wrong_questions_are_refused() {
    let (model, samples) = (Tiny::new(), samples(&SHAPES[..2]));
    let mut engine = cpu(&model, &["*.[iu][np]*"]);
    assert_eq!(engine.modules().len(), 2, "input_layernorm, which is not linear, is left out");
    let mut squares = vec![Squares::new(3); 2];
    let pass = |samples: &[TargetSample<'_>], labels: &Labels<'_>, squares: &mut [Squares]| {
        engine.squares(samples, labels, &[0, 1], false, squares).unwrap_err()
    };
    let size = pass(&batch(&samples), &Labels::Data, &mut squares);
    assert!(matches!(size, PassError::Curvature(CurvatureError::Size { found: 3, .. })), "{size}");
    let mut squares: Vec<Squares> = engine.modules().iter().map(|m| Squares::new(m.len())).collect();
    let drawn = Labels::Sampled { seed: 1, pass: 0, rows: &[4] };
    let few = pass(&batch(&samples), &drawn, &mut squares);
    assert!(matches!(few, PassError::RowNumbers { rows: 1, samples: 2 }), "{few}");
    let unknown = [None, Some(VOCAB as u32)];
    let sample = TargetSample { ids: &[1, 2], targets: &unknown };
    let unknown = pass(&[sample], &Labels::Data, &mut squares);
    assert!(matches!(unknown, PassError::Sample(EngineError::UnknownToken { index: 0, .. })), "{unknown}");
    let short = pass(&[TargetSample { ids: &[1, 2], targets: &[None] }], &Labels::Data, &mut squares);
    assert!(
        matches!(short, PassError::Sample(EngineError::FlagCount { tokens: 2, flags: 1, .. })),
        "{short}"
    );
    assert!(squares.iter().all(|squares| squares.count == 0));
    let stopped = engine.gradients(&batch(&samples), Measurement::Loss, &[0, 1], false, &mut |_, _| {
        Err(PassError::RowNumbers { rows: 1, samples: 9 })
    });
    assert!(matches!(stopped, Err(PassError::RowNumbers { rows: 1, samples: 9 })));
    assert!(engine.gradients(&[], Measurement::Loss, &[0], false, &mut |_, _| Ok(())).unwrap().is_empty());
    assert!(matches!(engine.set_bases(&[]), Err(PassError::Factors { found: 0, expected: 2 })));
    let tied = {
        let mut tied = model.clone();
        tied.config["tie_word_embeddings"] = true.into();
        tied.weights.remove("lm_head.weight");
        tied
    };
    for (model, patterns, says) in [
        (&model, &["*layernorm"][..], &["modules=*layernorm", "no linear layer", "leave it out"][..]),
        (&model, &["*.mlp.*", "model.embed_tokens"], &["modules=model.embed_tokens", "no linear layer"]),
        (&tied, &["*", "lm_head"], &["shares the weight of model.embed_tokens", "leave it out of"]),
    ] {
        let refused =
            try_load(model, patterns, Cpu::new(ComputePrecision::F32), SavedActivations::All).err().unwrap();
        assert_says(&refused.to_string(), says);
    }
    assert_eq!(cpu(&tied, &["*"]).modules().len(), 14);
}

/// Factors of all modules in blocks of at most `most` rows, with their eigenbases and the squares of the
/// samples' gradients in them.
pub fn fitted(engine: &mut CurvatureEngine, samples: &[Sample], most: usize) -> Vec<ModuleFactors> {
    let pairs = sums(engine, samples, 6, None).0;
    let cut = |whole: Covariance| {
        let blocks = Blocks::new(whole.size, most);
        whole.cut(blocks)
    };
    let decomposed = |((activation, gradient), module): ((Covariance, Covariance), &Module)| {
        let (activation, gradient) = (cut(activation), cut(gradient));
        let mut factors = ModuleFactors { activation, gradient, ..ModuleFactors::default() };
        factors.decompose(module).unwrap();
        factors
    };
    let mut factors: Vec<ModuleFactors> = pairs.into_iter().zip(engine.modules()).map(decomposed).collect();
    engine.set_bases(&factors).unwrap();
    let mut squares: Vec<Squares> = engine.modules().iter().map(|m| Squares::new(m.len())).collect();
    engine.squares(&batch(samples), &Labels::Data, &all(engine), true, &mut squares).unwrap();
    factors.iter_mut().zip(squares).for_each(|(factors, squares)| factors.lambda = Some(squares));
    factors
}

/// Blocks of at most `most` coordinates.
pub fn basis(engine: &CurvatureEngine, factors: &[ModuleFactors], most: u32) -> Arc<EigenBasis> {
    let blocks = engine.modules().iter().zip(factors);
    let blocks = blocks.map(|(m, factors)| EigenBlock::new(m, factors, Strategy::Ekfac, most).unwrap());
    Arc::new(EigenBasis::new(blocks.collect(), engine.checkpoint_id().to_string(), false))
}

/// Rows of the samples' gradients, and the modules in the order of their coordinates.
fn rows(
    model: &Tiny,
    samples: &[Sample],
    spec: &ProjectionSpec,
    way: ProjectionRoute,
) -> (Vec<Vec<f64>>, Vec<ModuleShape>) {
    let (rows, _, modules) = computed(model, samples, &["*_proj"], (spec, way));
    (rows, modules)
}

/// The same of these modules, with what blocks leave out: for each sample the lengths of each module.
pub fn computed(
    model: &Tiny,
    samples: &[Sample],
    patterns: &[&str],
    (spec, way): (&ProjectionSpec, ProjectionRoute),
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<ModuleShape>) {
    let folder = TempDir::new().unwrap();
    let path = model.write(folder.path());
    let decoder = cpu(model, patterns).decoder().clone();
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let selection = ModuleSelection { patterns, biases: true };
    let tracked = selection.resolve(&decoder).unwrap();
    let tensors = tensor_specs(&decoder, &tracked);
    let modules = module_shapes(&decoder, &tracked, &tensors);
    let projector = FactoredProjector::new(spec, &modules, None).unwrap().with_residual();
    let projector = Projector::Factored { projector, routes: vec![way; modules.len()] };
    let features = GradFeatures { forms: vec![GradForm::Plain], projector, moments: None };
    let options = EngineOptions { reduction: Reduction::Sum, ..EngineOptions::default() };
    let source = CheckpointSource { model: path, adapter: None, tracked };
    let engine = Engine::load(&source, Cpu::new(ComputePrecision::F32), options, Some(features)).unwrap();
    let flags: Vec<Vec<bool>> =
        samples.iter().map(|sample| sample.targets.iter().map(Option::is_some).collect()).collect();
    let packed: Vec<PackedSample<'_>> =
        samples.iter().zip(&flags).map(|(sample, scored)| PackedSample::new(&sample.ids, scored)).collect();
    let (mut rows, mut residuals) = (vec![Vec::new(); samples.len()], vec![Vec::new(); samples.len()]);
    let want = RequestedOutputs { grad: true, ..RequestedOutputs::default() };
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    engine
        .run(&packed, want, &mut |at, output| {
            (rows[at], residuals[at]) = (wide(output.grads), wide(output.residual));
        })
        .unwrap();
    (rows, residuals, modules)
}

#[test]
fn rows_in_the_eigenbasis_are_rotated_gradients_and_their_products_scores() {
    [usize::MAX, 5].into_iter().for_each(rows_are_rotated_gradients);
}

/// In the eigenbasis of factors in blocks of at most `most` rows.
fn rows_are_rotated_gradients(most: usize) {
    // Features are of samples with tokens.
    let (model, samples) = (Tiny::new().with_biases(), samples(&SHAPES[..6]));
    let mut engine = cpu(&model, &["*_proj"]);
    let factors = fitted(&mut engine, &samples, most);
    let whole = ProjectionSpec::of_basis(basis(&engine, &factors, 1 << 20), 1 << 20);
    let plain = gradients(&engine, &samples, Measurement::Loss, false);
    let (found, order) = rows(&model, &samples, &whole, ProjectionRoute::Factors);
    let (formed, _) = rows(&model, &samples, &whole, ProjectionRoute::Formed);
    let norm = |values: &[f64]| dot(values, values).sqrt();
    // Rows and scores in f64 from the gradients themselves.
    let (mut expected, mut scores) = (vec![Vec::new(); 6], vec![0.0; 36]);
    for shape in &order {
        let of = |module: &Module| shape.name == format!("{}.weight", module.name);
        let at = engine.modules().iter().position(of).unwrap();
        let module = &engine.modules()[at];
        let inverse = factors[at].inverse(module, Strategy::Ekfac, Damping::OfMean).unwrap();
        let gradients: Vec<&[f64]> = plain[at].chunks_exact(module.len()).collect();
        for (row, gradient) in expected.iter_mut().zip(&gradients) {
            let rotated = inverse.rotated(gradient);
            row.extend(
                rotated.iter().zip(inverse.scale().unwrap()).map(|(value, scale)| value * scale.sqrt()),
            );
        }
        let applied: Vec<Vec<f64>> = gradients.iter().map(|gradient| inverse.apply(gradient)).collect();
        for (pair, score) in scores.iter_mut().enumerate() {
            *score += dot(&applied[pair / 6], gradients[pair % 6]);
        }
    }
    for ((found, formed), expected) in found.iter().zip(&formed).zip(&expected) {
        for (way, values) in [("factors", found), ("formed", formed)] {
            assert_eq!(values.len(), expected.len());
            assert_within(values, expected, 1e-5 * norm(expected), way);
        }
    }
    for (pair, score) in scores.iter().enumerate() {
        let (a, b) = (&found[pair / 6], &found[pair % 6]);
        let error = (dot(a, b) - score).abs();
        assert!(error <= 1e-5 * norm(a) * norm(b), "{error} of {score}");
    }
    // A block is a part of these coordinates, and has another fingerprint.
    let cut = ProjectionSpec::of_basis(basis(&engine, &factors, 64), 64);
    let projector = FactoredProjector::new(&cut, &order, None).unwrap();
    assert!(projector.dim() <= 64 * order.len() && cut.fingerprint() != whole.fingerprint());
    let (kept, _) = rows(&model, &samples, &cut, ProjectionRoute::Factors);
    for (kept, all) in kept.iter().zip(&expected) {
        let length = norm(all);
        let among = |value: &f64| all.iter().any(|other| (other - value).abs() <= 1e-5 * length);
        assert!(kept.len() == projector.dim() && kept.iter().all(among) && norm(kept) <= length * 1.00001);
    }
    for block in cut.basis.as_ref().unwrap().blocks() {
        let [kept, whole] = block.lengths();
        assert!((0.0..=whole).contains(&kept) && block.lambda().len() <= 64);
    }
    // Modules that the factors lack are named, and those of another size.
    let refused = |modules: &[ModuleShape]| match FactoredProjector::new(&whole, modules, None) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    };
    assert_says(&refused(&[ModuleShape::linear("model.norm.weight", 4, 4, false)]), &["model.norm.weight"]);
    let wrong = ModuleShape::linear(order[0].name.clone(), 3, 5, false);
    assert_says(&refused(&[wrong]), &[order[0].name.as_str(), "3 x 5"]);
}
