//! Promise: preconditioned scores of projected gradients are those of bergson and of TRAK's library, and of
//! their formulas in f64, for every Hessian, inversion and normalisation of the reference results.

use std::ops::Range;

use crate::common::support;
use crate::tensors::{self, Tensors};
use gstore_curvature::{Gram, Inversion, MixtureBalance, Preconditioner, Solver, dot, mixture};
use serde_json::Value;

/// Relative to the largest score: formulas are stored in f32, and the manifest states no difference for them.
const FORMULA: f64 = 1e-5;

/// Multiple of the difference that the manifest states between the library in f32 and the formula in f64.
const TIMES: f64 = 10.0;

/// A case of the manifest with its tensors, if it is there.
fn case(name: &str) -> Option<(Value, Tensors)> {
    let folder = support::shared().join("golden/precond");
    let case = support::precond_case(&folder, name)?;
    let file = folder.join(case["files"]["data"].as_str().expect("a file"));
    Some((case, tensors::read(&file)))
}

/// The tolerance if the manifest states this difference, or none.
fn allowed(stated: &Value) -> f64 {
    stated.as_f64().map_or(FORMULA, |stated| TIMES * stated)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, of: &str) {
    assert_eq!(found.len(), expected.len(), "{of}");
    let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    // One by one: a maximum would ignore NaN.
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let apart = (x - y).abs();
        assert!(apart <= tolerance * largest, "{of}: {at}: {apart:e} of {largest:e}, allowed {tolerance:e}");
    }
}

/// Compares scores with a tensor, and gives how many were compared. If the reference lacks it, it says so.
fn compare(found: &[f64], (tensors, name): (&Tensors, &str), tolerance: f64) -> usize {
    let Some((_, expected)) = tensors.get(name) else {
        eprintln!("skipped: the reference has no {name}");
        return 0;
    };
    assert_close(found, expected, tolerance, name);
    found.len()
}

/// The projected gradients of both sides, and the ranges of their blocks.
struct Projected {
    case: Value,
    tensors: Tensors,
    blocks: Vec<(String, Range<usize>)>,
}

fn add_rows(gram: &mut Gram, rows: &[f64]) {
    let size = gram.size;
    gram.strips().iter_mut().for_each(|strip| strip.add(rows, size, 0));
    gram.mirror();
    gram.count += (rows.len() / size) as u64;
}

impl Projected {
    fn rows(&self, side: &str) -> impl Iterator<Item = &[f64]> {
        let (shape, values) = &self.tensors[&format!("{side}.gradients")];
        values.chunks_exact(shape[1])
    }

    fn grams(&self, side: &str) -> Vec<Gram> {
        let of_block = |(_, range): &(String, Range<usize>)| {
            let mut gram = Gram::new(range.len());
            self.rows(side).for_each(|row| add_rows(&mut gram, &row[range.clone()]));
            gram
        };
        self.blocks.iter().map(of_block).collect()
    }

    /// The Hessian with this name: one matrix per block.
    fn hessian(&self, name: &str) -> Vec<Gram> {
        let mixing = &self.case["mixing"][name];
        if mixing.is_null() {
            return self.grams(name);
        }
        let (train, query) = (self.grams("train"), self.grams("query"));
        let blocks: Vec<(&str, &Gram, &Gram)> = self
            .blocks
            .iter()
            .zip(train.iter().zip(&query))
            .map(|((name, _), (train, query))| (name.as_str(), train, query))
            .collect();
        let components = mixing["target_components"].as_u64().expect("a number") as usize;
        let found = MixtureBalance::new(&blocks).expect("eigenvalues").share(components).expect("a share");
        // That of the library is in f32.
        let (lambda, within) = match mixing["lambda_from_stored_gradients"].as_f64() {
            Some(lambda) => (lambda, 1e-9),
            None => (mixing["lambda"].as_f64().expect("a number"), FORMULA),
        };
        assert!((found - lambda).abs() < within, "{name}: {found} is not {lambda}");
        mixture(&blocks, found).expect("a mixture")
    }

    /// In the form of questions.
    fn preconditioner(&self, hessian: &str, inversion: Inversion, damping: f64) -> Preconditioner {
        let hessian = self.hessian(hessian);
        let of_block = |((name, range), gram): (&(String, Range<usize>), &Gram)| {
            (range.clone(), Solver::new(gram, name, inversion, Some(damping)).expect("an inverse"))
        };
        Preconditioner::new(self.blocks.iter().zip(&hessian).map(of_block).collect())
    }

    /// The scores of an entry of the manifest, `[query, train]`.
    fn scores(&self, entry: &Value) -> Vec<f64> {
        let inversion = match entry["inversion"].as_str().expect("a name") {
            "damped_inverse" => Inversion::Damped,
            "absolute_damped_inverse" => Inversion::Absolute,
            "tikhonov_filtered" => Inversion::Tikhonov,
            "pseudoinverse" => Inversion::Pseudoinverse,
            other => panic!("no inversion {other}"),
        };
        let damping = entry["damping"].as_f64().expect("a number");
        let (hessian, is_cosine) = (entry["hessian"].as_str(), entry["cosine"].as_bool().expect("a flag"));
        let preconditioner = hessian.map(|hessian| self.preconditioner(hessian, inversion, damping));
        let queries: Vec<Vec<f64>> =
            self.rows("query").map(|row| self.preconditioned(row, &preconditioner)).collect();
        let length = |row: &[f64]| match &preconditioner {
            Some(preconditioner) => preconditioner.energies(row, 1, &vec![1.0; self.blocks.len()])[0].sqrt(),
            None => dot(row, row).sqrt(),
        };
        let lengths = |side: &str| -> Vec<f64> {
            self.rows(side).map(|row| if is_cosine { length(row) } else { 1.0 }).collect()
        };
        let (of_queries, of_train) = (lengths("query"), lengths("train"));
        let score = |at: usize, query: &[f64]| -> Vec<f64> {
            let pairs = self.rows("train").zip(&of_train);
            pairs.map(|(row, length)| dot(query, row) / of_queries[at] / length).collect()
        };
        queries.iter().enumerate().flat_map(|(at, query)| score(at, query)).collect()
    }

    fn preconditioned(&self, row: &[f64], by: &Option<Preconditioner>) -> Vec<f64> {
        let mut row = row.to_vec();
        by.iter().for_each(|by| by.apply(&mut row));
        row
    }
}

fn projected() -> Option<Projected> {
    let (case, tensors) = case("projected")?;
    let blocks = case["blocks"].as_array().expect("blocks").iter().map(|block| {
        let number = |name: &str| block[name].as_u64().expect("a number") as usize;
        let start = number("offset");
        (block["module"].as_str().expect("a name").to_owned(), start..start + number("size"))
    });
    let blocks = blocks.collect();
    Some(Projected { case, tensors, blocks })
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_projected() {
    let Some(golden) = projected() else { return };
    let mut compared = 0;
    for (name, entry) in golden.case["scores"].as_object().expect("scores") {
        let found = golden.scores(entry);
        let tolerance = allowed(&entry["library_f32_vs_formula_f64"][0]);
        let mut with = |kind: &str, tolerance| {
            compared += compare(&found, (&golden.tensors, &format!("{kind}.{name}")), tolerance);
        };
        with("formula", FORMULA);
        with("score", tolerance);
    }
    assert!(compared > 0, "no score of the reference could be compared");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_logra() {
    let Some(golden) = projected() else { return };
    let scores = &golden.case["scores"];
    // LoGra's dot product is a score of its own.
    let Some(damping) = scores["train.dot"]["damping"].as_f64() else {
        eprintln!("skipped: the reference has no score train.dot, whose damping is LoGra's");
        return;
    };
    let preconditioner = Some(golden.preconditioner("train", Inversion::Damped, damping));
    let weights = vec![1.0; golden.blocks.len()];
    let energy = |row| preconditioner.as_ref().expect("there").energies(row, 1, &weights)[0];
    let itself: Vec<f64> = golden.rows("train").map(energy).collect();
    let mut compared = compare(&itself, (&golden.tensors, "formula.logra.self"), FORMULA);
    let queries: Vec<Vec<f64>> =
        golden.rows("query").map(|row| golden.preconditioned(row, &preconditioner)).collect();
    let score = |query: &[f64], row: &[f64]| dot(query, row) / dot(row, row).sqrt();
    let found: Vec<f64> =
        queries.iter().flat_map(|query| golden.rows("train").map(move |row| score(query, row))).collect();
    compared += compare(&found, (&golden.tensors, "formula.logra.cosine_train_side"), FORMULA);
    let has_any = golden.tensors.keys().any(|name| name.starts_with("formula.logra."));
    assert!(compared > 0 || !has_any, "no score of the reference could be compared");
}

/// How the models of an ensemble are weighted relative to each other.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Unscaled: the formula of the paper.
    Paper,
    /// Each inverse divided by the mean of its absolute entries, as the library `traker` does.
    Normalised,
}

/// TRAK's scores of the first models of an ensemble, `[query, row]`: `mean_c psi_c (Phi_c' Phi_c + ridge
/// I)^-1 Phi_c'` times `mean_c Q_c`, with the inverse of the mean over rows that questions use.
fn of_models(tensors: &Tensors, models: usize, ridge: f64, form: Form) -> Vec<f64> {
    let k = tensors["phi"].0[2];
    let part = |name: &str, at: usize| {
        let (shape, values) = &tensors[name];
        let len: usize = shape[1..].iter().product();
        &values[at * len..(at + 1) * len]
    };
    let rows = part("phi", 0).len() / k;
    let mut scores = vec![0.0; part("psi", 0).len() / k * rows];
    for at in 0..models {
        let (phi, mut psi) = (part("phi", at), part("psi", at).to_vec());
        let mut gram = Gram::new(k);
        add_rows(&mut gram, phi);
        let name = format!("model {at}");
        let solver =
            Solver::new(&gram, &name, Inversion::Absolute, Some(ridge / rows as f64)).expect("an inverse");
        let by = match form {
            Form::Paper => rows as f64,
            Form::Normalised => {
                let mut identity: Vec<f64> =
                    (0..k * k).map(|at| f64::from(u8::from(at % (k + 1) == 0))).collect();
                identity.chunks_exact_mut(k).for_each(|column| solver.apply(column));
                identity.iter().map(|value| value.abs()).sum::<f64>() / (k * k) as f64
            }
        };
        psi.chunks_exact_mut(k).for_each(|query| solver.apply(query));
        let pairs = psi.chunks_exact(k).flat_map(|query| phi.chunks_exact(k).map(move |row| dot(query, row)));
        scores.iter_mut().zip(pairs).for_each(|(sum, score)| *sum += score / by);
    }
    let count = models as f64;
    let q = |row: usize| (0..models).map(|at| part("q", at)[row]).sum::<f64>() / count;
    scores.iter().enumerate().map(|(at, score)| score / count * q(at % rows)).collect()
}

fn divided(scores: Vec<f64>, by: f64) -> Vec<f64> {
    scores.into_iter().map(|score| score / by).collect()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_trak() {
    let Some((case, tensors)) = case("trak") else { return };
    let (all, k) = (tensors["phi"].0[0], tensors["phi"].0[2] as f64);
    let with = |found: &[f64], name: &str, tolerance| compare(found, (&tensors, name), tolerance);
    let mut compared = 0;
    for (suffix, ridge) in [("", Some(0.0)), (".ridge", case["ridge"].as_f64())] {
        let Some(ridge) = ridge else { continue };
        let paper = of_models(&tensors, all, ridge, Form::Paper);
        compared += with(&paper, &format!("score.paper{suffix}"), FORMULA);
        // The library divides gradients by the square root of their length, which is k there.
        let found = divided(of_models(&tensors, all, ridge, Form::Normalised), k);
        compared += with(&found, &format!("score.normalised{suffix}"), FORMULA);
        let measured = &case["measured"]["library_f32_vs_normalised_f64"][format!("library{suffix}")];
        compared += with(&found, &format!("score.library{suffix}"), allowed(&measured[0]));
    }
    let first = of_models(&tensors, 1, 0.0, Form::Paper);
    compared += with(&first, "score.paper.checkpoint_0", FORMULA);
    assert!(compared > 0, "no score of the reference could be compared");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_trak_classifier() {
    let Some((case, tensors)) = case("trak_classifier") else { return };
    let all = tensors["phi"].0[0];
    let with = |found: &[f64], name: &str, tolerance| compare(found, (&tensors, name), tolerance);
    let paper = of_models(&tensors, all, 0.0, Form::Paper);
    let found = of_models(&tensors, all, 0.0, Form::Normalised);
    let tolerance = allowed(&case["measured"]["library_f32_vs_normalised_f64"][0]);
    let compared = with(&paper, "score.paper", FORMULA)
        + with(&found, "score.normalised", FORMULA)
        + with(&found, "score.library", tolerance);
    assert!(compared > 0, "no score of the reference could be compared");
}
