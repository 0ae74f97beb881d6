//! Projections and forms are those of the whole gradient, which backends agree on.

use gstore_ingest::gradient::{AdamParams, GradFeatures, GradForm, GradientBackend};
use gstore_ingest::projection::{ProjectionKind, ProjectionRoute};
use gstore_model::ComputePrecision;
use gstore_model::candle::Candle;
use gstore_model::weights::Moments;
use gstore_model::{PackedSample, SavedActivations};
use tempfile::TempDir;

use super::{Whole, each_model, finetune, levels};
use crate::common::autograd::{gradients, project_modules};
use crate::common::{packed, project, relative_error};

const TOLERANCE: f64 = 1e-5;
const FACTORED: [&str; 3] = ["two_sided", "fact_mask", "fact_sjlt"];

/// The largest relative error of any vector, and of any stretch of `width` values.
fn errors(found: &[Vec<f32>], expected: &[Vec<f32>], width: usize) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let (mut whole, mut part): (f64, f64) = (0.0, 0.0);
    for (found, expected) in found.iter().zip(expected) {
        assert!(expected.iter().any(|v| *v != 0.0));
        whole = whole.max(relative_error(found, expected));
        for (found, expected) in found.chunks(width).zip(expected.chunks(width)) {
            part = part.max(relative_error(found, expected));
        }
    }
    (whole, part)
}

fn check_factored<B: GradientBackend>(model: &Whole, backend: B, batch: &[PackedSample<'_>]) -> (f64, f64) {
    let raw = gradients(&model.raw(backend.clone()), batch);
    let mut worst: (f64, f64) = (0.0, 0.0);
    for kind in FACTORED {
        let projector = model.factored(kind);
        let expected: Vec<_> = raw.iter().map(|g| project_modules(&projector, &model.tensors, g)).collect();
        for way in [ProjectionRoute::Factors, ProjectionRoute::Formed] {
            let features = model.factored_features(kind, way, &[GradForm::Plain]);
            let found = gradients(&model.engine(backend.clone(), SavedActivations::All, features), batch);
            let (error, module) = errors(&found, &expected, projector.range(0).len());
            assert!(
                error < TOLERANCE && module < 1e-4,
                "{}, {kind}, {way:?}: {error:e}, {module:e}",
                model.name
            );
            worst = (worst.0.max(error), worst.1.max(module));
        }
    }
    worst
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn factored_projections_are_those_of_the_gradient() {
    each_model(|model, samples| {
        let batch = packed(samples);
        let mut worst = check_factored(model, Candle::cpu(), &batch);
        for backend in levels(ComputePrecision::F32) {
            let found = check_factored(model, backend, &batch);
            worst = (worst.0.max(found.0), worst.1.max(found.1));
        }
        println!("{}: largest error {:.1e} of a vector, {:.1e} of a module", model.name, worst.0, worst.1);
    });
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn flat_projections_are_those_of_the_gradient() {
    fn check<B: GradientBackend>(model: &Whole, backend: B, batch: &[PackedSample<'_>]) {
        let raw = gradients(&model.raw(backend.clone()), batch);
        for kind in [ProjectionKind::Sjlt { s: 4 }, ProjectionKind::Rademacher, ProjectionKind::Mask] {
            let features = model.flat_features(kind, &[GradForm::Plain, GradForm::Sign]);
            let found = gradients(&model.engine(backend.clone(), SavedActivations::All, features), batch);
            let projector = model.flat(kind);
            for (found, gradient) in found.iter().zip(&raw) {
                let mut signs = vec![0.0; gradient.len()];
                GradForm::Sign.apply(gradient, &[], &[], &mut signs);
                for (found, values) in found.chunks_exact(projector.dim()).zip([gradient, &signs]) {
                    let error = relative_error(found, &project(&projector, values));
                    assert!(error < TOLERANCE, "{}, {kind}: {error:e}", model.name);
                }
            }
        }
    }
    each_model(|model, samples| {
        check(model, Candle::cpu(), &packed(samples));
        levels(ComputePrecision::F32).for_each(|backend| check(model, backend, &packed(samples)));
    });
}

#[test]
fn forms_of_a_fine_tune_are_those_of_the_gradient() {
    let folder = TempDir::new().unwrap();
    let adam = AdamParams::default();
    for name in ["gpt2-adamw", "qwen2-adamw", "gpt_neox-adamw", "gpt2-adafactor"] {
        let (model, first, second) = finetune(&folder, name);
        let samples = [model.noise(1, 8, 2), model.noise(2, 5, 1), model.noise(3, 7, 7)];
        let batch = packed(&samples);
        let mut forms = vec![GradForm::Plain, GradForm::Normalised { eps: 1e-6 }, GradForm::Sign];
        if first.is_some() {
            forms.push(GradForm::Adam(adam));
        }
        let m = first.unwrap_or_default();
        for backend in levels(ComputePrecision::F32) {
            let raw = gradients(&model.raw(backend.clone()), &batch);
            let formed: Vec<Vec<Vec<f32>>> = raw
                .iter()
                .map(|g| {
                    let of = |form: &GradForm| {
                        let mut out = vec![0.0; g.len()];
                        form.apply(g, &m, &second, &mut out);
                        out
                    };
                    forms.iter().map(of).collect()
                })
                .collect();
            let moments = || Some(Moments { exp_avg: m.clone(), exp_avg_sq: second.clone(), step: Some(3) });
            let sjlt = ProjectionKind::Sjlt { s: 4 };
            let flat = model.flat(sjlt);
            let features = GradFeatures { moments: moments(), ..model.flat_features(sjlt, &forms) };
            let found = gradients(&model.engine(backend.clone(), SavedActivations::All, features), &batch);
            check_forms(&format!("{name}, flat"), &found, &formed, |values| project(&flat, values));
            for kind in FACTORED {
                let projector = model.factored(kind);
                for way in [ProjectionRoute::Factors, ProjectionRoute::Formed] {
                    let features =
                        GradFeatures { moments: moments(), ..model.factored_features(kind, way, &forms) };
                    let found =
                        gradients(&model.engine(backend.clone(), SavedActivations::All, features), &batch);
                    check_forms(&format!("{name}, {kind}, {way:?}"), &found, &formed, |values| {
                        project_modules(&projector, &model.tensors, values)
                    });
                }
            }
        }
    }
}

fn check_forms(
    what: &str,
    found: &[Vec<f32>],
    formed: &[Vec<Vec<f32>>],
    project: impl Fn(&[f32]) -> Vec<f32>,
) {
    for (found, formed) in found.iter().zip(formed) {
        let width = found.len() / formed.len();
        for (form, (found, values)) in found.chunks_exact(width).zip(formed).enumerate() {
            let error = relative_error(found, &project(values));
            assert!(error < TOLERANCE, "{what}, form {form}: {error:e}");
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn backends_agree() {
    each_model(|model, samples| {
        let batch = packed(samples);
        let expected = gradients(&model.raw(Candle::cpu()), &batch);
        let mut worst: f64 = 0.0;
        for backend in levels(ComputePrecision::F32) {
            let (error, _) = errors(&gradients(&model.raw(backend), &batch), &expected, usize::MAX);
            assert!(error < TOLERANCE, "{}: {error:e}", model.name);
            worst = worst.max(error);
        }
        let (mut rounded, mut projected): (f64, f64) = (0.0, 0.0);
        for backend in levels(ComputePrecision::Bf16) {
            let raw = gradients(&model.raw(backend.clone()), &batch);
            let (error, _) = errors(&raw, &expected, usize::MAX);
            assert!(error < 0.03, "{} in bf16: {error:e}", model.name);
            rounded = rounded.max(error);
            // Factors are projected by linear maps, whose factors are rounded, too.
            for kind in FACTORED {
                let features = model.factored_features(kind, ProjectionRoute::Factors, &[GradForm::Plain]);
                let found =
                    gradients(&model.engine(backend.clone(), SavedActivations::All, features), &batch);
                let projector = model.factored(kind);
                let of_raw: Vec<_> =
                    raw.iter().map(|g| project_modules(&projector, &model.tensors, g)).collect();
                projected = projected.max(errors(&found, &of_raw, usize::MAX).0);
            }
        }
        println!(
            "{}: cpu and portable {worst:.1e}; bf16 {rounded:.1e}, its projected factors {projected:.1e}",
            model.name
        );
        assert!(projected < 0.01, "{} in bf16, projected from factors: {projected:e}", model.name);
    });
}
