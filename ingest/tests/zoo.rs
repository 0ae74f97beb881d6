//! Promise: logits, hidden states, losses and weight gradients of every supported architecture agree with automatic differentiation, and
//! every other architecture is refused by name.

mod common;

use common::reference::{shared, tensors};
use common::{assert_near, relative_error};
use gstore_ingest::checkpoint::{LinearId, ModelError, ModelFolder, TensorSet};
use gstore_ingest::gradient::WeightSink;
use gstore_ingest::model::portable::Portable;
use gstore_ingest::model::{LastRows, Layout, Llama, PackedSample};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;

struct Sample {
    ids: Vec<u32>,
    scored: Vec<bool>,
    loss: f32,
}

fn samples(golden: &Value) -> Vec<Sample> {
    let list = golden["samples"].as_array().unwrap();
    list.iter()
        .map(|s| Sample {
            ids: s["input_ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect(),
            scored: s["labels"].as_array().unwrap().iter().map(|v| v.as_i64() != Some(-100)).collect(),
            loss: s["loss"].as_f64().unwrap() as f32,
        })
        .collect()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn supported_models_agree_with_autograd() {
    let Some(shared) = shared("supported_models_agree_with_autograd") else { return };
    let mut tested = 0;
    for path in shared.zoo() {
        let folder = match ModelFolder::open(&path) {
            Ok(folder) => folder,
            Err(ModelError::UnsupportedArchitecture { found, supported, .. }) => {
                assert!(!found.is_empty() && supported.contains("LlamaForCausalLM"));
                continue;
            }
            Err(e) => panic!("{}: {e}", path.display()),
        };
        let golden: Value = serde_json::from_slice(&fs_err::read(path.join("golden.json")).unwrap()).unwrap();
        check_model(&folder, &samples(&golden), &tensors(&path, "golden"));
        tested += 1;
    }
    assert!(tested >= 2, "only {tested} models of the zoo are supported");
}

fn check_model(folder: &ModelFolder, samples: &[Sample], golden: &TensorSet) {
    let model = Llama::load(folder, Portable, &mut |_, _| Ok(())).unwrap();
    let config = folder.config();
    let packed: Vec<_> = samples.iter().map(|s| PackedSample { ids: &s.ids, scored: &s.scored }).collect();

    // Each way of running the last layer, and all samples packed together or each alone.
    for last_rows in [LastRows::All, LastRows::Scored] {
        for size in [packed.len(), 1] {
            for start in (0..packed.len()).step_by(size) {
                let range = start..start + size;
                let layout = Layout::new(&packed[range.clone()], last_rows == LastRows::All);
                let mut sink =
                    WeightSink::new(config, range.len(), |id| !(config.tied && id == LinearId::Head));
                let forward = model.forward(layout, last_rows, Some(0)).unwrap();
                if last_rows == LastRows::All {
                    check_outputs(&model, &forward, range.clone(), golden);
                }
                let spans = forward.layout.scored_spans.clone();
                let losses = model.backward(forward, &mut sink).unwrap();
                for ((sample, span), index) in samples[range.clone()].iter().zip(spans).zip(range.clone()) {
                    let mean = losses[span.clone()].iter().sum::<f32>() / span.len() as f32;
                    assert_near(mean, sample.loss, TOLERANCE as f32, "loss");
                    check_gradients(&sink, index - range.start, index, golden);
                }
            }
        }
    }
}

fn check_outputs(
    model: &Llama<Portable>,
    forward: &gstore_ingest::model::Forward<Portable>,
    range: std::ops::Range<usize>,
    golden: &TensorSet,
) {
    let hidden_all = gstore_ingest::model::Backend::to_host(model.backend(), &forward.hidden).unwrap();
    let logits_all = model.logits(&forward.hidden).unwrap();
    for (span, index) in forward.layout.spans.iter().zip(range) {
        for (name, values, width) in [
            ("hidden", &hidden_all, model.config().hidden_size),
            ("logits", &logits_all, model.config().vocab_size),
        ] {
            let expected = golden.read_f32(&format!("{index}.{name}")).unwrap();
            let found = &values[span.start * width..span.end * width];
            let error = relative_error(found, &expected);
            assert!(error < TOLERANCE, "{name} of sequence {index}: relative error {error}");
        }
    }
}

fn check_gradients(sink: &WeightSink, place: usize, index: usize, golden: &TensorSet) {
    let mut rest = sink.grad(place);
    for spec in sink.params() {
        let (grad, after) = rest.split_at(spec.numel());
        rest = after;
        let norm = grad.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
        let expected = golden.read_f32(&format!("{index}.gradnorm.{}", spec.name)).unwrap()[0];
        assert_near(
            norm,
            expected,
            TOLERANCE as f32,
            &format!("gradient norm of {} in sequence {index}", spec.name),
        );
        if let Ok(expected) = golden.read_f32(&format!("{index}.grad.{}", spec.name)) {
            let error = relative_error(grad, &expected);
            assert!(
                error < TOLERANCE,
                "gradient of {} in sequence {index}: relative error {error}",
                spec.name
            );
        }
    }
}
