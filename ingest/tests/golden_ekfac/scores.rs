//! Scores of every way of preconditioning, from one pass over the training rows for each basis.

use std::ops::Range;

use gstore_curvature::{Damping, Inverse, Module, ModuleFactors, Strategy, dot, low_rank, product};
use gstore_ingest::curvature::{CurvatureEngine, Measurement, PassError};

use super::folder::{Row, samples};
use super::{BATCH, halves};

/// Cost of the decompositions that one test may make, in products: queries beyond are not cut to a rank.
const DECOMPOSED: usize = 600_000_000;

/// Products of gradients of queries and of training rows.
pub struct Scores {
    /// `[module, query, train]` by the method's name.
    pub pairs: Vec<(String, Vec<f64>)>,
    /// `[module, train]`.
    pub own: Vec<(String, Vec<f64>)>,
    pub train_losses: Vec<f64>,
    pub query_losses: Vec<f64>,
}

/// One way of preconditioning.
struct Method {
    name: String,
    /// Whether gradients are in the eigenbasis.
    rotated: bool,
    /// Factor of each coordinate, for each module; none for 1.
    scales: Vec<Option<Vec<f64>>>,
    /// Queries cut to a rank, in place of factors: `[queries, out * input]` for each module.
    cut: Option<Vec<Vec<f32>>>,
}

/// Strategy and damping of a name like `ekfac.null`, `kfac.1e-3` or `identity`.
fn parse(name: &str) -> (Strategy, Damping) {
    let (strategy, damping) = name.split_once('.').unwrap_or((name, "null"));
    let value = (damping != "null").then(|| damping.parse::<f64>().unwrap());
    let damping = value.map_or(Damping::OfMean, |value| Damping::value(value).unwrap());
    (Strategy::parse(strategy).unwrap(), damping)
}

fn inverse(engine: &CurvatureEngine, factors: &[ModuleFactors], module: usize, name: &str) -> Inverse {
    let (strategy, damping) = parse(name);
    factors[module].inverse(&engine.modules()[module], strategy, damping).unwrap()
}

/// Gradients of the rows for each module, one after the other, and the losses.
pub fn gradients(engine: &CurvatureEngine, rows: &[Row], rotated: bool) -> (Vec<Vec<f32>>, Vec<f64>) {
    let all: Vec<usize> = (0..engine.modules().len()).collect();
    let (mut found, mut losses) = (vec![Vec::new(); all.len()], Vec::new());
    for batch in rows.chunks(BATCH) {
        let of_batch = engine
            .gradients(&samples(batch), Measurement::Loss, &all, rotated, &mut |module, values| {
                found[module].extend_from_slice(values);
                Ok(())
            })
            .unwrap();
        losses.extend(of_batch.into_iter().map(f64::from));
    }
    (found, losses)
}

/// Scores by the methods of these names; those that begin with `lowrankN.` are cut to rank N, for as many
/// queries as the budget allows.
pub fn scores(
    engine: &CurvatureEngine,
    factors: &[ModuleFactors],
    (train, queries): (&[Row], &[Row]),
    names: &[String],
) -> Scores {
    let mut scores =
        Scores { pairs: Vec::new(), own: Vec::new(), train_losses: Vec::new(), query_losses: Vec::new() };
    for rotated in [false, true] {
        let of_basis = |name: &&String| parse(uncut(name).1).0.rotates() == rotated;
        let names: Vec<&String> = names.iter().filter(of_basis).collect();
        if names.is_empty() {
            continue;
        }
        let (of_queries, query_losses) = gradients(engine, queries, rotated);
        let method = |name: &&String| method(engine, factors, name, &of_queries, queries.len());
        let methods: Vec<Method> = names.iter().map(method).collect();
        let of_half = |range: Range<usize>| products(engine, train, range, &methods, &of_queries);
        let mut parts = halves(train.len(), of_half).into_iter();
        let (mut pairs, mut own, mut train_losses) = parts.next().unwrap();
        for (other_pairs, other_own, other_losses) in parts {
            pairs.iter_mut().zip(&other_pairs).for_each(|(sums, other)| add(sums, other));
            own.iter_mut().zip(&other_own).for_each(|(sums, other)| add(sums, other));
            train_losses.extend(other_losses);
        }
        let named = |values: Vec<Vec<f64>>| methods.iter().map(|of| of.name.clone()).zip(values);
        scores.pairs.extend(named(pairs));
        scores.own.extend(named(own));
        (scores.train_losses, scores.query_losses) = (train_losses, query_losses);
    }
    scores
}

fn add(sums: &mut [f64], other: &[f64]) {
    sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
}

/// The rank that a name asks for, and the rest of it.
fn uncut(name: &str) -> (Option<usize>, &str) {
    match name.strip_prefix("lowrank").and_then(|rest| rest.split_once('.')) {
        Some((rank, rest)) => (Some(rank.parse().unwrap()), rest),
        None => (None, name),
    }
}

fn method(
    engine: &CurvatureEngine,
    factors: &[ModuleFactors],
    name: &str,
    queries: &[Vec<f32>],
    count: usize,
) -> Method {
    let (rank, of) = uncut(name);
    let scale = |module: usize| inverse(engine, factors, module, of).scale().map(<[f64]>::to_vec);
    let scales: Vec<Option<Vec<f64>>> = (0..engine.modules().len()).map(scale).collect();
    let cost = |module: &Module| module.len() * module.out.min(module.input);
    let affordable = DECOMPOSED / engine.modules().iter().map(cost).sum::<usize>().max(1);
    let cut = rank.map(|rank| {
        let of_module = |(module, queries): (usize, &Vec<f32>)| {
            let shape = &engine.modules()[module];
            let queries = queries.chunks_exact(shape.len()).take(count.min(affordable.max(1)));
            let cut = queries.flat_map(|query| {
                let whole = weighted(query, scales[module].as_deref());
                let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
                // A turned matrix has the same singular values, and its cut form is the turned cut form.
                let cut = low_rank(&whole, (shape.out, shape.input), rank);
                cut.map_or(whole, |cut| cut.matrix(shape.out, shape.input))
            });
            cut.map(|value| value as f32).collect::<Vec<f32>>()
        };
        queries.iter().enumerate().map(of_module).collect()
    });
    Method { name: name.to_owned(), rotated: parse(of).0.rotates(), scales, cut }
}

fn weighted(query: &[f32], scale: Option<&[f64]>) -> Vec<f32> {
    match scale {
        Some(scale) => query.iter().zip(scale).map(|(v, s)| (f64::from(*v) * s) as f32).collect(),
        None => query.to_vec(),
    }
}

/// For each method its pairs and self scores, 0 outside of a range of training rows; and the losses there.
type Products = (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<f64>);

fn products(
    engine: &CurvatureEngine,
    train: &[Row],
    range: Range<usize>,
    methods: &[Method],
    queries: &[Vec<f32>],
) -> Products {
    let (shapes, rows) = (engine.modules(), train.len());
    let all: Vec<usize> = (0..shapes.len()).collect();
    let count = queries[0].len() / shapes[0].len();
    let kept: Vec<usize> = methods
        .iter()
        .map(|method| method.cut.as_ref().map_or(count, |cut| cut[0].len() / shapes[0].len()))
        .collect();
    let mut pairs: Vec<Vec<f64>> = kept.iter().map(|kept| vec![0.0; shapes.len() * kept * rows]).collect();
    let mut own = vec![vec![0.0; shapes.len() * rows]; methods.len()];
    let (mut losses, mut start) = (Vec::new(), range.start);
    let rotated = methods[0].rotated;
    for batch in train[range].chunks(BATCH) {
        let mut each = |module: usize, values: &[f32]| -> Result<(), PassError> {
            let len = shapes[module].len();
            for (index, method) in methods.iter().enumerate() {
                let scale = method.scales[module].as_deref();
                let cut = method.cut.as_ref().map(|cut| &cut[module]);
                let queries = cut.unwrap_or(&queries[module]).chunks_exact(len);
                for (q, query) in queries.enumerate() {
                    let query = weighted(query, scale.filter(|_| cut.is_none()));
                    let to = (module * kept[index] + q) * rows + start;
                    for (n, gradient) in values.chunks_exact(len).enumerate() {
                        pairs[index][to + n] = product_of(&query, gradient);
                    }
                }
                for (n, gradient) in values.chunks_exact(len).enumerate() {
                    own[index][module * rows + start + n] = product_of(&weighted(gradient, scale), gradient);
                }
            }
            Ok(())
        };
        let of_batch = engine.gradients(&samples(batch), Measurement::Loss, &all, rotated, &mut each);
        losses.extend(of_batch.unwrap().into_iter().map(f64::from));
        start += batch.len();
    }
    (pairs, own, losses)
}

/// The dot product, in f64.
fn product_of(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Scores of each token of the rows by the method of this name: `[query, token]`, over modules of these
/// numbers.
pub fn per_token(
    engine: &CurvatureEngine,
    factors: &[ModuleFactors],
    name: &str,
    (rows, queries): (&[Row], &[Row]),
    modules: &[usize],
) -> Vec<f64> {
    let shapes = engine.modules();
    let (turned, _) = gradients(engine, queries, parse(name).0.rotates());
    let preconditioned: Vec<Vec<Vec<f64>>> = (0..shapes.len())
        .map(|module| match modules.contains(&module) {
            false => Vec::new(),
            true => {
                let inverse = inverse(engine, factors, module, name);
                let of_query = |query: &[f32]| {
                    let scaled = weighted(query, inverse.scale()).into_iter().map(f64::from);
                    inverse.unrotated(&scaled.collect::<Vec<_>>())
                };
                turned[module].chunks_exact(shapes[module].len()).map(of_query).collect()
            }
        })
        .collect();
    let parts = halves(rows.len(), |range| {
        let mut scores: Vec<Vec<f64>> = vec![Vec::new(); queries.len()];
        for batch in rows[range].chunks(BATCH) {
            let mut of_batch: Vec<Vec<f64>> = vec![Vec::new(); queries.len()];
            let mut each =
                |module: usize, x: &[f32], e: &[f32], spans: &[Range<usize>]| -> Result<(), PassError> {
                    let (out, input) = (shapes[module].out, shapes[module].input);
                    let tokens = e.len() / out;
                    assert_eq!(spans.last().map(|span| span.end), Some(tokens));
                    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
                    let (x, e) = (wide(x), wide(e));
                    for (scores, query) in of_batch.iter_mut().zip(&preconditioned[module]) {
                        scores.resize(tokens, 0.0);
                        let at = product(&e, query, (tokens, out, input));
                        let products = at.chunks_exact(input).zip(x.chunks_exact(input));
                        scores.iter_mut().zip(products).for_each(|(score, (a, x))| *score += dot(a, x));
                    }
                    Ok(())
                };
            engine.factors(&samples(batch), Measurement::Loss, modules, &mut each).unwrap();
            scores.iter_mut().zip(of_batch).for_each(|(all, batch)| all.extend(batch));
        }
        scores
    });
    (0..queries.len()).flat_map(|q| parts.iter().flat_map(move |part| part[q].clone())).collect()
}
