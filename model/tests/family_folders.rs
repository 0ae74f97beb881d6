//! Promise: a folder of any supported architecture is read in canonical names and orientation, and is
//! known by what it computes.

use std::path::Path;

use crate::common::assert_says;
use crate::common::tiny::{Weights, noise, write_json, write_weights};
use crate::common::zoo::{config, fixture, has_files, write_model, zoo};
use gstore_model::architectures::Param;
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn published_files_have_other_names() {
    let folder = TempDir::new().unwrap();
    let as_is = |param: &Param| param.name.clone();
    let last = |param: &Param| param.aliases.last().unwrap_or(&param.name).clone();
    let first = |param: &Param| param.aliases.first().unwrap_or(&param.name).clone();
    let id = |path: &Path| checkpoint_id(&ModelFolder::open(path).unwrap(), None).unwrap();
    for name in ["gpt2", "gpt_neox", "qwen2"] {
        let plain = id(&write_model(&folder.path().join("plain"), &config(name), as_is));
        assert_eq!(id(&write_model(&folder.path().join("last"), &config(name), last)), plain, "{name}");
        assert_eq!(id(&write_model(&folder.path().join("first"), &config(name), first)), plain, "{name}");
    }
    let short = write_model(&folder.path().join("short"), &config("gpt2"), first);
    let model = ModelFolder::open(&short).unwrap();
    assert!(model.tensors().get("h.0.attn.c_attn.weight").is_some());
    let param = model.decoder().param("transformer.h.0.attn.c_attn.weight").unwrap();
    let stored = model.tensors().read_f32("h.0.attn.c_attn.weight").unwrap();
    let values = model.read(param).unwrap();
    for (out, input) in [(0, 0), (1, 0), (0, 1), (143, 47), (100, 33)] {
        assert_eq!(values[out * 48 + input], stored[input * 144 + out]);
    }
}

#[test]
fn a_tied_head_must_be_a_copy() {
    let folder = TempDir::new().unwrap();
    let mut config = config("llama");
    let path = write_model(&folder.path().join("model"), &config, |param| param.name.clone());
    config["tie_word_embeddings"] = json!(true);
    write_json(&path.join("config.json"), &config);
    assert_says(
        &ModelFolder::open(&path).unwrap_err().to_string(),
        &["tie_word_embeddings", "lm_head.weight", "differs"],
    );
}

#[test]
fn a_tensor_under_two_of_its_names_must_be_one() {
    let folder = TempDir::new().unwrap();
    let path = write_model(&folder.path().join("model"), &config("gpt2"), |param| param.name.clone());
    let model = ModelFolder::open(&path).unwrap();
    let tensor = |name: &str| {
        let shape = model.tensors().get(name).unwrap().shape.clone();
        (name.to_owned(), (shape, model.tensors().read_f32(name).unwrap()))
    };
    let mut weights: Weights = model.tensors().names().map(tensor).collect();
    let (long, short) = ("transformer.h.0.mlp.c_fc.weight", "h.0.mlp.c_fc.weight");
    weights.insert(short.to_owned(), weights[long].clone());
    let file = path.join("model.safetensors");
    write_weights(&file, &weights, Dtype::F32);
    assert_eq!(ModelFolder::open(&path).unwrap().unused_note(), None);
    weights.get_mut(short).unwrap().1[0] += 1.0;
    write_weights(&file, &weights, Dtype::F32);
    assert_says(&ModelFolder::open(&path).unwrap_err().to_string(), &[long, short, "their values differ"]);
}

/// Models that share all weights, but not the function, have different identities.
#[test]
fn functions_have_identities_of_their_own() {
    let folder = TempDir::new().unwrap();
    let mut ids = std::collections::BTreeMap::new();
    let mut add = |what: &str, config: &Value| {
        let path = write_model(&folder.path().join("model"), config, |param| param.name.clone());
        let id = checkpoint_id(&ModelFolder::open(&path).unwrap(), None).unwrap();
        if let Some(other) = ids.insert(id, what.to_owned()) {
            panic!("{what} and {other} share an identity");
        }
    };
    let changes = [
        ("llama", json!({})),
        ("llama", json!({"hidden_act": "gelu"})),
        ("llama", json!({"hidden_act": "gelu_new"})),
        ("mistral", json!({})),
        ("mistral", json!({"sliding_window": null})),
        ("mistral", json!({"sliding_window": 9})),
        ("gemma2", json!({})),
        ("gemma2", json!({"layer_types": ["full_attention", "sliding_attention"]})),
        ("gemma2", json!({"query_pre_attn_scalar": 64})),
        ("gemma2", json!({"attn_logit_softcapping": null})),
        ("gemma2", json!({"final_logit_softcapping": 20.0})),
        ("gpt_neox", json!({})),
        ("gpt_neox", json!({"use_parallel_residual": false})),
        ("gpt_neox", json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})),
        ("gpt2", json!({})),
        ("gpt2", json!({"scale_attn_weights": false})),
        ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true})),
        ("gpt2", json!({"layer_norm_epsilon": 1e-6})),
        ("phi3", json!({})),
        ("phi3", json!({"sliding_window": 4})),
        ("qwen2", json!({})),
        ("qwen3", json!({})),
        ("olmo2", json!({})),
    ];
    for (name, change) in changes {
        let mut config = config(name);
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        add(&format!("{name} {change}"), &config);
    }
}

/// Stores name checkpoints by these.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn identities_of_llamas_stay() {
    let zoo = zoo();
    if !has_files(&zoo.join(".."), include_str!("fixtures/identities.sha256")) {
        return;
    }
    for (name, expected) in [
        ("llama", "7f262604a0be9ce53591d496a2b02c6151e8eba4a72fb19ceb412da22c419209"),
        ("llama-tied-scaled", "fa1814c7ae182658ea56c654e6f97933e3dc56b970a2493b684d715c429ab345"),
    ] {
        let model = ModelFolder::open(&zoo.join(name)).unwrap();
        assert_eq!(&*checkpoint_id(&model, None).unwrap(), expected, "{name}");
    }
    let model = ModelFolder::open(&zoo.join("../tiny-llama")).unwrap();
    let adapter = Adapter::open(&zoo.join("../tiny-llama-warmup/checkpoint-56")).unwrap();
    assert_eq!(
        &*checkpoint_id(&model, Some(&adapter)).unwrap(),
        "748a1cb5b65bd8bac15c2335f6e11f558e5061a8083422de4c92130990d4a748"
    );
}

#[test]
fn adapters_of_fused_and_transposed_modules() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("adapter");
    fs_err::create_dir_all(&path).unwrap();
    let of_family = |name: &str| {
        let path = write_model(&folder.path().join(name), &config(name), |param| param.name.clone());
        ModelFolder::open(&path).unwrap()
    };
    let other = of_family("llama");
    for (name, adapter) in fixture("peft_adapters.json").as_object().unwrap() {
        let model = of_family(name);
        let tensors = adapter["tensors"].as_object().unwrap().iter();
        let weights: Weights = tensors
            .map(|(name, sizes)| {
                let shape: Vec<usize> = serde_json::from_value(sizes.clone()).unwrap();
                let values = noise(1, shape.iter().product(), 0.1);
                (name.clone(), (shape, values))
            })
            .collect();
        write_json(&path.join("adapter_config.json"), &adapter["config"]);
        write_weights(&path.join("adapter_model.safetensors"), &weights, Dtype::F32);
        let opened = Adapter::open(&path).unwrap();
        let names: Vec<String> = opened.params(&model).unwrap().into_iter().map(|spec| spec.name).collect();
        let order: Vec<String> = adapter["order"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| gstore_model::weights::canonical(name.as_str().unwrap()))
            .collect();
        assert_eq!(names, order, "{name}");
        for weight in opened.fit(&model).unwrap() {
            let expected = adapter["scalings"][weight.param.module()].as_f64().unwrap();
            assert!((weight.lora.scaling - expected).abs() < 1e-12, "{}", weight.param.name);
        }
        checkpoint_id(&model, Some(&opened)).unwrap();

        // The head of another name, and a model of another family.
        if name != "gemma2" {
            assert_says(
                &opened.params(&other).unwrap_err().to_string(),
                &["another model", "no such module"],
            );
        }
        let head = if name == "gpt_neox" { "embed_out" } else { "lm_head" };
        if name == "phi3" || name == "gpt_neox" {
            let mut config = adapter["config"].clone();
            config["target_modules"] = json!("all-linear");
            write_json(&path.join("adapter_config.json"), &config);
            let mut weights = weights;
            for (factor, shape) in [("lora_A", vec![2, 48]), ("lora_B", vec![257, 2])] {
                let values = noise(1, shape.iter().product(), 0.1);
                weights.insert(format!("base_model.model.{head}.{factor}.weight"), (shape, values));
            }
            write_weights(&path.join("adapter_model.safetensors"), &weights, Dtype::F32);
            let error = Adapter::open(&path).unwrap().fit(&model).map(drop).unwrap_err().to_string();
            assert_says(&error, &[&format!("an adapter of {head}"), "decoder layers"]);
        }
    }
}
