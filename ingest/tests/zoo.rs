//! Promise: logits, hidden states, losses and the gradients of every parameter of every model of the zoo
//! agree with automatic differentiation, on every backend, however the pass is run.

use std::path::Path;

use crate::common::autograd::{raw_features, samples, whole};
use crate::common::reference::{shared, tensors};
use crate::common::{Sample, assert_near, packed, relative_error, support};
use gstore_ingest::gradient::{Engine, EngineOptions, GradientBackend, RequestedOutputs};
use gstore_model::ComputePrecision;
use gstore_model::architectures::{Decoder, Param};
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};
use gstore_model::weights::{ModelFolder, TensorSet};
use gstore_model::{Backend, ForwardOptions, LastRows, Layout, Model, Reduction, SavedActivations};

const TOLERANCE: f64 = 1e-4;

/// Of the largest norm of a sequence's gradients: below is what rounding leaves of those that are 0, such as
/// of the bias of keys.
const ROUNDING: f32 = 1e-6;

/// Runs `check` on every model of the zoo.
fn each_model(check: impl Fn(&Path, &[Sample], &TensorSet)) {
    let shared = shared();
    let zoo = shared.zoo();
    assert!(!zoo.is_empty(), "no model is in the zoo");
    for path in zoo {
        check(&path, &samples(&path), &tensors(&path, "golden"));
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn zoo_outputs_agree_with_autograd() {
    each_model(|path, samples, golden| {
        check_outputs(path, Candle::cpu(), samples, golden);
        for level in SimdLevel::available() {
            check_outputs(path, Cpu::with_level(ComputePrecision::F32, level).unwrap(), samples, golden);
        }
    });
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn zoo_gradients_of_every_parameter_agree_with_autograd() {
    each_model(|path, samples, golden| {
        check_gradients(path, Candle::cpu(), samples, golden);
        for level in SimdLevel::available() {
            check_gradients(path, Cpu::with_level(ComputePrecision::F32, level).unwrap(), samples, golden);
        }
    });
}

fn check_outputs<B: Backend>(path: &Path, backend: B, samples: &[Sample], golden: &TensorSet) {
    let folder = ModelFolder::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let model = Model::load(&folder, backend).unwrap();
    let layout = Layout::new(&packed(samples), true, Reduction::Mean);
    let pass =
        ForwardOptions { last_rows: LastRows::All, keep_from: None, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    let hidden = model.backend().to_host(&forward.hidden).unwrap();
    let logits = model.logits(&forward.hidden).unwrap();
    let decoder = model.decoder();
    for (index, span) in forward.layout.spans.iter().enumerate() {
        for (name, values, width) in
            [("hidden", &hidden, decoder.hidden_size), ("logits", &logits, decoder.vocab_size)]
        {
            let expected = golden.read_f32(&format!("{index}.{name}")).unwrap();
            let error = relative_error(&values[span.start * width..span.end * width], &expected);
            assert!(
                error < TOLERANCE,
                "{}: {name} of sequence {index}: relative error {error}",
                path.display()
            );
        }
    }
}

/// An engine whose features are the gradients of all parameters.
fn engine<B: GradientBackend>(path: &Path, backend: B, keep: SavedActivations) -> Engine {
    let (source, tensors, _) = whole(path);
    let options = EngineOptions { keep, ..EngineOptions::default() };
    Engine::load(&source, backend, options, Some(raw_features(&tensors))).unwrap()
}

fn check_gradients<B: GradientBackend>(path: &Path, backend: B, samples: &[Sample], golden: &TensorSet) {
    let packed = packed(samples);
    let golden_samples = support::json(&path.join("golden.json"))["samples"].take();
    // All samples packed together or each alone; the last layer at all rows or at the scored ones;
    // kept or computed again.
    for (keep, embeds, size) in [
        (SavedActivations::All, false, samples.len()),
        (SavedActivations::All, true, samples.len()),
        (SavedActivations::Inputs, false, 1),
    ] {
        let engine = engine(path, backend.clone(), keep);
        let want =
            RequestedOutputs { loss: true, grad: true, embed_mean: embeds, ..RequestedOutputs::default() };
        for start in (0..samples.len()).step_by(size) {
            let mut seen = 0;
            let batch = &packed[start..(start + size).min(samples.len())];
            engine
                .run(batch, want, &mut |i, output| {
                    let index = start + i;
                    let loss = golden_samples[index]["loss"].as_f64().unwrap() as f32;
                    assert_near(output.loss, loss, TOLERANCE as f32, "loss");
                    compare(path, engine.decoder(), output.grads, index, golden);
                    seen += 1;
                })
                .unwrap();
            assert_eq!(seen, batch.len());
        }
    }
}

/// Every gradient of the golden file must be among those found, and agree; those that are 0 but for rounding
/// must be so in both.
fn compare(path: &Path, decoder: &Decoder, grads: &[f32], index: usize, golden: &TensorSet) {
    let prefix = format!("{index}.gradnorm.");
    let mut expected: Vec<&str> = golden.names().filter_map(|name| name.strip_prefix(&prefix)).collect();
    assert!(!expected.is_empty(), "{}: no golden gradients of sequence {index}", path.display());
    let golden_norm = |name: &str| golden.read_f32(&format!("{prefix}{name}")).unwrap()[0];
    let zero = ROUNDING * expected.iter().map(|name| golden_norm(name)).fold(0.0, f32::max);
    let mut rest = grads;
    for param in &decoder.params {
        let (grad, after) = rest.split_at(param.shape.iter().product());
        rest = after;
        let names = std::iter::once(&param.name).chain(&param.aliases);
        let place = names.into_iter().find_map(|name| expected.iter().position(|e| e == name));
        let name = place.map(|place| expected.swap_remove(place));
        let name = name.unwrap_or_else(|| panic!("{}: no golden gradient of {}", path.display(), param.name));
        let what = format!("{}: gradient of {name} in sequence {index}", path.display());
        let norm = grad.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
        let golden_norm = golden_norm(name);
        if golden_norm <= zero {
            assert!(norm <= zero, "norm of the {what}: {norm} instead of {golden_norm}, at most {zero}");
            continue;
        }
        assert_near(norm, golden_norm, TOLERANCE as f32, &format!("norm of the {what}"));
        if let Ok(values) = golden.read_f32(&format!("{index}.grad.{name}")) {
            let error = relative_error(grad, &oriented(param, values));
            assert!(error < TOLERANCE, "{what}: relative error {error}");
        }
    }
    assert!(expected.is_empty(), "{}: gradients not formed: {expected:?}", path.display());
    assert!(rest.is_empty());
}

/// Golden gradients lie as the file's weights do; ours are `[out, input]`.
fn oriented(param: &Param, values: Vec<f32>) -> Vec<f32> {
    if !param.transposed {
        return values;
    }
    let (out, input) = (param.shape[0], param.shape[1]);
    (0..out).flat_map(|o| (0..input).map(move |i| (o, i))).map(|(o, i)| values[i * out + o]).collect()
}
