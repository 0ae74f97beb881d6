//! Comparison of factors with those of a reference folder.

use gstore_curvature::{Module, ModuleFactors, product};

use super::folder::{Case, Checks};

/// Compares what the reference has of a case's factors, which are in step with their modules. Of eigenvalues
/// of EK-FAC those of single pairs of directions are compared for the modules whose eigenvectors are `stored`
/// ones.
pub fn check_factors(
    modules: &[Module],
    case: &Case,
    factors: &[ModuleFactors],
    stored: &[usize],
    checks: &mut Checks,
) {
    let Some(file) = &case.factors else { return };
    let (probe, probes) = (file.get("probe").unwrap(), file.shape("probe")[1]);
    let before = checks.compared;
    for name in &case.modules {
        let module = modules.iter().position(|module| module.name == *name).unwrap();
        let (of, shape) = (&factors[module], &modules[module]);
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
