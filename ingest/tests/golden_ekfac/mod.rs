//! Promise: covariances, eigenvalues, squares of gradients and scores are Kronfluence's, as far as its own
//! f32 lets one tell (`golden/ekfac`).

mod folder;
mod scores;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use gstore_curvature::{Covariance, Eigen, Module, ModuleFactors, Squares, product};
use gstore_ingest::curvature::{CurvatureEngine, Labels};
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_model::cpu::Cpu;
use gstore_model::{Compute, Keep};

use crate::common::reference::{Shared, shared};
use folder::{Case, Checks, Row, Tensors, rows, samples};

/// Rows that go through the model together.
const BATCH: usize = 8;

/// Both halves of a range, each on a thread of its own, in order.
fn halves<T: Send>(len: usize, of: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let (of, half) = (&of, len / 2);
    std::thread::scope(|scope| {
        let threads = [0..half, half..len].map(|range| scope.spawn(move || of(range)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_ekfac_factors_and_scores() {
    let Some(shared) = shared("golden_ekfac_factors_and_scores") else { return };
    let manifest = shared.json("golden/ekfac/manifest.json");
    let cases = manifest["cases"].as_object().unwrap().iter();
    // Cases with the same rows and model differ in their modules alone.
    let mut groups: BTreeMap<(&str, &str, u64), Vec<Case>> = BTreeMap::new();
    for (name, value) in cases {
        let case = Case::new(name, value, &shared.path("golden/ekfac"));
        let (rows, model) = (value["files"]["rows"].as_str().unwrap(), value["model"].as_str().unwrap());
        groups.entry((rows, model, value["train_rows"].as_u64().unwrap())).or_default().push(case);
    }
    let mut checks = Checks::default();
    for ((file, ..), cases) in &groups {
        let started = std::time::Instant::now();
        check_group(&shared, file, cases, &mut checks);
        println!("{file}: {:.1} s", started.elapsed().as_secs_f64());
    }
    assert!(checks.failed.is_empty(), "of {}:\n{}", checks.compared, checks.failed.join("\n"));
    assert!(checks.compared > groups.len());
}

fn check_group(shared: &Shared, file: &str, cases: &[Case], checks: &mut Checks) {
    let file = Tensors::open(&shared.path("golden/ekfac").join(file));
    let names: BTreeSet<&String> = cases.iter().flat_map(|case| &case.modules).collect();
    let source = CheckpointSource {
        model: shared.path(cases[0].value["model"].as_str().unwrap()),
        adapter: None,
        tracked: Vec::new(),
    };
    let selection = ModuleSelection { patterns: names.into_iter().cloned().collect(), biases: false };
    let mut engine = CurvatureEngine::load(&source, Cpu::new(Compute::F32), &selection, Keep::All).unwrap();
    check_shapes(engine.modules(), cases);
    let diagonal = cases.iter().any(|case| case.listed("strategies").contains(&"diagonal"));
    let (factors, stored) = fit(&mut engine, &file, cases, diagonal);
    for case in cases {
        check_factors(&engine, case, &factors, &stored, checks);
    }
    check_scores(&engine, &file, cases, &factors, checks);
}

fn number(engine: &CurvatureEngine, name: &str) -> usize {
    engine.modules().iter().position(|module| module.name == name).unwrap()
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

/// All factors, with the stored eigenvectors in place of own ones for the modules that are returned.
fn fit(
    engine: &mut CurvatureEngine,
    file: &Tensors,
    cases: &[Case],
    diagonal: bool,
) -> (Vec<ModuleFactors>, Vec<usize>) {
    let modules = engine.modules().to_vec();
    let all: Vec<usize> = (0..modules.len()).collect();
    let (train, _) = rows(file, "train", "sampled_covariance.labels");
    let sums = halves(train.len(), |range| {
        let empty = |module: &Module| (Covariance::new(module.input), Covariance::new(module.out));
        let mut sums: Vec<_> = modules.iter().map(empty).collect();
        for batch in train[range].chunks(BATCH) {
            engine.covariances(&samples(batch), &Labels::Data, &all, &mut sums).unwrap();
        }
        for (activation, gradient) in &mut sums {
            activation.mirror();
            gradient.mirror();
        }
        sums
    });
    let mut factors = vec![ModuleFactors::default(); modules.len()];
    for half in &sums {
        for (of, (activation, gradient)) in factors.iter_mut().zip(half) {
            of.activation.get_or_insert_with(|| Covariance::new(activation.size)).merge(activation);
            of.gradient.get_or_insert_with(|| Covariance::new(gradient.size)).merge(gradient);
        }
    }
    let decomposed = halves(modules.len(), |range| {
        let mut part = factors[range.clone()].to_vec();
        part.iter_mut().zip(&modules[range]).for_each(|(of, module)| of.decompose(module).unwrap());
        part
    });
    let mut factors = decomposed.concat();
    let stored = use_stored(engine, cases, &mut factors);
    engine.set_bases(&factors).unwrap();
    let (train, _) = rows(file, "train", "sampled_lambda.labels");
    for rotated in [false, true].into_iter().filter(|rotated| *rotated || diagonal) {
        let sums = squares(engine, &train, rotated);
        for (of, sums) in factors.iter_mut().zip(sums) {
            *(if rotated { &mut of.lambda } else { &mut of.diagonal }) = Some(sums);
        }
    }
    (factors, stored)
}

fn squares(engine: &CurvatureEngine, train: &[Row], rotated: bool) -> Vec<Squares> {
    let all: Vec<usize> = (0..engine.modules().len()).collect();
    let empty = || engine.modules().iter().map(|module| Squares::new(module.len())).collect::<Vec<_>>();
    let sums = halves(train.len(), |range| {
        let mut sums = empty();
        for batch in train[range].chunks(BATCH) {
            engine.squares(&samples(batch), &Labels::Data, &all, rotated, &mut sums).unwrap();
        }
        sums
    });
    let mut whole = empty();
    for half in &sums {
        whole.iter_mut().zip(half).for_each(|(whole, half)| whole.merge(half));
    }
    whole
}

fn use_stored(engine: &CurvatureEngine, cases: &[Case], factors: &mut [ModuleFactors]) -> Vec<usize> {
    let mut stored = Vec::new();
    for case in cases {
        let (Some(file), names) = (&case.factors, case.listed("eigenvectors")) else { continue };
        for name in names {
            let module = number(engine, name);
            let of = &mut factors[module];
            for (eigen, side) in
                [(&mut of.activation_eigen, "activation"), (&mut of.gradient_eigen, "gradient")]
            {
                let vectors = file.get(&format!("{name}.{side}_eigenvectors")).unwrap();
                let values = eigen.take().unwrap().values;
                *eigen = Some(Eigen { values, vectors });
            }
            stored.push(module);
        }
    }
    stored
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

fn check_scores(
    engine: &CurvatureEngine,
    file: &Tensors,
    cases: &[Case],
    factors: &[ModuleFactors],
    checks: &mut Checks,
) {
    let (train, offsets) = rows(file, "train", "train.labels");
    let (queries, _) = rows(file, "query", "query.labels");
    let train = &train[..cases[0].count("train_rows")];
    let expected = |case: &Case| -> Vec<String> {
        let names = case.scores.names();
        names.iter().filter_map(|name| name.strip_prefix("float64/")).map(str::to_owned).collect()
    };
    // What is behind the kind of score is the method; a low rank is part of it.
    let of_name = |name: &str| match name.split_once('.').unwrap() {
        (kind, _) if kind.starts_with("lowrank") => name.to_owned(),
        (_, method) => method.to_owned(),
    };
    let methods: BTreeSet<String> = cases.iter().flat_map(expected).map(|name| of_name(&name)).collect();
    let methods: Vec<String> = methods.into_iter().collect();
    let scores = scores::scores(engine, factors, (train, &queries[..]), &methods);
    let of_method = |list: &[(String, Vec<f64>)], name: &str| {
        list.iter().find(|(method, _)| *method == of_name(name)).map(|(_, values)| values.clone()).unwrap()
    };
    for case in cases {
        for (found, key) in [(&scores.train_losses, "train_first_4"), (&scores.query_losses, "query_first_4")]
        {
            let losses = case.numbers("loss_sum", key);
            let what = format!("{}: losses of {key}", case.name);
            checks.compare(&what, &found[..losses.len()], &losses, [0.0; 2]);
        }
        let modules: Vec<usize> = case.modules.iter().map(|name| number(engine, name)).collect();
        for name in expected(case) {
            let key = format!("float64/{name}");
            let (mut values, shape) = (case.scores.get(&key).unwrap(), case.scores.shape(&key));
            let kind = name.split_once('.').unwrap().0;
            let found = match kind {
                "per_token" => {
                    let count = offsets.iter().position(|at| *at == shape[1]).unwrap();
                    let sides = (&train[..count], &queries[..shape[0]]);
                    scores::per_token(engine, factors, &of_name(&name), sides, &modules)
                }
                "self" => summed(&of_method(&scores.own, &name), &modules, engine.modules().len()),
                "per_module" => {
                    let pairs = of_method(&scores.pairs, &name);
                    let len = pairs.len() / engine.modules().len();
                    modules.iter().flat_map(|at| pairs[at * len..(at + 1) * len].to_vec()).collect()
                }
                _ => summed(&of_method(&scores.pairs, &name), &modules, engine.modules().len()),
            };
            if kind.starts_with("lowrank") {
                values.truncate(found.len());
            }
            checks.compare(&format!("{}: {name}", case.name), &found, &values, case.of_scores(&name));
        }
    }
}

/// The sum over some of `count` modules.
fn summed(values: &[f64], modules: &[usize], count: usize) -> Vec<f64> {
    let len = values.len() / count;
    let mut sums = vec![0.0; len];
    for at in modules {
        sums.iter_mut().zip(&values[at * len..(at + 1) * len]).for_each(|(sum, value)| *sum += value);
    }
    sums
}
