//! Promise: covariances, eigenvalues and squares of gradients are Kronfluence's, as far as its own f32 lets
//! one tell (`golden/ekfac`). Scores are those of the program, and compared where it is run.

mod check;
mod fit;
#[allow(dead_code, reason = "what the test of scores uses alone")]
mod folder;

use std::collections::BTreeSet;

use gstore_curvature::Module;
use gstore_ingest::curvature::{CurvatureEngine, Measurement};
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_model::cpu::Cpu;
use gstore_model::{ComputePrecision, SavedActivations};

use crate::common::reference::{Shared, shared};
use check::check_factors;
use fit::{BATCH, fit};
use folder::{Case, Checks, Tensors, groups, rows, samples};

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_ekfac_factors() {
    let shared = shared();
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
    let mut engine =
        CurvatureEngine::load(&source, Cpu::new(ComputePrecision::F32), &selection, SavedActivations::All)
            .unwrap();
    check_shapes(engine.modules(), cases);
    let diagonal = cases.iter().any(|case| case.listed("strategies").contains(&"diagonal"));
    let (factors, stored) = fit(&mut engine, &file, cases, diagonal);
    for case in cases {
        check_factors(engine.modules(), case, &factors, &stored, checks);
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

fn check_losses(engine: &CurvatureEngine, file: &Tensors, cases: &[Case], checks: &mut Checks) {
    for side in ["train", "query"] {
        let (rows, _) = rows(file, side, &format!("{side}.labels"));
        for case in cases {
            let mut lists = case.value["loss_sum"].as_object().unwrap().keys();
            let key = lists.find(|key| key.starts_with(&format!("{side}_first_"))).unwrap();
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
