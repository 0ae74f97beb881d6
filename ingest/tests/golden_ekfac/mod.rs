//! Promise: covariances, eigenvalues and squares of gradients are Kronfluence's, as far as its own f32 lets
//! one tell (`golden/ekfac`). Scores are those of the program, and compared where it is run.

mod fit;
#[allow(dead_code, reason = "what the test of scores uses alone")]
mod folder;

use std::collections::BTreeSet;

use gstore_curvature::{Module, ModuleFactors, product};
use gstore_ingest::curvature::{CurvatureEngine, Measurement};
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_model::cpu::Cpu;
use gstore_model::{Compute, Keep};

use crate::common::reference::{Shared, shared};
use fit::{BATCH, fit, number};
use folder::{Case, Checks, Tensors, groups, rows, samples};

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_ekfac_factors() {
    let Some(shared) = shared("golden_ekfac_factors") else { return };
    let groups = groups(&shared.json("golden/ekfac/manifest.json"), &shared.path("golden/ekfac"));
    let mut checks = Checks::default();
    for cases in &groups {
        let started = std::time::Instant::now();
        check_group(&shared, cases, &mut checks);
        println!("{}: {:.1} s", cases[0].rows(), started.elapsed().as_secs_f64());
    }
    assert!(checks.failed.is_empty(), "of {}:\n{}", checks.compared, checks.failed.join("\n"));
    assert!(checks.compared > groups.len());
}

fn check_group(shared: &Shared, cases: &[Case], checks: &mut Checks) {
    let file = Tensors::open(&shared.path("golden/ekfac").join(cases[0].rows()));
    let names: BTreeSet<&String> = cases.iter().flat_map(|case| &case.modules).collect();
    let source =
        CheckpointSource { model: shared.path(cases[0].model()), adapter: None, tracked: Vec::new() };
    let selection = ModuleSelection { patterns: names.into_iter().cloned().collect(), biases: false };
    let mut engine = CurvatureEngine::load(&source, Cpu::new(Compute::F32), &selection, Keep::All).unwrap();
    check_shapes(engine.modules(), cases);
    let diagonal = cases.iter().any(|case| case.listed("strategies").contains(&"diagonal"));
    let (factors, stored) = fit(&mut engine, &file, cases, diagonal);
    for case in cases {
        check_factors(&engine, case, &factors, &stored, checks);
    }
    check_losses(&engine, &file, cases, checks);
}

fn check_shapes(modules: &[Module], cases: &[Case]) {
    for value in cases.iter().flat_map(|case| case.value["modules"].as_array().unwrap()) {
        let name = value["name"].as_str().unwrap();
        let Module { out, input, bias, .. } = modules.iter().find(|module| module.name == name).unwrap();
        assert_eq!(value["out"], *out, "{name}");
        assert_eq!(value["in_plus_bias"], *input, "{name}");
        assert_eq!(value["bias"], *bias, "{name}");
    }
}

fn check_factors(
    engine: &CurvatureEngine,
    case: &Case,
    factors: &[ModuleFactors],
    stored: &[usize],
    checks: &mut Checks,
) {
    let Some(file) = &case.factors else { return };
    let (probe, probes) = (file.get("probe").unwrap(), file.shape("probe")[1]);
    let before = checks.compared;
    for name in &case.modules {
        let module = number(engine, name);
        let (of, shape) = (&factors[module], &engine.modules()[module]);
        let mut check = |what: &str, found: &dyn Fn() -> Vec<f64>, key: &str| {
            if let Some(expected) = file.get(&format!("{name}.{what}")) {
                let what = format!("{}: {name}.{what}", case.name);
                checks.compare(&what, &found(), &expected, case.of_factors(key));
            }
        };
        for (side, covariance, eigen) in [
            ("activation", &of.activation, &of.activation_eigen),
            ("gradient", &of.gradient, &of.gradient_eigen),
        ] {
            let (covariance, key) = (covariance.as_ref().unwrap(), format!("{side}_covariance"));
            assert_eq!(covariance.count as usize, case.count("covariance_count_tokens"));
            let (mean, n) = (covariance.mean(), covariance.size);
            check(&key, &|| mean.clone(), &key);
            let diagonal = || mean.iter().step_by(n + 1).copied().collect::<Vec<f64>>();
            check(&format!("{key}.diagonal"), &diagonal, &key);
            let products = || product(&mean, &probe[..n * probes], (n, n, probes));
            check(&format!("{key}.probe"), &products, &key);
            let key = format!("{side}_eigenvalues");
            check(&key, &|| eigen.as_ref().unwrap().values.clone(), &key);
        }
        for (what, squares) in [("lambda", &of.lambda), ("diagonal", &of.diagonal)] {
            let Some(squares) = squares else { continue };
            assert_eq!(squares.count as usize, case.count("lambda_count_examples"));
            let (mean, width) = (squares.mean(), shape.input);
            let keys = match what {
                "lambda" => ["lambda_entries", "lambda_row_sums", "lambda_column_sums", "lambda_total"],
                _ => ["diagonal_lambda"; 4],
            };
            if what != "lambda" || stored.contains(&module) {
                check(what, &|| mean.clone(), keys[0]);
            }
            let by_row = || mean.chunks_exact(width).map(|row| row.iter().sum::<f64>()).collect::<Vec<_>>();
            check(&format!("{what}.row_sums"), &by_row, keys[1]);
            let column = |column: usize| mean.iter().skip(column).step_by(width).sum::<f64>();
            let by_column = || (0..width).map(column).collect::<Vec<f64>>();
            check(&format!("{what}.column_sums"), &by_column, keys[2]);
            check(&format!("{what}.total"), &|| vec![mean.iter().sum::<f64>()], keys[3]);
        }
    }
    let compared = checks.compared - before;
    assert!(compared >= case.modules.len(), "{}: {compared} of the factors' tensors were found", case.name);
}

fn check_losses(engine: &CurvatureEngine, file: &Tensors, cases: &[Case], checks: &mut Checks) {
    for (side, key) in [("train", "train_first_4"), ("query", "query_first_4")] {
        let (rows, _) = rows(file, side, &format!("{side}.labels"));
        for case in cases {
            let losses = case.numbers("loss_sum", key);
            let found = rows[..losses.len()].chunks(BATCH).flat_map(|batch| {
                let found =
                    engine.gradients(&samples(batch), Measurement::Loss, &[0], false, &mut |_, _| Ok(()));
                found.unwrap().into_iter().map(f64::from)
            });
            let found: Vec<f64> = found.collect();
            checks.compare(&format!("{}: losses of {key}", case.name), &found, &losses, [0.0; 2]);
        }
    }
}
