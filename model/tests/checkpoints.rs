//! Promise: a checkpoint folder is either understood completely or refused with an error that names the
//! place and the way out.

use std::path::{Path, PathBuf};

use crate::common::assert_says;
use crate::common::tiny::{Tiny, TinyAdapter, Weights, noise, write_json, write_weights};
use gstore_model::architectures::PositionEncoding;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

fn base(folder: &TempDir) -> PathBuf {
    folder.path().join("base")
}

fn adapter_path(folder: &TempDir) -> PathBuf {
    folder.path().join("adapter")
}

/// The message of opening the tiny model after a change of its configuration.
fn config_error(key: &str, value: Value) -> String {
    let folder = TempDir::new().unwrap();
    let mut tiny = Tiny::new();
    tiny.config[key] = value;
    ModelFolder::open(&tiny.write(&base(&folder))).unwrap_err().to_string()
}

#[test]
fn unsupported_configurations_are_refused_by_name() {
    assert_says(
        &config_error("architectures", json!(["BloomForCausalLM"])),
        &["BloomForCausalLM", "supported: LlamaForCausalLM"],
    );
    assert_says(&config_error("hidden_act", json!("mish")), &["hidden_act", "mish", "silu"]);
    assert_says(
        &config_error("quantization_config", json!({"bits": 4})),
        &["quantised", "quantization_config"],
    );
    assert_says(
        &config_error("rope_scaling", json!({"type": "mrope", "factor": 2.0})),
        &["mrope", "llama3", "yarn"],
    );
    assert_says(&config_error("rope_scaling", json!({"type": "linear"})), &["factor", "missing"]);
    assert_says(
        &config_error("num_key_value_heads", json!(3)),
        &["num_attention_heads 4", "num_key_value_heads 3"],
    );
    assert_says(&config_error("head_dim", json!(5)), &["head_dim 5 is odd"]);
    assert_says(&config_error("hidden_size", json!("big")), &["hidden_size", "whole number"]);
    assert_says(&config_error("vocab_size", Value::Null), &["vocab_size is missing"]);
    assert_says(&config_error("rms_norm_eps", json!(-1.0)), &["rms_norm_eps"]);
    assert_says(&config_error("num_hidden_layers", json!(3)), &["model.layers.2", "missing"]);
    assert_says(&config_error("attention_bias", json!(true)), &["q_proj.bias", "missing"]);
}

#[test]
fn both_spellings_of_rope_mean_the_same() {
    let folder = TempDir::new().unwrap();
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16});
    let mut old = Tiny::new();
    old.config["rope_theta"] = json!(5e5);
    old.config["rope_scaling"] = scaling.clone();
    let mut new = Tiny::new();
    new.config["rope_theta"] = Value::Null;
    new.config["rope_parameters"] = scaling;
    new.config["rope_parameters"]["rope_theta"] = json!(5e5);
    // A length outside of the rope's own settings goes before that in them.
    let mut outside = Tiny::new();
    outside.config.clone_from(&new.config);
    outside.config["original_max_position_embeddings"] = json!(16);
    outside.config["rope_parameters"]["original_max_position_embeddings"] = json!(64);
    let decoder = |t: Tiny| ModelFolder::open(&t.write(&base(&folder))).unwrap().decoder().clone();
    let decoders = [old, new, outside].map(decoder);
    assert_eq!(decoders[0], decoders[1]);
    assert_eq!(decoders[1], decoders[2]);
    assert!(matches!(decoders[0].positions, PositionEncoding::Rotary { theta: 5e5, .. }));
}

#[test]
fn damaged_model_folders_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = base(&folder);
    let open = || ModelFolder::open(&path).map(drop).unwrap_err().to_string();
    assert_says(&open(), &["base", "config.json and model.safetensors"]);
    fs_err::create_dir_all(&path).unwrap();
    assert_says(&open(), &["config.json"]);
    let mut tiny = Tiny::new();
    tiny.write(&path);
    let weights = path.join("model.safetensors");
    fs_err::write(path.join("config.json"), b"{\"hidden_size\": ").unwrap();
    assert_says(&open(), &["config.json", "not valid JSON"]);
    tiny.write(&path);
    fs_err::rename(&weights, path.join("pytorch_model.bin")).unwrap();
    assert_says(&open(), &["model.safetensors", "pytorch_model.bin is a pickle"]);
    let index = path.join("pytorch_model.bin.index.json");
    fs_err::rename(path.join("pytorch_model.bin"), &index).unwrap();
    assert_says(&open(), &["model.safetensors", "pytorch_model.bin.index.json names pickles, which gstore"]);
    fs_err::remove_file(index).unwrap();

    tiny.weights.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().0 = vec![16, 24];
    tiny.write(&path);
    assert_says(&open(), &["model.layers.1.mlp.up_proj.weight", "[16, 24]", "expected [24, 16]"]);
    tiny = Tiny::new();
    let packed = tiny.weights.remove("model.layers.0.self_attn.q_proj.weight").unwrap();
    tiny.weights.insert("model.layers.0.self_attn.q_proj.qweight".to_owned(), packed);
    tiny.write(&path);
    assert_says(&open(), &["model.safetensors", "q_proj.qweight is quantised", "original"]);
    tiny = Tiny::new();
    tiny.weights.remove("model.norm.weight");
    tiny.write(&path);
    assert_says(&open(), &["model.norm.weight is missing"]);

    tiny = Tiny::new();
    tiny.write(&path);
    let bytes = fs_err::read(&weights).unwrap();
    fs_err::write(&weights, &bytes[..bytes.len() - 5]).unwrap();
    assert_says(&open(), &["model.safetensors", "bytes"]);
    fs_err::write(&weights, b"abc").unwrap();
    assert_says(&open(), &["3 bytes"]);
    write_weights(&weights, &tiny.weights, Dtype::I8);
    assert_says(&open(), &["quantised", "I8"]);
    write_weights(&weights, &tiny.weights, Dtype::F64);
    assert_says(&open(), &["F64", "F32, F16 or BF16"]);
    let adapter = TinyAdapter::new(&["q_proj"], 2).write(&adapter_path(&folder));
    assert_says(&ModelFolder::open(&adapter).unwrap_err().to_string(), &["config.json", "adapter"]);
}

#[test]
fn numbers_that_are_none_are_refused_where_they_count() {
    let folder = TempDir::new().unwrap();
    let path = Tiny::new().write(&base(&folder));
    let plain = ModelFolder::open(&path).unwrap().decoder().clone();
    let open = |key: &str, value: &str| {
        let mut config = Tiny::new().config;
        config[key] = json!("@");
        let text = config.to_string().replace("\"@\"", value);
        fs_err::write(path.join("config.json"), text).unwrap();
        ModelFolder::open(&path).map(|model| model.decoder().clone()).map_err(|error| error.to_string())
    };
    assert_eq!(open("jitter_noise", "NaN").unwrap(), plain);
    assert_eq!(open("time_step_limit", "[0.0, Infinity]").unwrap(), plain);
    assert_says(&open("rms_norm_eps", "NaN").unwrap_err(), &["rms_norm_eps must be a number, not \"NaN\""]);
    assert_says(&open("sliding_window", "-Infinity").unwrap_err(), &["sliding_window \"-Infinity\" is not"]);
}

fn write_shards(path: &Path, tiny: &Tiny) {
    let names: Vec<_> = tiny.weights.keys().cloned().collect();
    let mut map = serde_json::Map::new();
    for (i, part) in names.chunks(names.len().div_ceil(3)).enumerate() {
        let file = format!("model-{i}.safetensors");
        let weights: Weights = part.iter().map(|n| (n.clone(), tiny.weights[n].clone())).collect();
        write_weights(&path.join(&file), &weights, Dtype::F32);
        part.iter().for_each(|n| drop(map.insert(n.clone(), json!(file))));
    }
    write_json(&path.join("model.safetensors.index.json"), &json!({ "weight_map": map }));
}

#[test]
fn shards_are_one_model() {
    let folder = TempDir::new().unwrap();
    let path = Tiny::new().write(&base(&folder));
    let whole = checkpoint_id(&ModelFolder::open(&path).unwrap(), None).unwrap();
    fs_err::remove_file(path.join("model.safetensors")).unwrap();
    write_shards(&path, &Tiny::new());
    let sharded = ModelFolder::open(&path).unwrap();
    assert_eq!(checkpoint_id(&sharded, None).unwrap(), whole);
    assert_eq!(
        sharded.tensors().read_f32("model.norm.weight").unwrap(),
        Tiny::new().weights["model.norm.weight"].1
    );

    fs_err::remove_file(path.join("model-1.safetensors")).unwrap();
    assert_says(
        &ModelFolder::open(&path).unwrap_err().to_string(),
        &["model-1.safetensors", "index.json names it"],
    );
    write_json(&path.join("model.safetensors.index.json"), &json!({"weight_map": {"a": "../b.safetensors"}}));
    assert_says(&ModelFolder::open(&path).unwrap_err().to_string(), &["leaves the folder"]);
}

#[test]
fn what_changes_the_forward_pass_changes_the_identity() {
    let folder = TempDir::new().unwrap();
    let path = Tiny::new().write(&base(&folder));
    let config: serde_json::Value =
        serde_json::from_slice(&fs_err::read(path.join("config.json")).unwrap()).unwrap();
    let id_with = |changes: &[(&str, serde_json::Value)]| {
        let mut config = config.clone();
        for (key, value) in changes {
            config[*key] = value.clone();
        }
        write_json(&path.join("config.json"), &config);
        checkpoint_id(&ModelFolder::open(&path).unwrap(), None).unwrap()
    };
    let plain = id_with(&[]);
    assert_eq!(
        id_with(&[("max_position_embeddings", json!(4096))]),
        plain,
        "a limit is no part of the function"
    );
    let rope = |value: serde_json::Value| id_with(&[("rope_parameters", value)]);
    let others = [
        id_with(&[("rms_norm_eps", json!(1e-3))]),
        rope(json!({"rope_type": "default", "rope_theta": 5e5})),
        rope(json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0})),
        rope(json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0})),
    ];
    // Every number of a scaling counts, and which it is.
    let yarn = |key: &str, value: Value| {
        let mut scaling = json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0,
            "original_max_position_embeddings": 512, "attention_factor": 1.5});
        scaling[key] = value;
        rope(scaling)
    };
    let long = |key: &str, value: Value| {
        let mut scaling = json!({"rope_type": "longrope", "rope_theta": 1e4, "attention_factor": 1.5,
            "original_max_position_embeddings": 512, "short_factor": [1.0, 1.5, 2.0],
            "long_factor": [2.0, 3.0, 4.0]});
        scaling[key] = value;
        rope(scaling)
    };
    let dynamic = json!({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0});
    let scaled = [
        yarn("factor", json!(2.0)),
        yarn("factor", json!(4.0)),
        yarn("original_max_position_embeddings", json!(256)),
        yarn("attention_factor", json!(1.25)),
        yarn("beta_fast", json!(16)),
        yarn("beta_slow", json!(2)),
        yarn("truncate", json!(false)),
        long("factor", Value::Null),
        long("original_max_position_embeddings", json!(256)),
        long("attention_factor", json!(1.25)),
        long("short_factor", json!([1.0, 1.5, 3.0])),
        long("long_factor", json!([2.5, 3.0, 4.0])),
        rope(dynamic.clone()),
        id_with(&[("rope_parameters", dynamic), ("max_position_embeddings", json!(32))]),
    ];
    let distinct: std::collections::BTreeSet<_> = others.iter().chain(&scaled).chain([&plain]).collect();
    assert_eq!(distinct.len(), others.len() + scaled.len() + 1);
}

#[test]
fn half_precision_weights_widen() {
    let folder = TempDir::new().unwrap();
    let tiny = Tiny::new();
    let path = tiny.write(&base(&folder));
    let exact = &tiny.weights["lm_head.weight"].1;
    let mut ids = std::collections::BTreeSet::new();
    for (dtype, error) in [(Dtype::F16, 1e-3), (Dtype::BF16, 8e-3), (Dtype::F32, 0.0)] {
        write_weights(&path.join("model.safetensors"), &tiny.weights, dtype);
        let model = ModelFolder::open(&path).unwrap();
        let read = model.tensors().read_f32("lm_head.weight").unwrap();
        assert!(read.iter().zip(exact).all(|(a, b)| (a - b).abs() <= error));
        ids.insert(checkpoint_id(&model, None).unwrap());
    }
    assert_eq!(ids.len(), 3, "another element type is another checkpoint");
}

#[test]
fn identity_follows_weights_and_scaling_only() {
    let folder = TempDir::new().unwrap();
    let model = ModelFolder::open(&Tiny::new().write(&base(&folder))).unwrap();
    let id = |adapter: &TinyAdapter| {
        let adapter = Adapter::open(&adapter.write(&adapter_path(&folder))).unwrap();
        checkpoint_id(&model, Some(&adapter)).unwrap().to_string()
    };
    let plain = TinyAdapter::new(&["q_proj", "v_proj"], 2);
    let reference = id(&plain);
    assert_eq!(reference.len(), 64);
    assert_eq!(id(&plain), reference);

    let mut renamed = plain.clone();
    renamed.weights =
        plain.weights.iter().map(|(n, w)| (n.replace(".weight", ".default.weight"), w.clone())).collect();
    assert_eq!(id(&renamed), reference, "the spelling of names does not matter");
    let mut doubled = plain.clone();
    doubled.config["lora_alpha"] = json!(8);
    assert_ne!(id(&doubled), reference, "the scaling does");
    let mut touched = plain.clone();
    touched.weights.values_mut().next().unwrap().1[3] += 1e-6;
    assert_ne!(id(&touched), reference, "and so does each value");
    assert_ne!(checkpoint_id(&model, None).unwrap().to_string(), reference);
}

#[test]
fn an_adapter_is_used_with_the_model_that_it_was_trained_on() {
    let folder = TempDir::new().unwrap();
    let model = ModelFolder::open(&Tiny::new().write(&base(&folder))).unwrap();
    let mut other = Tiny::new();
    other.weights.get_mut("model.norm.weight").unwrap().1[0] += 1.0;
    let other = ModelFolder::open(&other.write(&folder.path().join("other"))).unwrap();
    let copied = ModelFolder::open(&Tiny::new().write(&folder.path().join("copied"))).unwrap();
    let path = TinyAdapter::new(&["q_proj"], 2).write(&adapter_path(&folder));
    let adapter = Adapter::open(&path).unwrap();
    let id = |model: &ModelFolder| checkpoint_id(model, Some(&adapter)).map_err(|error| error.to_string());
    // Another program says nothing of its model.
    assert!(id(&other).is_ok());
    let trained = checkpoint_id(&model, None).unwrap();
    let found = checkpoint_id(&other, None).unwrap();
    for (state, knows) in [
        (json!({ "base": &*trained, "asked": { "method": "adapter before", "model": "of both" } }), true),
        (json!({ "asked": { "method": "lora", "model": &*trained } }), true),
        // That of the adapter which was gone on from, with its model.
        (json!({ "asked": { "method": "adapter before", "model": &*found } }), false),
    ] {
        write_json(&path.join("gstore_state.json"), &state);
        assert_eq!(id(&copied).unwrap(), id(&model).unwrap());
        match knows {
            true => assert_says(
                &id(&other).unwrap_err(),
                &["was trained on", trained.short(), "other are different", found.short()],
            ),
            false => assert!(id(&other).is_ok()),
        }
    }
}

#[test]
fn weights_that_are_not_those_which_were_written_have_no_identity() {
    let folder = TempDir::new().unwrap();
    let base = Tiny::new().write(&base(&folder));
    let adapter = TinyAdapter::new(&["q_proj"], 2).write(&adapter_path(&folder));
    for (path, name) in [(&base, "model.safetensors"), (&adapter, "adapter_model.safetensors")] {
        let id = || {
            let opened = Adapter::open(&adapter).unwrap();
            checkpoint_id(&ModelFolder::open(&base).unwrap(), Some(&opened))
                .map_err(|error| error.to_string())
        };
        let state = path.join("gstore_state.json");
        let file = fs_err::File::open(path.join(name)).unwrap();
        let written = gstore_core::Digest::of_read(file).unwrap().to_string();
        write_json(&state, &json!({ "files": { name: written } }));
        let sound = id().unwrap();
        let other = "0".repeat(32);
        write_json(&state, &json!({ "files": { name: other } }));
        assert_says(&id().unwrap_err(), &[&format!("{name} is damaged"), &written, "put the file back"]);
        // An earlier version said no digests.
        write_json(&state, &json!({ "asked": {} }));
        assert_eq!(id().unwrap(), sound);
    }
}

/// The message of using the tiny adapter after a change of its configuration.
fn adapter_error(key: &str, value: Value) -> String {
    let folder = TempDir::new().unwrap();
    let mut adapter = TinyAdapter::new(&["q_proj", "o_proj"], 2);
    adapter.config[key] = value;
    use_adapter(&folder, &adapter).unwrap_err()
}

fn use_adapter(folder: &TempDir, adapter: &TinyAdapter) -> Result<Vec<TensorSpec>, String> {
    let model = ModelFolder::open(&Tiny::new().write(&base(folder))).unwrap();
    let adapter = Adapter::open(&adapter.write(&adapter_path(folder))).map_err(|e| e.to_string())?;
    adapter.params(&model).map_err(|e| e.to_string())
}

#[test]
fn weights_that_the_model_has_no_place_for_are_named() {
    let folder = TempDir::new().unwrap();
    let note = |tiny: &Tiny| ModelFolder::open(&tiny.write(&base(&folder))).unwrap().unused_note();
    let mut tiny = Tiny::new();
    tiny.weights.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), (vec![1], vec![1.0]));
    assert_eq!(note(&tiny), None);
    tiny.weights.insert("model.layers.1.self_attn.q_norm.weight".into(), (vec![1], vec![1.0]));
    let says =
        ["config.json: ", "1 tensor of the weights", "left out: model.layers.1.self_attn.q_norm.weight"];
    assert_says(&note(&tiny).unwrap(), &says);
    // Biases of queries, keys, values and outputs in two layers.
    let mut biased = Tiny::new().with_biases();
    assert_eq!(note(&biased), None);
    biased.config["attention_bias"] = Value::Null;
    assert_says(&note(&biased).unwrap(), &["8 tensors", "model.layers.0.self_attn.k_proj.bias, ", ", ..."]);
    // The head of a tied model has its place.
    let mut tied = Tiny::new();
    tied.config["tie_word_embeddings"] = json!(true);
    tied.weights.insert("lm_head.weight".into(), tied.weights["model.embed_tokens.weight"].clone());
    assert_eq!(note(&tied), None);
    // An adapter among the files of a whole model.
    fs_err::write(base(&folder).join("adapter_config.json"), "{}").unwrap();
    assert_says(&note(&Tiny::new()).unwrap(), &["no place for the adapter in its folder"]);
}

#[test]
fn unsupported_adapters_are_refused_by_name() {
    assert_says(&adapter_error("peft_type", json!("IA3")), &["peft_type", "IA3", "LORA"]);
    assert_says(&adapter_error("bias", json!("lora_only")), &["bias", "lora_only", "none"]);
    assert_says(&adapter_error("use_dora", json!(true)), &["use_dora"]);
    assert_says(&adapter_error("modules_to_save", json!(["lm_head"])), &["modules_to_save", "lm_head"]);
    for variant in ["kasa_config", "monteclora_config", "velora_config"] {
        assert_says(&adapter_error(variant, json!({"scale": 1.0})), &[variant, "plain LoRA and rsLoRA are"]);
    }
    for variant in ["arrow_config", "kasa_config", "monteclora_config", "velora_config", "use_bdlora"] {
        assert_says(&adapter_error(variant, json!({})), &[&format!("{variant} {{}}"), "plain LoRA and"]);
    }
    // PEFT takes these for unset.
    let mut plain = TinyAdapter::new(&["q_proj"], 2);
    for unused in ["loftq_config", "megatron_config", "trainable_token_indices"] {
        plain.config[unused] = json!({});
    }
    use_adapter(&TempDir::new().unwrap(), &plain).unwrap();
    assert_says(&adapter_error("use_some_future_variant", json!(true)), &["use_some_future_variant"]);
    assert_says(&adapter_error("layer_replication", json!([[0, 2]])), &["layer_replication"]);
    assert_says(&adapter_error("target_modules", json!(["q_proj"])), &["target_modules", "o_proj"]);
    assert_says(
        &adapter_error("target_modules", json!(["q_proj", "o_proj", "v_proj"])),
        &["v_proj", "no factors"],
    );
    assert_says(&adapter_error("target_modules", json!("(")), &["target_modules", "pattern"]);
    let says = ["target_modules", "look-around", "adapter_config.json by the list of the adapted modules"];
    assert_says(&adapter_error("target_modules", json!(r"(?!lm_head).*_proj")), &says);
    let says = ["rank_pattern", "write it without look-around"];
    assert_says(&adapter_error("rank_pattern", json!({ "(?<!x)q_proj": 2 })), &says);
    assert_says(
        &adapter_error("target_modules", Value::Null),
        &["target_modules is missing or null", "PEFT"],
    );
    assert_says(&adapter_error("init_lora_weights", json!("pissa")), &["init_lora_weights", "pissa", "base"]);
    assert_says(&adapter_error("r", json!(4)), &["lora_A", "expected [4, 24]", "[2, 24]"]);
    assert_says(&adapter_error("r", Value::Null), &["r is missing"]);
}

#[test]
fn adapters_of_other_models_and_damaged_ones_are_refused() {
    let folder = TempDir::new().unwrap();
    let good = TinyAdapter::new(&["q_proj"], 2);
    let mut wide = good.clone();
    for (name, value) in &mut wide.weights {
        if name.ends_with("lora_A.weight") {
            *value = (vec![2, 32], noise(1, 64, 0.1));
        }
    }
    assert_says(
        &use_adapter(&folder, &wide).unwrap_err(),
        &["adapter for another model", "[2, 32]", "[2, 16]"],
    );
    let mut deep = good.clone();
    for name in good.weights.keys().filter(|n| n.contains("layers.1")) {
        deep.weights.insert(name.replace("layers.1", "layers.7"), good.weights[name].clone());
    }
    assert_says(&use_adapter(&folder, &deep).unwrap_err(), &["another model", "layers.7", "2 layers"]);
    // With what its folder says of the model that it was trained on.
    deep.config["base_model_name_or_path"] = json!("org/deep");
    assert_says(&use_adapter(&folder, &deep).unwrap_err(), &["it was trained on org/deep: give that"]);
    let mut named = deep.clone();
    named.config["base_model_name_or_path"] = json!("org/base");
    let told = use_adapter(&folder, &named).unwrap_err();
    assert!(told.contains("another model") && !told.contains("it was trained on"), "{told}");
    let state = adapter_path(&folder).join("gstore_state.json");
    write_json(&state, &json!({ "base": "ab".repeat(32) }));
    let told = use_adapter(&folder, &deep).unwrap_err();
    assert_says(&told, &["it was trained on org/deep, when its digest began with abab"]);
    fs_err::write(&state, b"{").unwrap();
    let told = use_adapter(&folder, &deep).unwrap_err();
    assert_says(&told, &["gstore_state.json is damaged: EOF", "remove gstore_state.json"]);
    fs_err::remove_file(&state).unwrap();
    // Weights that are cut off, and none.
    let open = |path: &Path| Adapter::open(path).unwrap_err().to_string();
    let path = good.write(&adapter_path(&folder));
    let weights = path.join("adapter_model.safetensors");
    let bytes = fs_err::read(&weights).unwrap();
    fs_err::write(&weights, &bytes[..bytes.len() - 8]).unwrap();
    assert_says(&open(&path), &["is not a valid safetensors file", "put it back from a copy"]);
    fs_err::remove_file(&weights).unwrap();
    assert_says(&open(&path), &["has no adapter_model.safetensors", "put it back from a copy"]);
    let mut half = good.clone();
    half.weights.remove("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    assert_says(
        &use_adapter(&folder, &half).unwrap_err(),
        &["layers.0.self_attn.q_proj.lora_B.weight is missing"],
    );
    let mut head = good.clone();
    head.config["target_modules"] = json!(["q_proj", "lm_head"]);
    head.weights.insert("base_model.model.lm_head.lora_A.weight".into(), (vec![2, 16], vec![0.0; 32]));
    assert_says(&use_adapter(&folder, &head).unwrap_err(), &["lm_head"]);
    let mut embedding = good.clone();
    embedding
        .weights
        .insert("base_model.model.model.embed_tokens.lora_embedding_A".into(), (vec![2, 37], vec![0.0; 74]));
    assert_says(&use_adapter(&folder, &embedding).unwrap_err(), &["tensor model.embed_tokens.lora_emb"]);

    let path = good.write(&adapter_path(&folder));
    fs_err::rename(path.join("adapter_model.safetensors"), path.join("adapter_model.bin")).unwrap();
    assert_says(&Adapter::open(&path).unwrap_err().to_string(), &["adapter_model.bin is a pickle"]);
    fs_err::remove_file(path.join("adapter_config.json")).unwrap();
    assert_says(&Adapter::open(&path).unwrap_err().to_string(), &["adapter_config.json"]);
}

#[test]
fn adapters_of_some_layers_have_all_of_their_factors() {
    let folder = TempDir::new().unwrap();
    let good = TinyAdapter::new(&["q_proj"], 2);
    let mut shallow = good.clone();
    shallow.weights.retain(|n, _| n.contains("layers.0"));
    for (name, is_other) in [("org/shallow", true), ("org/base", false)] {
        shallow.config["base_model_name_or_path"] = json!(name);
        let told = use_adapter(&folder, &shallow).unwrap_err();
        assert_says(&told, &["is incomplete for", "covers model.layers.1.self_attn.q_proj", "from a copy"]);
        assert_eq!(told.contains(&format!("it was trained on {name}: give that")), is_other, "{told}");
        assert!(!told.contains("another model"), "{told}");
    }
    shallow.config["layers_to_transform"] = json!([0]);
    assert_eq!(use_adapter(&folder, &shallow).unwrap().len(), 2);
    // An empty list means all layers, as in PEFT.
    for layers in [json!([0, 1]), json!([])] {
        shallow.config["layers_to_transform"] = layers;
        assert_says(&use_adapter(&folder, &shallow).unwrap_err(), &["covers model.layers.1.", "no factors"]);
    }
    // The number of a layer stands behind the pattern, if there is one.
    shallow.config["layers_to_transform"] = json!([0]);
    for any in [json!("layers"), json!(["h", "layers"]), json!("l.*s"), json!(""), json!([]), Value::Null] {
        shallow.config["layers_pattern"] = any;
        assert_eq!(use_adapter(&folder, &shallow).unwrap().len(), 2);
    }
    for none in [json!("h"), json!("ayers"), json!(["blocks", "h"])] {
        shallow.config["layers_pattern"] = none;
        assert_says(&use_adapter(&folder, &shallow).unwrap_err(), &["does not cover", "layers.0.self_attn"]);
    }
    for (wrong, says) in
        [(json!(1), "must be a pattern or a list"), (json!("(?!h)"), "write it without look")]
    {
        shallow.config["layers_pattern"] = wrong;
        assert_says(&use_adapter(&folder, &shallow).unwrap_err(), &["layers_pattern", says]);
    }
    // Layers do not limit modules that are named in full.
    let mut full = good;
    full.config["layers_to_transform"] = json!([0]);
    assert_says(&use_adapter(&folder, &full).unwrap_err(), &["does not cover", "layers.1.self_attn.q_proj"]);
    full.config["target_modules"] = json!(["q_proj", "model.layers.1.self_attn.q_proj"]);
    assert_eq!(use_adapter(&folder, &full).unwrap().len(), 4);
}

/// PEFT saves them next to the factors, and before them in the file where these are of the same module.
#[test]
fn adapters_with_weights_of_the_model_are_to_be_merged() {
    let folder = TempDir::new().unwrap();
    let good = TinyAdapter::new(&["q_proj"], 2);
    let mut head = good.clone();
    head.config["target_modules"] = json!(["q_proj", "lm_head"]);
    for (factor, shape) in [("lora_A", vec![2, 16]), ("lora_B", vec![37, 2])] {
        let values = noise(1, shape.iter().product(), 0.1);
        head.weights.insert(format!("base_model.model.lm_head.{factor}.weight"), (shape, values));
    }
    let says = ["adapter_config.json: an adapter of lm_head is not", "decoder layers", "with PEFT"];
    assert_says(&use_adapter(&folder, &head).unwrap_err(), &says);
    for (adapter, name, says) in [
        (&good, "model.embed_tokens.weight", "that also replaces the weights of model.embed_tokens is not"),
        (&good, "lm_head.weight", "that also replaces the weights of lm_head is not"),
        (&head, "lm_head.base_layer.weight", "of lm_head with its weights is not"),
    ] {
        let mut saved = adapter.clone();
        saved.weights.insert(format!("base_model.model.{name}"), (vec![37, 16], vec![0.0; 37 * 16]));
        let says = format!("adapter_model.safetensors: an adapter {says}");
        assert_says(&use_adapter(&folder, &saved).unwrap_err(), &[&says, "decoder layers", "with PEFT"]);
    }
}

#[test]
fn ranks_and_scalings_follow_the_patterns() {
    let folder = TempDir::new().unwrap();
    let mut adapter = TinyAdapter::new(&["q_proj", "down_proj"], 4);
    adapter.config["rank_pattern"] = json!({"down_proj": 2});
    adapter.config["alpha_pattern"] =
        json!({"layers.1.self_attn.q_proj": 32, "^model.layers.0.mlp.down_proj": 6});
    adapter.config["target_modules"] = json!(r".*\.(q_proj|down_proj)");
    for (name, value) in &mut adapter.weights {
        if name.contains("down_proj") {
            *value = if name.contains("lora_A") {
                (vec![2, 24], vec![0.0; 48])
            } else {
                (vec![16, 2], vec![0.0; 32])
            };
        }
    }
    let scalings = |adapter: &TinyAdapter| -> Vec<(usize, f64)> {
        let adapter = Adapter::open(&adapter.write(&adapter_path(&folder))).unwrap();
        let model = ModelFolder::open(&Tiny::new().write(&base(&folder))).unwrap();
        adapter.fit(&model).unwrap().iter().map(|w| (w.lora.rank, w.lora.scaling)).collect()
    };
    assert_eq!(scalings(&adapter), [(4, 2.0), (2, 3.0), (4, 8.0), (2, 4.0)]);
    adapter.config["use_rslora"] = json!(true);
    assert_eq!(scalings(&adapter)[0], (4, 4.0));
    let names: Vec<_> = use_adapter(&folder, &adapter).unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names[0], "model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_eq!(names[3], "model.layers.0.mlp.down_proj.lora_B.weight");
}
