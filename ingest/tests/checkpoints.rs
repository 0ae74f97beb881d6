//! Promise: a checkpoint folder is either understood completely or refused with an error that names the place and the way out, and no
//! file can cause a panic.

mod common;

use std::path::{Path, PathBuf};

use common::archive::{self, Obj, dict, tensor, text};
use common::tiny::{Tiny, TinyAdapter, Weights, noise, write_json, write_weights};
use gstore_ingest::checkpoint::{
    Adapter, CheckpointId, ModelFolder, Moments, TensorSet, TorchArchive, TrainerState, peak_rate,
};
use gstore_ingest::params::{TensorSpec, total_len};
use proptest::prelude::*;
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

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not mention {part:?}");
    }
}

#[test]
fn unsupported_configurations_are_refused_by_name() {
    assert_says(
        &config_error("architectures", json!(["MistralForCausalLM"])),
        &["MistralForCausalLM", "supported: LlamaForCausalLM"],
    );
    assert_says(&config_error("hidden_act", json!("gelu")), &["hidden_act", "gelu", "silu"]);
    assert_says(
        &config_error("quantization_config", json!({"bits": 4})),
        &["quantised", "quantization_config"],
    );
    assert_says(
        &config_error("rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        &["dynamic", "llama3"],
    );
    assert_says(
        &config_error("rope_scaling", json!({"rope_type": "yarn", "factor": 2.0})),
        &["yarn", "linear"],
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
    let configs = [old, new].map(|t| ModelFolder::open(&t.write(&base(&folder))).unwrap().config().clone());
    assert_eq!(configs[0], configs[1]);
    assert_eq!(configs[0].rope_theta, 5e5);
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
    fs_err::remove_file(path.join("pytorch_model.bin")).unwrap();

    tiny.weights.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().0 = vec![16, 24];
    tiny.write(&path);
    assert_says(&open(), &["model.layers.1.mlp.up_proj.weight", "[16, 24]", "expected [24, 16]"]);
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
    let whole = CheckpointId::compute(&ModelFolder::open(&path).unwrap(), None).unwrap();
    fs_err::remove_file(path.join("model.safetensors")).unwrap();
    write_shards(&path, &Tiny::new());
    let sharded = ModelFolder::open(&path).unwrap();
    assert_eq!(CheckpointId::compute(&sharded, None).unwrap(), whole);
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
        ids.insert(CheckpointId::compute(&model, None).unwrap());
    }
    assert_eq!(ids.len(), 3, "another element type is another checkpoint");
}

#[test]
fn identity_follows_weights_and_scaling_only() {
    let folder = TempDir::new().unwrap();
    let model = ModelFolder::open(&Tiny::new().write(&base(&folder))).unwrap();
    let id = |adapter: &TinyAdapter| {
        let adapter = Adapter::open(&adapter.write(&adapter_path(&folder))).unwrap();
        CheckpointId::compute(&model, Some(&adapter)).unwrap().to_string()
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
    assert_ne!(CheckpointId::compute(&model, None).unwrap().to_string(), reference);
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
fn unsupported_adapters_are_refused_by_name() {
    assert_says(&adapter_error("peft_type", json!("IA3")), &["peft_type", "IA3", "LORA"]);
    assert_says(&adapter_error("bias", json!("lora_only")), &["bias", "lora_only", "none"]);
    assert_says(&adapter_error("use_dora", json!(true)), &["use_dora"]);
    assert_says(&adapter_error("modules_to_save", json!(["lm_head"])), &["modules_to_save", "lm_head"]);
    assert_says(&adapter_error("use_some_future_variant", json!(true)), &["use_some_future_variant"]);
    assert_says(&adapter_error("layer_replication", json!([[0, 2]])), &["layer_replication"]);
    assert_says(&adapter_error("target_modules", json!(["q_proj"])), &["target_modules", "o_proj"]);
    assert_says(
        &adapter_error("target_modules", json!(["q_proj", "o_proj", "v_proj"])),
        &["v_proj", "no factors"],
    );
    assert_says(&adapter_error("target_modules", json!("(")), &["target_modules", "pattern"]);
    assert_says(&adapter_error("r", json!(4)), &["lora_A", "expected [4, 16]", "[2, 16]"]);
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
    assert_says(&use_adapter(&folder, &deep).unwrap_err(), &["another model", "layer 7", "2 layers"]);
    let mut shallow = good.clone();
    shallow.weights.retain(|n, _| n.contains("layers.0"));
    assert_says(&use_adapter(&folder, &shallow).unwrap_err(), &["another model", "layers.1"]);
    shallow.config["layers_to_transform"] = json!([0]);
    assert_eq!(use_adapter(&folder, &shallow).unwrap().len(), 2);
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
    assert_says(&use_adapter(&folder, &embedding).unwrap_err(), &["embed_tokens"]);

    let path = good.write(&adapter_path(&folder));
    fs_err::rename(path.join("adapter_model.safetensors"), path.join("adapter_model.bin")).unwrap();
    assert_says(&Adapter::open(&path).unwrap_err().to_string(), &["adapter_model.bin is a pickle"]);
    fs_err::remove_file(path.join("adapter_config.json")).unwrap();
    assert_says(&Adapter::open(&path).unwrap_err().to_string(), &["adapter_config.json"]);
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
        adapter.modules().values().map(|m| (m.rank, m.scaling)).collect()
    };
    assert_eq!(scalings(&adapter), [(4, 2.0), (2, 3.0), (4, 8.0), (2, 4.0)]);
    adapter.config["use_rslora"] = json!(true);
    assert_eq!(scalings(&adapter)[0], (4, 4.0));
    let names: Vec<_> = use_adapter(&folder, &adapter).unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names[0], "model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_eq!(names[3], "model.layers.0.mlp.down_proj.lora_B.weight");
}

fn specs() -> Vec<TensorSpec> {
    let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.to_vec() };
    vec![
        spec("model.layers.0.self_attn.q_proj.lora_A.weight", &[2, 5]),
        spec("model.layers.0.self_attn.q_proj.lora_B.weight", &[3, 2]),
    ]
}

fn state(spec: &TensorSpec, seed: u64) -> Obj {
    let positive = noise(seed + 1, spec.numel(), 1.0).into_iter().map(|v| v * v).collect();
    dict([
        ("step", tensor(&[], vec![112.0])),
        ("exp_avg", tensor(&spec.shape, noise(seed, spec.numel(), 1.0))),
        ("exp_avg_sq", tensor(&spec.shape, positive)),
    ])
}

fn index_keyed(states: Vec<Obj>) -> Obj {
    let numbers: Vec<Obj> = (0..states.len() as i32).map(Obj::Int).collect();
    let entries = numbers.iter().cloned().zip(states).collect();
    let group = |params: Vec<Obj>| {
        dict([("lr", Obj::Float(1e-3)), ("initial_lr", Obj::Float(2e-3)), ("params", Obj::List(params))])
    };
    dict([
        ("state", Obj::Dict(entries)),
        ("param_groups", Obj::List(vec![group(numbers), group(Vec::new())])),
    ])
}

fn name_keyed(prefix: &str, infix: &str) -> Obj {
    let entries = specs().into_iter().enumerate().map(|(i, s)| {
        let name = s.name.replace(".weight", &format!("{infix}.weight"));
        (text(&format!("{prefix}{name}")), state(&s, i as u64 * 10))
    });
    dict([("state", Obj::Dict(entries.rev().collect()))])
}

fn load(folder: &TempDir, root: &Obj) -> Result<Moments, String> {
    let path = folder.path().join("optimizer.pt");
    archive::write(&path, root);
    Moments::load(&path, &specs()).map_err(|e| e.to_string())
}

#[test]
fn both_keyings_of_the_optimizer_state_agree() {
    let folder = TempDir::new().unwrap();
    let states = || specs().iter().enumerate().map(|(i, s)| state(s, i as u64 * 10)).collect::<Vec<_>>();
    let by_index = load(&folder, &index_keyed(states())).unwrap();
    assert_eq!(by_index.exp_avg.len(), total_len(&specs()));
    assert_eq!(by_index.exp_avg[..10], noise(0, 10, 1.0));
    assert_eq!(by_index.step, Some(112));
    for (prefix, infix) in [
        ("", ""),
        ("base_model.model.", ".default"),
        ("module.base_model.model.", ""),
        ("_fsdp_wrapped_module.base_model.model.", ".default"),
    ] {
        let by_name = load(&folder, &name_keyed(prefix, infix)).unwrap();
        assert_eq!(by_name, by_index);
        assert_eq!(by_name.digest(), by_index.digest());
    }
    let mut other = by_index.clone();
    other.exp_avg_sq[3] += 1.0;
    assert_ne!(other.digest(), by_index.digest());
    assert!(Moments::find(folder.path()).unwrap().ends_with("optimizer.pt"));
    assert_eq!(peak_rate(folder.path()).unwrap(), None, "a state without groups has no peak");
    archive::write(&folder.path().join("optimizer.pt"), &index_keyed(states()));
    assert_eq!(peak_rate(folder.path()).unwrap(), Some(2e-3));
}

#[test]
fn strided_moments_are_read_in_order() {
    let folder = TempDir::new().unwrap();
    let transposed = Obj::Tensor(vec![2, 5], vec![1, 2], 1, (0..11).map(|v| v as f32).collect());
    let first = dict([("exp_avg", transposed.clone()), ("exp_avg_sq", transposed)]);
    let moments = load(&folder, &index_keyed(vec![first, state(&specs()[1], 1)])).unwrap();
    assert_eq!(moments.exp_avg[..10], [1.0, 3.0, 5.0, 7.0, 9.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(moments.step, None);
}

#[test]
fn moments_that_do_not_fit_are_refused() {
    let folder = TempDir::new().unwrap();
    let good = |i: usize| state(&specs()[i], 1);
    let with = |moment: &str, obj: Obj| match good(0) {
        Obj::Dict(entries) => Obj::Dict(
            entries
                .into_iter()
                .map(
                    |(k, v)| if matches!(&k, Obj::Str(s) if s == moment) { (k, obj.clone()) } else { (k, v) },
                )
                .collect(),
        ),
        other => other,
    };
    let cases: Vec<(Obj, &[&str])> = vec![
        (index_keyed(vec![good(0)]), &["do not fit", "1 parameters", "2 tensors"]),
        (index_keyed(vec![good(1), good(0)]), &["do not fit", "q_proj.lora_A", "[3, 2]", "[2, 5]"]),
        (index_keyed(vec![dict([("momentum_buffer", Obj::None)]), good(1)]), &["no exp_avg", "Adam"]),
        (
            index_keyed(vec![with("exp_avg_sq", tensor(&[2, 5], vec![-1.0; 10])), good(1)]),
            &["exp_avg_sq", "holds -1"],
        ),
        (
            index_keyed(vec![with("exp_avg", tensor(&[2, 5], vec![f32::NAN; 10])), good(1)]),
            &["exp_avg", "NaN"],
        ),
        (
            index_keyed(vec![with("exp_avg", Obj::Tensor(vec![2, 5], vec![0, 0], 0, vec![1.0])), good(1)]),
            &["does not fit its storage"],
        ),
        (
            index_keyed(vec![
                with("exp_avg", Obj::Tensor(vec![2, 5], vec![5, 1], 3, vec![1.0; 10])),
                good(1),
            ]),
            &["offset 3"],
        ),
        (dict([("state", Obj::Dict(vec![]))]), &["no step"]),
        (dict([("weights", Obj::None)]), &["no key \"state\""]),
        (Obj::List(vec![]), &["no key \"state\""]),
        (dict([("state", Obj::Dict(vec![(Obj::None, Obj::None)]))]), &["neither numbers nor names"]),
        (dict([("state", Obj::Dict(vec![(text("lm_head.weight"), good(0))]))]), &["none for model.layers.0"]),
    ];
    for (root, parts) in cases {
        assert_says(&load(&folder, &root).unwrap_err(), parts);
    }
    let mut extra = name_keyed("", "");
    if let Obj::Dict(root) = &mut extra
        && let Obj::Dict(states) = &mut root[0].1
    {
        states.push((text("lm_head.weight"), good(0)));
    }
    assert_says(&load(&folder, &extra).unwrap_err(), &["lm_head.weight", "lacks"]);
    assert_says(
        &Moments::find(&folder.path().join("nowhere")).unwrap_err().to_string(),
        &["optimizer.pt nor optimizer.bin"],
    );
}

#[test]
fn hostile_pickles_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("optimizer.pt");
    let open = |root: &Obj| {
        archive::write(&path, root);
        TorchArchive::open(&path).map(drop).unwrap_err().to_string()
    };
    assert_says(&open(&Obj::Raw(b"cos\nsystem\n(S'true'\ntR".to_vec())), &["os.system", "does not load"]);
    assert_says(&open(&Obj::Raw(b"cbuiltins\neval\n".to_vec())), &["builtins.eval"]);
    assert_says(&open(&Obj::Raw(b"ctorch\nload\n".to_vec())), &["torch.load"]);
    assert_says(&open(&Obj::Raw(b"i__main__\nX\n".to_vec())), &["0x69", "not allowed"]);
    assert_says(&open(&Obj::Raw(b"h\x07".to_vec())), &["memo"]);
    assert_says(&open(&Obj::Raw(b"]q\x00h\x00a".to_vec())), &["nested"]);
    let deep: Vec<u8> = b"]".repeat(200).into_iter().chain(b"a".repeat(199)).collect();
    assert_says(&open(&Obj::Raw(deep)), &["nested"]);
    // Each level holds the one below ten times: 10^9 values from a hundred bytes.
    let mut bomb = b"]q\x00".to_vec();
    for level in 0..9u8 {
        bomb.extend(b"](");
        bomb.extend([b'h', level].repeat(10));
        bomb.extend([b'e', b'q', level + 1]);
    }
    assert_says(&open(&Obj::Raw(bomb)), &["values"]);
    fs_err::write(&path, b"\x80\x02}q\x00.").unwrap();
    assert_says(
        &TorchArchive::open(&path).map(drop).unwrap_err().to_string(),
        &["not a torch ZIP", "torch.save"],
    );
}

#[test]
fn trainer_states() {
    let folder = TempDir::new().unwrap();
    assert_eq!(TrainerState::read(folder.path()).unwrap(), None);
    let path = folder.path().join("trainer_state.json");
    fs_err::write(&path, b"{").unwrap();
    assert_says(&TrainerState::read(folder.path()).unwrap_err().to_string(), &["trainer_state.json"]);
    write_json(&path, &json!({"epoch": 1.0}));
    assert_says(&TrainerState::read(folder.path()).unwrap_err().to_string(), &["global_step"]);
    let epochs = |step: u64, epoch: f64| {
        write_json(&path, &json!({"global_step": step, "epoch": epoch, "log_history": []}));
        TrainerState::read(folder.path()).unwrap().unwrap().epoch_steps().unwrap()
    };
    assert_eq!(epochs(112, 2.0), (57, 112));
    // 13,533 rows in batches of 128 on four devices.
    let per_epoch = 13_533.0 / 128.0;
    assert_eq!(epochs(105, 105.0 / per_epoch), (1, 105));
    assert_eq!(epochs(211, 211.0 / per_epoch), (106, 211));
    assert_eq!(epochs(317, 317.0 / per_epoch), (212, 317));
    assert_eq!(epochs(420, 420.0 / per_epoch), (318, 420));
}

fn corrupt(mut bytes: Vec<u8>, changes: &[(usize, u8)], keep: usize) -> Vec<u8> {
    let len = bytes.len();
    for (at, value) in changes {
        bytes[at % len] = *value;
    }
    bytes.truncate(len - keep % len);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrupted_archives_do_not_panic(changes in prop::collection::vec((0usize..100_000, any::<u8>()), 0..12), cut in prop_oneof![Just(0usize), 0usize..4000]) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("optimizer.pt");
        let states = specs().iter().map(|s| state(s, 3)).collect();
        fs_err::write(&path, corrupt(archive::bytes(&index_keyed(states)), &changes, cut)).unwrap();
        let _ = Moments::load(&path, &specs());
        let _ = peak_rate(folder.path());
    }

    #[test]
    fn random_pickles_do_not_panic(bytes in prop::collection::vec(prop_oneof![
        prop::sample::select(b"\x80.(0N\x88\x89KMJ\x8aGX\x8cBC]})\x85\x86\x87taesuqrhjc\x93RbQ\x94\x95".to_vec()), any::<u8>()], 0..80)) {
        let _ = gstore_ingest::checkpoint::pickle::parse(&bytes, Default::default());
    }

    #[test]
    fn corrupted_weights_do_not_panic(changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..8), cut in prop_oneof![Just(0usize), 0usize..20_000]) {
        let folder = TempDir::new().unwrap();
        let path = Tiny::new().write(&base(&folder));
        let file = path.join("model.safetensors");
        fs_err::write(&file, corrupt(fs_err::read(&file).unwrap(), &changes, cut)).unwrap();
        if let Ok(set) = TensorSet::open(&path, "model") {
            for name in set.names() {
                let _ = set.read_f32(name);
            }
        }
        let _ = ModelFolder::open(&path);
    }

    #[test]
    fn corrupted_configurations_do_not_panic(changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..4)) {
        let folder = TempDir::new().unwrap();
        let path = Tiny::new().write(&base(&folder));
        let adapter = TinyAdapter::new(&["q_proj"], 2).write(&adapter_path(&folder));
        for file in [path.join("config.json"), adapter.join("adapter_config.json")] {
            fs_err::write(&file, corrupt(fs_err::read(&file).unwrap(), &changes, 0)).unwrap();
        }
        if let (Ok(model), Ok(adapter)) = (ModelFolder::open(&path), Adapter::open(&adapter)) {
            let _ = adapter.params(&model);
        }
    }
}
