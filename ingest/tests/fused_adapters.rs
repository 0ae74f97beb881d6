//! Promise: gradients of LoRA factors of fused, interleaved and transposed modules agree with PEFT and
//! automatic differentiation.

use crate::common::autograd::{Golden, adapted, adapter_features, gradients, project_modules};
use crate::common::{GRAD, Sample, assert_near, packed, relative_error};
use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineOptions, GradFeatures, GradForm, GradientBackend, Projector,
};
use gstore_ingest::projection::{FactoredProjector, ProjectionRoute, ProjectionSpec, modules_of};
use gstore_model::ComputePrecision;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};

const TOLERANCE: f64 = 1e-4;
const MODELS: [&str; 5] = ["gpt2", "gpt_neox", "phi3", "gemma2", "qwen3"];

fn check<B: GradientBackend>(
    source: &CheckpointSource,
    backend: B,
    samples: &[Sample],
    golden: &Golden,
) -> f64 {
    let features = adapter_features(source);
    let engine = Engine::load(source, backend, EngineOptions::default(), Some(features)).unwrap();
    let batch = packed(samples);
    let mut worst: f64 = 0.0;
    for size in [samples.len(), 1] {
        for start in (0..samples.len()).step_by(size) {
            engine
                .run(&batch[start..start + size], GRAD, &mut |i, output| {
                    let i = start + i;
                    assert_near(output.loss, golden.scalar(&format!("{i}.loss")), TOLERANCE as f32, "loss");
                    let mut rest = output.grads;
                    for spec in engine.tensors() {
                        let (grad, after) = rest.split_at(spec.numel());
                        rest = after;
                        let expected = golden.values(&format!("{i}.loss.grad.{}", spec.name));
                        assert!(expected.iter().any(|v| *v != 0.0), "{}", spec.name);
                        let error = relative_error(grad, &expected);
                        assert!(error < TOLERANCE, "{} of sequence {i}: relative error {error}", spec.name);
                        worst = worst.max(error);
                    }
                    assert!(
                        rest.is_empty() && engine.tensors().len() == golden.count(&format!("{i}.loss.grad."))
                    );
                })
                .unwrap();
        }
    }
    worst
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn gradients_of_factors_agree_with_autograd() {
    for name in MODELS {
        let Some((source, samples)) = adapted(name) else { continue };
        let golden = Golden::open("adapters", name);
        let mut worst = check(&source, Candle::cpu(), &samples, &golden);
        for level in SimdLevel::available() {
            let backend = Cpu::with_level(ComputePrecision::F32, level).unwrap();
            worst = worst.max(check(&source, backend, &samples, &golden));
        }
        println!("{name}: largest relative error {worst:.1e}");
    }
}

/// Factors of an adapter are small and always formed, whatever way is asked for.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn projected_factors_do_not_depend_on_the_way() {
    for name in MODELS {
        let Some((source, samples)) = adapted(name) else { continue };
        let backend = Cpu::new(ComputePrecision::F32);
        let raw =
            Engine::load(&source, backend.clone(), EngineOptions::default(), Some(adapter_features(&source)));
        let raw = raw.unwrap();
        let batch = packed(&samples);
        let whole = gradients(&raw, &batch);
        for kind in ["two_sided", "fact_mask", "fact_sjlt"] {
            let spec = ProjectionSpec::sized(kind.parse().unwrap(), 64);
            let modules = modules_of(raw.tensors());
            for way in [ProjectionRoute::Factors, ProjectionRoute::Formed] {
                let projector = FactoredProjector::new(&spec, &modules, None).unwrap();
                let routes = vec![way; modules.len()];
                let features = GradFeatures {
                    forms: vec![GradForm::Plain],
                    projector: Projector::Factored { projector, routes },
                    moments: None,
                };
                let engine =
                    Engine::load(&source, backend.clone(), EngineOptions::default(), Some(features)).unwrap();
                let found = gradients(&engine, &batch);
                let projector = FactoredProjector::new(&spec, &modules, None).unwrap();
                for (found, gradient) in found.iter().zip(&whole) {
                    let expected = project_modules(&projector, raw.tensors(), gradient);
                    assert!(expected.iter().any(|v| *v != 0.0));
                    assert_eq!(*found, expected, "{name}, {kind}, {way:?}");
                }
            }
        }
    }
}
