//! Promise: products with the Gauss-Newton matrix are those of the matrix that gradients of all labels make,
//! for every model of the zoo; the tangent pass is the derivative of the logits; and conjugate gradients with
//! these products solve what a factorisation of the whole matrix solves.

use std::path::Path;

use crate::common::autograd;
use crate::common::reference::shared;
use crate::common::tiny::{Tiny, noise};
use crate::common::{assert_says, packed, relative_error};
use crate::curvature::{Sample, batch, samples};
use gstore_curvature::{Covariance, ProductResult, Solution};
use gstore_curvature::{
    CurvatureError, Damping, Inverse, LinearSystem, Module, ModuleFactors, SolveLimits, Squares, Strategy,
    conjugate_gradients, dot,
};
use gstore_ingest::curvature::{CurvatureEngine, Labels, Measurement, PassError};
use gstore_ingest::gradient::{CheckpointSource, GradientBackend, ModuleSelection};
use gstore_model::architectures::{Decoder, LinearId, Param, TensorRole};
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelFolder;
use gstore_model::{
    Backend, ComputePrecision, Direction, ForwardOptions, LastRows, Layout, LinearWeights, Model, Reduction,
    SavedActivations,
};
use tempfile::TempDir;

fn engine<B: GradientBackend>(
    model: &Path,
    patterns: &[&str],
    backend: B,
    keep: SavedActivations,
) -> CurvatureEngine {
    let source = CheckpointSource { model: model.to_owned(), adapter: None, tracked: Vec::new() };
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    CurvatureEngine::load(&source, backend, &ModuleSelection { patterns, biases: false }, keep).unwrap()
}

fn cpu(model: &Path, patterns: &[&str]) -> CurvatureEngine {
    engine(model, patterns, Cpu::new(ComputePrecision::F32), SavedActivations::All)
}

fn values(engine: &CurvatureEngine) -> usize {
    engine.modules().iter().map(Module::len).sum()
}

fn direction(seed: u64, count: usize) -> Vec<f64> {
    noise(seed, count, 0.5).into_iter().map(f64::from).collect()
}

/// Products over batches of `size`.
fn products(engine: &CurvatureEngine, samples: &[Sample], size: usize, of: &[&[f64]]) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; values(engine)]; of.len()];
    let directions = engine.directions(of).unwrap();
    samples.chunks(size).for_each(|part| directions.products(&batch(part), &mut out).unwrap());
    out
}

/// Gradients of a batch's samples, each over all modules, and the losses.
fn gradients(engine: &CurvatureEngine, samples: &[Sample]) -> (Vec<Vec<f64>>, Vec<f32>) {
    let wanted: Vec<usize> = (0..engine.modules().len()).collect();
    let mut of_modules = vec![Vec::new(); wanted.len()];
    let losses =
        engine.gradients(&batch(samples), Measurement::Loss, &wanted, false, &mut |module, values| {
            of_modules[module] = values.to_vec();
            Ok(())
        });
    let whole = |at: usize| -> Vec<f64> {
        let part = |(module, all): (&Module, &Vec<f32>)| -> Vec<f64> {
            all[at * module.len()..][..module.len()].iter().map(|v| f64::from(*v)).collect()
        };
        engine.modules().iter().zip(&of_modules).flat_map(part).collect()
    };
    ((0..samples.len()).map(whole).collect(), losses.unwrap())
}

/// The product by the definition of the Fisher matrix: of each scored token the mean of `g (g' v)` over all
/// labels.
fn by_labels(engine: &CurvatureEngine, samples: &[Sample], of: &[f64]) -> Vec<f64> {
    let vocab = engine.decoder().vocab_size as u32;
    let mut sum = vec![0.0; of.len()];
    for Sample { ids, targets } in samples {
        let scored = targets.iter().enumerate().skip(1).filter(|(_, target)| target.is_some());
        for (token, _) in scored {
            let labelled = |label: u32| {
                let targets = (0..ids.len()).map(|at| (at == token).then_some(label)).collect();
                Sample { ids: ids.clone(), targets }
            };
            let labels: Vec<Sample> = (0..vocab).map(labelled).collect();
            for part in labels.chunks(32) {
                let (gradients, losses) = gradients(engine, part);
                for (gradient, loss) in gradients.iter().zip(losses) {
                    let along = (-f64::from(loss)).exp() * dot(gradient, of);
                    sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += along * g);
                }
            }
        }
    }
    sum
}

/// Asserts that values lie within `tolerance` of the largest.
#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    assert!(largest > 0.0, "{what}: {largest}");
    // Each by itself: a maximum leaves out what is not a number.
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what}: {at}: {a} is not {b}, of {largest}");
    }
}

/// A prompt, a sample without a scored token, a short one, and one without tokens.
const SHAPES: [(usize, usize); 5] = [(7, 4), (3, 3), (1, 1), (5, 2), (0, 0)];
const ALL: [&str; 3] = ["model.layers.*.self_attn.*", "*.mlp.*", "lm_head"];

#[test]
fn products_are_those_of_the_matrix_that_all_labels_make() {
    let folder = TempDir::new().unwrap();
    let (model, samples) = (Tiny::new().with_biases().write(folder.path()), samples(&SHAPES));
    for patterns in [&ALL[..], &["*.1.mlp.down_proj"], &["*.0.self_attn.k_proj", "*.1.self_attn.q_proj"]] {
        let engine = cpu(&model, patterns);
        let (u, v) = (direction(5, values(&engine)), direction(6, values(&engine)));
        let found = products(&engine, &samples, 4, &[&u, &v]);
        assert_close(&found[0], &by_labels(&engine, &samples, &u), 1e-5, &patterns.join(" "));
        assert_close(&found[1], &by_labels(&engine, &samples, &v), 1e-5, &patterns.join(" "));
        // Symmetric, and nowhere negative.
        let [uv, vu] = [dot(&u, &found[1]), dot(&v, &found[0])];
        let [uu, vv] = [dot(&u, &found[0]), dot(&v, &found[1])];
        assert!((uv - vu).abs() < 1e-5 * (uu * vv).sqrt(), "{uv} {vu} of {uu} {vv}");
        assert!(uu > 0.0 && vv > 0.0 && uv * uv <= uu * vv);

        // Whatever else is asked, however the data is cut and what is kept.
        let directions = engine.directions(&[&v]).unwrap();
        let mut alone = vec![vec![0.0; v.len()]];
        directions.products(&batch(&samples), &mut alone).unwrap();
        assert_eq!(alone[0], found[1]);
        assert_close(&products(&engine, &samples, 1, &[&v])[0], &found[1], 1e-6, "one by one");
        let recomputed =
            self::engine(&model, patterns, Cpu::new(ComputePrecision::F32), SavedActivations::Inputs);
        assert_eq!(products(&recomputed, &samples, 4, &[&u, &v]), found);
        let candle = self::engine(&model, patterns, Candle::cpu(), SavedActivations::All);
        assert_close(&products(&candle, &samples, 4, &[&v])[0], &found[1], 1e-5, "candle");
        let twice: Vec<f64> = v.iter().map(|v| 2.0 * v).collect();
        let doubled: Vec<f64> = found[1].iter().map(|v| 2.0 * v).collect();
        assert_close(&products(&engine, &samples, 4, &[&twice])[0], &doubled, 1e-6, "linear");
    }
}

#[test]
fn what_cannot_be_multiplied_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut model = Tiny::new();
    let samples = samples(&SHAPES);
    let engine = cpu(&model.write(folder.path()), &["*.up_proj"]);
    let few = engine.directions(&[&[1.0; 3]]).map(drop).unwrap_err();
    assert!(matches!(few, PassError::Curvature(CurvatureError::Size { found: 3, .. })), "{few}");
    let mut bad = direction(1, values(&engine));
    bad[3] = f64::NAN;
    let mut out = vec![vec![0.0; bad.len()]];
    let wrong = engine.directions(&[&bad]).unwrap().products(&batch(&samples), &mut out).unwrap_err();
    assert_says(&wrong.to_string(), &["up_proj", "curvature and a direction", "NaN"]);
    model.weights.get_mut("model.norm.weight").unwrap().1[0] = f32::INFINITY;
    let engine = cpu(&model.write(folder.path()), &["*.1.mlp.up_proj"]);
    let directions = direction(1, values(&engine));
    let directions = engine.directions(&[&directions]).unwrap();
    let wrong = directions.products(&batch(&samples), &mut [vec![0.0; values(&engine)]]).unwrap_err();
    assert_says(&wrong.to_string(), &["model.layers.1.mlp.up_proj", "NaN"]);
}

/// The mean of the matrices of some samples and a damping, with the inverse of fitted factors.
struct Curvature<'a> {
    engine: &'a CurvatureEngine,
    samples: &'a [Sample],
    inverse: &'a Inverse,
    damping: f64,
}

impl LinearSystem for Curvature<'_> {
    type Error = CurvatureError;

    fn products(&mut self, vectors: &[&[f64]]) -> Result<Vec<ProductResult>, CurvatureError> {
        let mut all = products(self.engine, self.samples, 2, vectors);
        for (product, vector) in all.iter_mut().zip(vectors) {
            let values = product.iter_mut().zip(*vector);
            values.for_each(|(q, v)| *q = *q / self.samples.len() as f64 + self.damping * v);
        }
        Ok(all.into_iter().map(Ok).collect())
    }

    fn preconditioned(&mut self, vectors: &[&[f64]]) -> Result<Vec<Vec<f64>>, CurvatureError> {
        Ok(vectors.iter().map(|vector| self.inverse.apply(vector)).collect())
    }
}

/// Factors of the true Fisher matrix, labels drawn many times.
fn fitted(engine: &mut CurvatureEngine, samples: &[Sample], strategy: Strategy) -> ModuleFactors {
    const DRAWS: u64 = 20;
    let module = engine.modules()[0].clone();
    let rows: Vec<u64> = (0..samples.len() as u64).collect();
    let mut pairs = vec![(Covariance::new(module.input), Covariance::new(module.out))];
    for pass in 0..DRAWS {
        let labels = Labels::Sampled { seed: 3, pass, rows: &rows };
        engine.covariances(&batch(samples), &labels, &[0], &mut pairs).unwrap();
    }
    let (mut activation, mut gradient) = pairs.remove(0);
    activation.mirror();
    gradient.mirror();
    let mut factors =
        ModuleFactors { activation: Some(activation), gradient: Some(gradient), ..ModuleFactors::default() };
    factors.decompose(&module).unwrap();
    engine.set_bases(std::slice::from_ref(&factors)).unwrap();
    let mut squares = vec![Squares::new(module.len())];
    for pass in DRAWS..2 * DRAWS {
        let labels = Labels::Sampled { seed: 3, pass, rows: &rows };
        engine.squares(&batch(samples), &labels, &[0], strategy.rotates(), &mut squares).unwrap();
    }
    let squares = squares.pop();
    match strategy {
        Strategy::Diagonal => ModuleFactors { diagonal: squares, ..factors },
        _ => ModuleFactors { lambda: squares, ..factors },
    }
}

/// `A^-1 b` by elimination, for a positive definite matrix.
fn eliminated(mut matrix: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for pivot in 0..n {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        for (row, values) in below.iter_mut().enumerate() {
            let share = values[pivot] / above[pivot][pivot];
            values[pivot..].iter_mut().zip(&above[pivot][pivot..]).for_each(|(v, p)| *v -= share * p);
            b[pivot + 1 + row] -= share * b[pivot];
        }
    }
    for pivot in (0..n).rev() {
        let known: f64 = (pivot + 1..n).map(|col| matrix[pivot][col] * b[col]).sum();
        b[pivot] = (b[pivot] - known) / matrix[pivot][pivot];
    }
    b
}

#[test]
fn conjugate_gradients_solve_what_a_factorisation_solves() {
    let folder = TempDir::new().unwrap();
    let model = Tiny::new().with_biases().write(folder.path());
    let mut engine = cpu(&model, &["*.1.self_attn.v_proj"]);
    let module = engine.modules()[0].clone();
    let fit = samples(&[(12, 1), (9, 3), (14, 2), (11, 1), (8, 4), (13, 1), (10, 2), (9, 1)]);
    let factors = fitted(&mut engine, &fit, Strategy::Ekfac);
    let inverse = factors.inverse(&module, Strategy::Ekfac, Damping::OfMean).unwrap();
    let damping = inverse.damping();
    // The matrix by its columns, and symmetric but for rounding.
    let unit = |at: usize| (0..module.len()).map(|i| f64::from(u8::from(i == at))).collect::<Vec<_>>();
    let units: Vec<Vec<f64>> = (0..module.len()).map(unit).collect();
    let columns = products(&engine, &fit, 8, &units.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let value = |row: usize, col: usize| {
        let mean = (columns[row][col] + columns[col][row]) / 2.0 / fit.len() as f64;
        mean + if row == col { damping } else { 0.0 }
    };
    let matrix: Vec<Vec<f64>> =
        (0..module.len()).map(|row| (0..module.len()).map(|col| value(row, col)).collect()).collect();
    // Its diagonal is what the squares of drawn gradients estimate: means over samples of the same loss.
    let trace: f64 = (0..module.len()).map(|at| matrix[at][at] - damping).sum();
    let lambda: f64 = factors.eigenvalues(&module, Strategy::Ekfac).unwrap().iter().sum();
    assert!((trace - lambda).abs() < 0.3 * trace, "{trace} {lambda}");

    let (queries, _) = gradients(&engine, &samples(&SHAPES)[..2]);
    let limits = SolveLimits { tolerance: 1e-5, iterations: 200 };
    let solve = |inverse: &Inverse| -> Vec<Solution> {
        let mut system = Curvature { engine: &engine, samples: &fit, inverse, damping };
        let sides = queries[..1].iter().map(|query| ("q", query.clone())).collect();
        conjugate_gradients(&mut system, sides, limits).unwrap()
    };
    let found = &solve(&inverse)[0];
    let expected = eliminated(matrix, queries[0].clone());
    let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let error = relative_error(&narrow(&found.x), &narrow(&expected));
    assert!(error < 1e-3, "{error}");
    let alone = relative_error(&narrow(&inverse.apply(&queries[0])), &narrow(&expected));
    assert!(error < 0.05 * alone, "{error} {alone}");
    assert!(found.residual <= 1e-5 && found.residual < 0.01 * found.start, "{found:?}");
    // Without the factors it takes longer, to the same solution.
    let plain = ModuleFactors::default().inverse(&module, Strategy::Identity, Damping::OfMean).unwrap();
    let slow = &solve(&plain)[0];
    assert!(slow.iterations > found.iterations, "{} {}", slow.iterations, found.iterations);
    assert!(relative_error(&narrow(&slow.x), &narrow(&expected)) < 1e-3);
}

/// How the weights and biases of all linear maps move: of each tensor its values.
fn moves(decoder: &Decoder, folder: &ModelFolder) -> Vec<Option<Vec<f32>>> {
    let of = |(at, param): (usize, &Param)| {
        if !matches!(param.role, TensorRole::Weight(_) | TensorRole::Bias(_)) {
            return None;
        }
        let weights = folder.read(param).unwrap();
        let square: f64 = weights.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
        let size = (square / weights.len() as f64).sqrt().max(0.02) as f32;
        Some(noise(at as u64 + 1, weights.len(), size))
    };
    decoder.params.iter().enumerate().map(of).collect()
}

fn direction_of<B: Backend>(backend: &B, decoder: &Decoder, moves: &[Option<Vec<f32>>]) -> Direction<B> {
    let mut maps: Vec<(LinearId, LinearWeights)> = Vec::new();
    for (param, moved) in decoder.params.iter().zip(moves) {
        let (TensorRole::Weight(pieces), Some(moved)) = (&param.role, moved) else { continue };
        let bias = decoder.params.iter().position(|other| other.name == format!("{}.bias", param.module()));
        let bias = bias.and_then(|at| moves[at].as_ref());
        let input = param.shape[1];
        for piece in pieces {
            let rows: Vec<usize> = piece.rows.iter().collect();
            let weight = rows.iter().flat_map(|row| &moved[row * input..][..input]).copied().collect();
            let bias = bias.map(|bias| rows.iter().map(|row| bias[*row]).collect());
            maps.push((piece.linear, LinearWeights { weight, out: rows.len(), input, bias }));
        }
    }
    Direction::new(backend, maps).unwrap()
}

fn load<B: Backend>(folder: &ModelFolder, backend: B, moves: &[Option<Vec<f32>>], step: f32) -> Model<B> {
    let decoder = folder.decoder();
    let mut read = |param: &Param| {
        let mut values = folder.read(param)?;
        let at = decoder.params.iter().position(|other| other.name == param.name).unwrap();
        if let Some(moved) = &moves[at] {
            values.iter_mut().zip(moved).for_each(|(value, moved)| *value += step * moved);
        }
        Ok(values)
    };
    Model::build(decoder, backend, &mut read).unwrap()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn tangents_are_derivatives_of_the_logits_of_every_model() {
    const STEP: f32 = 0.015625;
    let shared = shared();
    for path in shared.zoo() {
        let folder = ModelFolder::open(&path).unwrap();
        let (decoder, shown) = (folder.decoder().clone(), path.display());
        let samples = autograd::samples(&path);
        let packed = packed(&samples[..2.min(samples.len())]);
        let layout = || Layout::new(&packed, false, Reduction::Sum);
        let moves = moves(&decoder, &folder);
        let model = load(&folder, Cpu::new(ComputePrecision::F32), &moves, 0.0);
        let along = direction_of(model.backend(), &decoder, &moves);
        let pass = |last_rows, keep| ForwardOptions { last_rows, keep_from: Some(0), keep, tap: None };
        let found = {
            let forward = model.forward(layout(), pass(LastRows::Scored, SavedActivations::All)).unwrap();
            model.logits_tangent(&forward, &along).unwrap()
        };
        let logits = |step: f32| -> Vec<f32> {
            let model = load(&folder, Cpu::new(ComputePrecision::F32), &moves, step);
            let forward = model.forward(layout(), pass(LastRows::Scored, SavedActivations::All)).unwrap();
            model.logits(&forward.hidden).unwrap()
        };
        // Central differences without the error of the second order.
        let [near, nearer, far, farther] = [STEP, -STEP, 2.0 * STEP, -2.0 * STEP].map(logits);
        let difference = |at: usize| {
            let [a, b, c, d] = [&near, &nearer, &far, &farther].map(|values| f64::from(values[at]));
            ((8.0 * (a - b) - (c - d)) / (12.0 * f64::from(STEP))) as f32
        };
        let expected: Vec<f32> = (0..near.len()).map(difference).collect();
        let error = relative_error(&found, &expected);
        assert!(error < 2e-3, "{shown}: {error}");

        // However the pass was run, and on the other backend.
        for (last_rows, keep) in
            [(LastRows::All, SavedActivations::All), (LastRows::Scored, SavedActivations::Inputs)]
        {
            let forward = model.forward(layout(), pass(last_rows, keep)).unwrap();
            let error = relative_error(&model.logits_tangent(&forward, &along).unwrap(), &found);
            assert!(error < 1e-6, "{shown}: {error}");
        }
        let forward = model.forward(
            layout(),
            ForwardOptions { keep_from: Some(1), ..pass(LastRows::Scored, SavedActivations::All) },
        );
        assert!(model.logits_tangent(&forward.unwrap(), &along).is_err(), "{shown}: a layer was not kept");
        let other = load(&folder, Candle::cpu(), &moves, 0.0);
        let along = direction_of(other.backend(), &decoder, &moves);
        let forward = other.forward(layout(), pass(LastRows::Scored, SavedActivations::All)).unwrap();
        let error = relative_error(&other.logits_tangent(&forward, &along).unwrap(), &found);
        assert!(error < 1e-4, "{shown}: {error}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn products_of_every_model_are_those_of_all_labels() {
    let shared = shared();
    for path in shared.zoo() {
        let engine = cpu(&path, &["*"]);
        let ids: Vec<u32> = autograd::samples(&path)[0].ids.iter().take(6).copied().collect();
        let targets = (0..ids.len()).map(|at| (at + 1 == ids.len()).then(|| ids[at])).collect();
        let samples = [Sample { ids, targets }];
        let v = direction(5, values(&engine));
        let found = products(&engine, &samples, 1, &[&v]);
        let expected = by_labels(&engine, &samples, &v);
        assert_close(&found[0], &expected, 1e-4, &path.display().to_string());
    }
}
