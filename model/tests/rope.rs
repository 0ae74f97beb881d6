//! Promise: with scaled rotary positions or scores a model computes what transformers does, for texts of any
//! length, whatever they are batched with.

use gstore_model::architectures::{Param, PositionEncoding, RopeScaling};
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelError;
use gstore_model::{
    Backend, ComputePrecision, ForwardOptions, LastRows, Layout, Model, NextTokens, PackedSample, Reduction,
    SavedActivations,
};
use serde_json::{Value, json};

use crate::common::assert_says;
use crate::common::embedding::embedding_gradients;
use crate::common::tiny::noise;
use crate::common::zoo::{config, fixture, read};

fn changed(family: &str, changes: &Value) -> Value {
    let mut config = config(family);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// The model of a case of the fixture.
fn model<B: Backend>(case: &Value, backend: B) -> Model<B> {
    let decoder = read(&changed(case["family"].as_str().unwrap(), &case["changes"])).unwrap();
    let mut values = |param: &Param| {
        let number = decoder.params.iter().position(|other| other.name == param.name).unwrap();
        Ok::<_, ModelError>(noise(number as u64 + 1, param.shape.iter().product(), 0.5))
    };
    Model::build(&decoder, backend, &mut values).unwrap()
}

fn cases() -> Vec<Value> {
    fixture("rope.json").as_array().unwrap().clone()
}

/// A text of the fixture.
fn text(vocab: usize, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| ((7 * i + i * i + 3) % vocab) as u32).collect()
}

/// The texts of a case.
fn texts(case: &Value, vocab: usize) -> Vec<Vec<u32>> {
    let lengths = case["texts"].as_array().unwrap().iter().map(|text| text["tokens"].as_u64().unwrap());
    lengths.map(|tokens| text(vocab, tokens as usize)).collect()
}

/// Logits at rows of a packed batch.
fn logits<B: Backend>(model: &Model<B>, layout: Layout, rows: &[u32]) -> Vec<f32> {
    let pass =
        ForwardOptions { last_rows: LastRows::All, keep_from: None, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    model.logits(&model.backend().gather(&forward.hidden, rows).unwrap()).unwrap()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &Value, tolerance: f64, about: &str) {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let size = expected.iter().fold(0f64, |size, value| size.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= tolerance * size, "{about}: {found}, not {expected}");
    }
}

fn check_logits<B: Backend>(case: &Value, backend: B) {
    let model = model(case, backend);
    let vocab = model.decoder().vocab_size;
    let texts = texts(case, vocab);
    let flags = [true; 32];
    let packed: Vec<PackedSample<'_>> =
        texts.iter().map(|ids| PackedSample::new(ids, &flags[..ids.len()])).collect();
    let layout = Layout::new(&packed, true, Reduction::Mean);
    let last: Vec<u32> = layout.spans.iter().map(|span| span.end as u32 - 1).collect();
    let found = logits(&model, layout, &last);
    for (found, text) in found.chunks(vocab).zip(case["texts"].as_array().unwrap()) {
        let about = format!("{}, {} tokens", case["name"], text["tokens"]);
        assert_near(found, &text["logits"], 1e-4, &about);
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for case in cases() {
        check_logits(&case, Cpu::new(ComputePrecision::F32));
        check_logits(&case, Candle::cpu());
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    let mut compared = 0;
    for case in cases() {
        let model = model(&case, Cpu::new(ComputePrecision::F32));
        let (vocab, hidden) = (model.decoder().vocab_size, model.decoder().hidden_size);
        let texts = texts(&case, vocab);
        let flags = [true; 32];
        let packed: Vec<PackedSample<'_>> =
            texts.iter().map(|ids| PackedSample::new(ids, &flags[..ids.len()])).collect();
        let found = embedding_gradients(&model, Layout::new(&packed, false, Reduction::Mean));
        let samples = found.chunks(vocab * hidden).zip(&texts).zip(case["texts"].as_array().unwrap());
        for ((found, ids), text) in samples.filter(|(_, text)| !text["gradient"].is_null()) {
            let about = format!("{}, {} tokens", case["name"], text["tokens"]);
            assert_near(&found[ids[0] as usize * hidden..], &text["gradient"], 1e-3, &about);
            compared += 1;
        }
    }
    assert!(compared > 10);
}

/// The case of this name.
fn case(name: &str) -> Value {
    cases().into_iter().find(|case| case["name"] == name).unwrap()
}

/// Rows behind the last scored one are left out, but their tokens count.
#[test]
fn a_text_turns_by_all_of_its_tokens() {
    for name in ["dynamic", "longrope"] {
        let model = model(&case(name), Cpu::new(ComputePrecision::F32));
        let ids = text(model.decoder().vocab_size, 29);
        let mut scored = [false; 29];
        scored[4] = true;
        let rows = |ids: &[u32], whole| {
            let sample = PackedSample::new(ids, &scored[..ids.len()]);
            logits(&model, Layout::new(&[sample], whole, Reduction::Mean), &[3])
        };
        assert_eq!(rows(&ids, false), rows(&ids, true), "{name}");
        assert_ne!(rows(&ids, false), rows(&ids[..5], true), "{name}: a short text turns otherwise");
    }
}

#[test]
fn keys_are_kept_only_for_the_length_that_they_were_turned_for() {
    for (name, alike) in [("dynamic", false), ("longrope", true), ("yarn", true)] {
        let model = model(&case(name), Cpu::new(ComputePrecision::F32));
        assert!(model.turns_alike(3, 16) && model.turns_alike(20, 20), "{name}");
        assert_eq!(model.turns_alike(17, 29), alike, "{name}");
        assert_eq!(model.turns_alike(16, 17), name == "yarn", "{name}");
        let ids = text(model.decoder().vocab_size, 17);
        let feed = |ids, length| NextTokens { slot: 0, ids, length, wanted: true };
        let mut cache = model.key_values();
        model.extend(&mut cache, &[feed(&ids[..9], 16)]).unwrap();
        let error = model.extend(&mut cache, &[feed(&ids[9..], 17)]).map_err(|error| error.to_string());
        if name == "yarn" {
            error.unwrap();
        } else {
            assert_says(&error.unwrap_err(), &["with 17 tokens, the 9 keys of a sequence turn otherwise"]);
        }
        model.forget(&mut cache, 0);
        model.extend(&mut cache, &[feed(&ids, 17)]).unwrap();
        let short = model.extend(&mut model.key_values(), &[feed(&ids, 16)]).unwrap_err();
        assert_says(&short.to_string(), &["17 tokens of a sequence of 16"]);
    }
}

#[test]
fn old_names_of_longrope_are_those_of_phi_3() {
    let mut case = case("longrope");
    let decoder = read(&changed("phi3", &case["changes"])).unwrap();
    let PositionEncoding::Rotary { scaling, dims: 6, .. } = &decoder.positions else { panic!() };
    assert!(matches!(scaling, RopeScaling::LongRope { original: 16.0, .. }), "{scaling:?}");
    for name in ["su", "yarn"] {
        case["changes"]["rope_scaling"]["type"] = json!(name);
        assert_eq!(read(&changed("phi3", &case["changes"])).unwrap(), decoder, "{name}");
    }
    case["changes"]["rope_scaling"]["type"] = json!("su");
    case["changes"]["partial_rotary_factor"] = Value::Null;
    let error = read(&changed("llama", &case["changes"])).unwrap_err();
    assert_says(&error, &["rope scaling \"su\"", "\"yarn\", \"longrope\" are"]);
}

#[test]
fn scalings_that_cannot_be_are_refused() {
    let longrope = |short: Value, long: Value| {
        let positions = json!({"rope_type": "longrope", "partial_rotary_factor": 0.5, "short_factor": short,
            "long_factor": long});
        ("phi3", positions)
    };
    let good = || json!([1.0, 1.5, 2.0]);
    let yarn = |key: &str, value: Value| {
        let mut positions = json!({"rope_type": "yarn", "factor": 4.0});
        positions[key] = value;
        ("llama", positions)
    };
    let cases: Vec<((&str, Value), &[&str])> = vec![
        (longrope(Value::Null, good()), &["the longrope rope scaling needs short_factor, which is missing"]),
        (longrope(good(), Value::Null), &["needs long_factor, which is missing"]),
        (
            longrope(good(), json!([1.0, 2.0])),
            &["needs 3 positive numbers as long_factor, one for each pair of the 6 turning", "not 2"],
        ),
        (longrope(json!([1.0, 0.0, 2.0]), good()), &["as short_factor", "0.0 among them"]),
        (longrope(json!(1.0), good()), &["3 positive numbers as short_factor", "not 1.0"]),
        (
            ("phi3", json!({"rope_type": "longrope", "partial_rotary_factor": 0.25})),
            &["an even number of turning coordinates, not 3"],
        ),
        (yarn("factor", Value::Null), &["factor of the yarn rope scaling is missing"]),
        (yarn("rope_theta", json!(1.0)), &["the yarn rope scaling needs a base above 1, not 1"]),
        (yarn("attention_factor", json!(-1.0)), &["attention_factor must be a positive number"]),
        (yarn("beta_fast", json!(-32)), &["beta_fast must be a positive number"]),
        (yarn("mscale", json!("big")), &["mscale must be a number"]),
        (yarn("truncate", json!(0)), &["truncate must be true or false"]),
        (
            ("phi3", json!({"rope_type": "dynamic", "factor": 2.0})),
            &["rope scaling \"dynamic\"", "rope types \"default\", \"longrope\" are"],
        ),
        (
            ("gpt_neox", json!({"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.2})),
            &["more than 2 turning coordinates, not 2"],
        ),
        (("llama", json!({"rope_type": "dynamic"})), &["factor of the dynamic rope scaling is missing"]),
    ];
    for ((family, positions), parts) in cases {
        let error = read(&changed(family, &json!({ "rope_parameters": positions }))).unwrap_err();
        assert_says(&error, &[&["config.json"], parts].concat());
    }
    let length =
        json!({"original_max_position_embeddings": 1, "rope_parameters": longrope(good(), good()).1});
    assert_says(&read(&changed("phi3", &length)).unwrap_err(), &["an original length above 1, not 1"]);
}
