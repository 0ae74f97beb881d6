//! Promise: every form of a loss, of the parts of its tokens, its gradient, and every kind of
//! embedding agree with PyTorch.

use crate::common::autograd::{
    Golden, adapted, adapter_features, known, plain, raw_features, samples, whole,
};
use crate::common::reference::shared;
use crate::common::{EMBED, GRAD, LOSS, Sample, assert_near, packed, relative_error};
use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineOptions, GradFeatures, LossForm, RequestedOutputs, SampleOutput,
};
use gstore_model::ComputePrecision;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};
use gstore_model::weights::ModelFolder;
use gstore_model::{PackedSample, Reduction};

const TOLERANCE: f64 = 1e-4;
const MODELS: [&str; 3] = ["gpt2", "gemma2", "qwen3"];

/// Loads an engine on each backend; the check is told whether that promises the same bits in every batch.
fn on_backends(
    source: &CheckpointSource,
    options: EngineOptions,
    features: impl Fn() -> Option<GradFeatures>,
    check: impl Fn(&Engine, bool),
) {
    check(&Engine::load(source, Candle::cpu(), options, features()).unwrap(), false);
    for level in SimdLevel::available() {
        let backend = Cpu::with_level(ComputePrecision::F32, level).unwrap();
        check(&Engine::load(source, backend, options, features()).unwrap(), true);
    }
}

/// Runs the samples packed, then each alone.
fn each_output(
    engine: &Engine,
    samples: &[Sample],
    want: RequestedOutputs,
    check: impl Fn(usize, &SampleOutput<'_>),
) {
    let batch: Vec<PackedSample<'_>> = packed(samples);
    engine.run(&batch, want, &mut |i, output| check(i, &output)).unwrap();
    for (i, sample) in batch.iter().enumerate() {
        engine.run(&[*sample], want, &mut |_, output| check(i, &output)).unwrap();
    }
}

#[track_caller]
fn assert_loss(found: f32, expected: f32, what: &str) {
    assert_near(found, expected, TOLERANCE as f32, what);
}

/// Compares the gradients that the golden results have; returns how many.
fn compare(engine: &Engine, golden: &Golden, prefix: &str, grads: &[f32]) -> usize {
    let (mut rest, mut compared) = (grads, 0);
    for spec in engine.tensors() {
        let (grad, after) = rest.split_at(spec.numel());
        rest = after;
        let name = format!("{prefix}.grad.{}", spec.name);
        if golden.has(&name) {
            let error = relative_error(grad, &golden.values(&name));
            assert!(error < TOLERANCE, "{name}: relative error {error}");
            compared += 1;
        }
    }
    assert_eq!(compared, golden.count(&format!("{prefix}.grad.")));
    compared
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn smoothed_and_summed_losses() {
    for name in MODELS {
        let Some((source, samples)) = known(name) else { continue };
        let golden = Golden::open("objectives", name);
        let (whole, tensors, _) = whole(&source.model);
        let smoothed =
            EngineOptions { loss: LossForm::CrossEntropy { smoothing: 0.1 }, ..Default::default() };
        let summed = EngineOptions { reduction: Reduction::Sum, ..Default::default() };
        let features = || Some(raw_features(&tensors));
        for (key, options) in [("smoothed", smoothed), ("sum", summed)] {
            on_backends(&whole, options, features, |engine, _| {
                each_output(engine, &samples, GRAD, |i, output| {
                    let loss = golden.scalar(&format!("{i}.{key}"));
                    assert_loss(output.loss, loss, &format!("{key} loss of {name}"));
                    if i == 0 {
                        assert!(compare(engine, &golden, &format!("0.{key}"), output.grads) >= 5);
                    }
                });
                each_output(engine, &samples, LOSS, |i, output| {
                    let loss = golden.scalar(&format!("{i}.{key}"));
                    assert_loss(output.loss, loss, &format!("{key} loss of {name} alone"));
                });
            });
        }
    }
}

/// Of models that PyTorch was not asked about as well: a sum is so many means, and smoothing goes from one loss
/// to another in a straight line.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn smoothed_and_summed_losses_agree_with_means() {
    let shared = shared();
    for model in shared.zoo() {
        let (source, tensors, _) = whole(&model);
        let samples = samples(&model);
        let batch = packed(&samples);
        // Losses, each in front of its gradient.
        let of = |smoothing: f32, reduction: Reduction| -> Vec<Vec<f32>> {
            let loss = LossForm::CrossEntropy { smoothing };
            let options = EngineOptions { loss, reduction, ..Default::default() };
            let backend = Cpu::new(ComputePrecision::F32);
            let engine = Engine::load(&source, backend, options, Some(raw_features(&tensors))).unwrap();
            let mut found = Vec::new();
            engine
                .run(&batch, GRAD, &mut |_, output| found.push([&[output.loss][..], output.grads].concat()))
                .unwrap();
            found
        };
        let [plain, some, more] = [0.0, 0.1, 0.2].map(|smoothing| of(smoothing, Reduction::Mean));
        let sums = of(0.0, Reduction::Sum);
        for (i, sample) in batch.iter().enumerate() {
            let what = format!("sequence {i} of {}", model.display());
            let (mean, tokens) = (&plain[i], sample.scored_tokens() as f32);
            let sum: Vec<f32> = mean.iter().map(|mean| mean * tokens).collect();
            let line: Vec<f32> = mean.iter().zip(&some[i]).map(|(from, to)| 2.0 * to - from).collect();
            for part in [0..1, 1..mean.len()] {
                let error = |found: &[f32], expected: &[f32]| {
                    relative_error(&found[part.clone()], &expected[part.clone()])
                };
                assert!(error(&sums[i], &sum) < 1e-5, "{what}: sum");
                assert!(error(&more[i], &line) < TOLERANCE, "{what}: smoothing");
            }
            assert!(relative_error(&some[i][1..], &mean[1..]) > 1e-3, "{what}: nothing is smoothed");
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn divergence_from_the_base() {
    for name in MODELS {
        let Some((source, mut samples)) = adapted(name) else { continue };
        samples.truncate(1);
        let golden = Golden::open("adapters", name);
        let options = EngineOptions { loss: LossForm::KlToBase, ..Default::default() };
        let features = || Some(adapter_features(&source));
        on_backends(&source, options, features, |engine, _| {
            each_output(engine, &samples, GRAD, |_, output| {
                assert_loss(output.loss, golden.scalar("0.kl"), &format!("divergence of {name}"));
                assert_eq!(compare(engine, &golden, "0.kl", output.grads), engine.tensors().len());
            });
        });
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_model_does_not_diverge_from_itself() {
    let (source, samples) = plain("gemma2");
    let options = EngineOptions { loss: LossForm::KlToBase, ..Default::default() };
    let (source, tensors, _) = whole(&source.model);
    let features = || Some(raw_features(&tensors));
    on_backends(&source, options, features, |engine, _| {
        each_output(engine, &samples, GRAD, |_, output| {
            assert!(output.loss.abs() < 1e-6, "{}", output.loss);
            assert!(output.grads.iter().all(|g| g.abs() < 1e-5));
        });
    });
}

/// Pools the rows of hidden states.
fn pooled(states: &[f32], width: usize, weight: impl Fn(usize, usize) -> f64, unit: bool) -> Vec<f32> {
    let count = states.len() / width;
    let mut sum = vec![0.0; width];
    for (i, row) in states.chunks_exact(width).enumerate() {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += weight(i, count) * f64::from(*v));
    }
    let norm = if unit { sum.iter().map(|v| v * v).sum::<f64>().sqrt() } else { 1.0 };
    sum.iter().map(|v| (v / norm) as f32).collect()
}

/// The bits of the embeddings of a batch.
fn embedding_bits(engine: &Engine, samples: &[Sample], want: RequestedOutputs) -> Vec<u32> {
    let mut found = Vec::new();
    let mut take = |_: usize, output: SampleOutput<'_>| {
        let values = [output.embed_mean, output.embed_last, output.embed_weighted].concat();
        found.extend(values.iter().map(|value| value.to_bits()));
    };
    engine.run(&packed(samples), want, &mut take).unwrap();
    found
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn embeddings_of_every_layer() {
    for name in MODELS {
        let Some((source, mut samples)) = known(name) else { continue };
        // The first again, without a scored token.
        let first = &samples[0].ids;
        let unscored = Sample { ids: first.clone(), scored: vec![false; first.len()] };
        samples.push(unscored);
        let golden = Golden::open("objectives", name);
        let layers = ModelFolder::open(&source.model).unwrap().decoder().layers;
        for (layer, unit) in (0..=layers).flat_map(|layer| [(layer, false), (layer, true)]) {
            let options = EngineOptions { embed_layer: Some(layer), embed_unit: unit, ..Default::default() };
            let no_features = || None;
            on_backends(&source, options, no_features, |engine, same_bits| {
                let width = engine.decoder().hidden_size;
                // Whether losses are asked for as well must not matter: the last layer
                // then has rows for either. Without anything of the kind the pass ends at the layer.
                let alone = RequestedOutputs { entropy: false, ..EMBED };
                if same_bits {
                    assert!(
                        embedding_bits(engine, &samples, alone) == embedding_bits(engine, &samples, EMBED)
                    );
                }
                for want in [alone, EMBED, RequestedOutputs { loss: true, ..EMBED }] {
                    each_output(engine, &samples, want, |i, output| {
                        let i = if i + 1 == samples.len() { 0 } else { i };
                        let states = golden.values(&format!("{i}.hidden.{layer}"));
                        let triangle = |n: usize| (n * (n + 1)) as f64 / 2.0;
                        let mean = pooled(&states, width, |_, n| 1.0 / n as f64, unit);
                        let last = pooled(&states, width, |at, n| f64::from(u8::from(at + 1 == n)), unit);
                        let weighted = pooled(&states, width, |at, n| (at + 1) as f64 / triangle(n), unit);
                        for (found, expected, pooling) in [
                            (output.embed_mean, mean, "mean"),
                            (output.embed_last, last, "last"),
                            (output.embed_weighted, weighted, "weighted"),
                        ] {
                            let error = relative_error(found, &expected);
                            assert!(
                                error < TOLERANCE,
                                "{name}, layer {layer}, {pooling}: relative error {error}"
                            );
                        }
                    });
                }
            });
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn parts_of_a_loss_by_token() {
    for name in MODELS {
        let Some((source, samples)) = known(name) else { continue };
        let golden = Golden::open("tokens", name);
        let (whole, tensors, _) = whole(&source.model);
        let sample = packed(&samples)[0];
        let labels: Vec<usize> = sample.labels().collect();
        // Every token by itself, packed with the whole sample.
        let mut batch: Vec<PackedSample<'_>> =
            labels.iter().map(|label| PackedSample { part: Some(*label), ..sample }).collect();
        batch.push(sample);
        let features = || Some(raw_features(&tensors));
        on_backends(&whole, EngineOptions::default(), features, |engine, same_bits| {
            let (mut sum, mut compared) = (Vec::new(), 0);
            engine
                .run(&batch, GRAD, &mut |i, output| match labels.get(i) {
                    Some(label) => {
                        let loss = golden.scalar(&format!("0.{label}"));
                        assert_loss(output.loss, loss, &format!("{name}, token {label}"));
                        assert_eq!((output.scored, output.token_losses), (1, &[output.loss][..]));
                        let prefix = format!("0.{label}");
                        if golden.count(&format!("{prefix}.grad.")) > 0 {
                            assert!(compare(engine, &golden, &prefix, output.grads) >= 5);
                            compared += 1;
                        }
                        sum.resize(output.grads.len(), 0.0f64);
                        sum.iter_mut().zip(output.grads).for_each(|(sum, g)| *sum += f64::from(*g));
                    }
                    None => {
                        let sum: Vec<f32> = sum.iter().map(|sum| *sum as f32).collect();
                        let error = relative_error(&sum, output.grads);
                        assert!(error < 1e-5, "{name}: the parts make the whole within {error}");
                        assert_eq!(output.token_losses.len(), labels.len());
                    }
                })
                .unwrap();
            assert_eq!(compared, 3);
            // One pass for the losses of all tokens gives the bits of a pass for each.
            let mut one_by_one = Vec::new();
            engine
                .run(&batch, LOSS, &mut |i, output| match labels.get(i) {
                    Some(_) => one_by_one.push(output.loss),
                    None => {
                        let together = output.token_losses;
                        assert_eq!(together.len(), one_by_one.len(), "{name}");
                        for (together, alone) in together.iter().zip(&one_by_one) {
                            match same_bits {
                                true => assert_eq!(together.to_bits(), alone.to_bits(), "{name}"),
                                false => assert_near(*together, *alone, 1e-6, name),
                            }
                        }
                    }
                })
                .unwrap();
        });
    }
}
