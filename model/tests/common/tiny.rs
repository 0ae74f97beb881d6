//! A Llama small enough to write out for each test, with a LoRA adapter and an optimizer state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// Tensors by name: shape and values.
pub type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A model folder in the making.
#[derive(Clone)]
pub struct Tiny {
    pub config: Value,
    pub weights: Weights,
}

/// An adapter folder in the making.
#[derive(Clone)]
pub struct TinyAdapter {
    pub config: Value,
    pub weights: Weights,
}

/// Deterministic values around zero.
pub fn noise(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0 * scale
        })
        .collect()
}

const HIDDEN: usize = 16;
const INNER: usize = 24;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 6;
pub const VOCAB: usize = 37;
const LAYERS: usize = 2;

fn linear_shapes() -> [(&'static str, usize, usize); 7] {
    [
        ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
        ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
        ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
        ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
        ("mlp.gate_proj", INNER, HIDDEN),
        ("mlp.up_proj", INNER, HIDDEN),
        ("mlp.down_proj", HIDDEN, INNER),
    ]
}

impl Tiny {
    pub fn new() -> Tiny {
        let mut weights = Weights::new();
        let mut add = |name: String, shape: Vec<usize>, offset: f32, scale: f32| {
            let values = noise(name.len() as u64 * 31 + weights.len() as u64, shape.iter().product(), scale);
            weights.insert(name, (shape, values.into_iter().map(|v| v + offset).collect()));
        };
        add("model.embed_tokens.weight".into(), vec![VOCAB, HIDDEN], 0.0, 1.0);
        add("lm_head.weight".into(), vec![VOCAB, HIDDEN], 0.0, 0.4);
        add("model.norm.weight".into(), vec![HIDDEN], 1.0, 0.2);
        for layer in 0..LAYERS {
            for (path, out, input) in linear_shapes() {
                add(format!("model.layers.{layer}.{path}.weight"), vec![out, input], 0.0, 0.4);
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(format!("model.layers.{layer}.{norm}.weight"), vec![HIDDEN], 1.0, 0.2);
            }
        }
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
            "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
            "max_position_embeddings": 64, "tie_word_embeddings": false,
        });
        Tiny { config, weights }
    }

    /// Adds biases to all linear layers.
    pub fn with_biases(mut self) -> Tiny {
        self.config["attention_bias"] = json!(true);
        self.config["mlp_bias"] = json!(true);
        for layer in 0..LAYERS {
            for (path, out, _) in linear_shapes() {
                let name = format!("model.layers.{layer}.{path}.bias");
                let values = noise(name.len() as u64 + layer as u64, out, 0.3);
                self.weights.insert(name, (vec![out], values));
            }
        }
        self
    }

    /// Writes the folder and returns its path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        fs_err::create_dir_all(folder).unwrap();
        write_json(&folder.join("config.json"), &self.config);
        write_weights(&folder.join("model.safetensors"), &self.weights, Dtype::F32);
        folder.to_owned()
    }
}

impl TinyAdapter {
    /// Adapts the modules whose path ends with one of `targets`, in every layer.
    pub fn new(targets: &[&str], rank: usize) -> TinyAdapter {
        let mut weights = Weights::new();
        for layer in 0..LAYERS {
            for (path, out, input) in linear_shapes() {
                if targets.iter().any(|t| path.ends_with(t)) {
                    let module = format!("base_model.model.model.layers.{layer}.{path}");
                    let seed = (layer * 100 + path.len()) as u64;
                    let a = (vec![rank, input], noise(seed, rank * input, 0.5));
                    let b = (vec![out, rank], noise(seed + 7, rank * out, 0.3));
                    weights.insert(format!("{module}.lora_A.weight"), a);
                    weights.insert(format!("{module}.lora_B.weight"), b);
                }
            }
        }
        let config = json!({
            "peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", "target_modules": targets,
            "use_dora": false, "use_rslora": false, "modules_to_save": null, "fan_in_fan_out": false,
            "rank_pattern": {}, "alpha_pattern": {},
        });
        TinyAdapter { config, weights }
    }

    /// Writes the folder and returns its path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        fs_err::create_dir_all(folder).unwrap();
        write_json(&folder.join("adapter_config.json"), &self.config);
        write_weights(&folder.join("adapter_model.safetensors"), &self.weights, Dtype::F32);
        folder.to_owned()
    }
}

pub fn write_json(path: &Path, value: &Value) {
    fs_err::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

/// Writes a safetensors file with elements of type F32, F16 or BF16, or the raw bytes of the values
/// under another type's name.
pub fn write_weights(path: &Path, weights: &Weights, dtype: Dtype) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, (shape, values))| (name.clone(), shape.clone(), encode(values, dtype)))
        .collect();
    let views =
        bytes.iter().map(|(name, shape, data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let each = |f: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|v| f(*v)).collect();
    match dtype {
        Dtype::F16 => each(&|v| half::f16::from_f32(v).to_le_bytes().to_vec()),
        Dtype::BF16 => each(&|v| half::bf16::from_f32(v).to_le_bytes().to_vec()),
        Dtype::F64 => each(&|v| f64::from(v).to_le_bytes().to_vec()),
        Dtype::I8 => each(&|v| vec![v as i8 as u8]),
        _ => each(&|v| v.to_le_bytes().to_vec()),
    }
}
