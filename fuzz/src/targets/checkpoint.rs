//! Model and adapter folders: headers of weights, configurations, trainer states.

use super::{KIB, MIB};
use crate::{Target, folder};
use gstore_model::architectures::{Decoder, PositionEncoding, TensorRole};
use gstore_model::weights::{Adapter, TensorSet, TrainerState};
use std::sync::OnceLock;

/// A safetensors file.
pub const SAFETENSORS: Target = Target {
    name: "safetensors",
    run: safetensors,
    // Names, shapes and offsets of tensors, in a list and in two maps.
    per_byte: 150,
    constant: 256 * KIB,
    words: &[
        b"\"dtype\":\"F32\"",
        b"\"BF16\"",
        b"\"shape\":[",
        b"\"data_offsets\":[",
        b"\"__metadata__\":{",
        b"18446744073709551615",
    ],
};

fn safetensors(data: &[u8]) {
    let folder = folder::with("safetensors", &[("model.safetensors", data)]);
    let Ok(set) = TensorSet::open(&folder, "model") else { return };
    let mut bytes = 0;
    for name in set.names() {
        let shape = &set.get(name).expect("a tensor that is listed").shape;
        bytes += set.byte_len(name).expect("a tensor that is listed");
        if set.check(name, shape).is_ok() {
            let values = set.read_f32(name).expect("a tensor that was checked");
            assert_eq!(values.len(), shape.iter().product::<usize>());
        }
    }
    assert!(bytes <= data.len() as u64, "tensors do not overlap");
}

/// `config.json`
pub const MODEL_CONFIG: Target = Target {
    name: "model_config",
    run: model_config,
    // The tensors of the largest supported number of layers.
    per_byte: 250,
    constant: 8 * MIB,
    words: &[
        b"\"rope_scaling\":{",
        b"\"rope_type\":\"llama3\"",
        b"\"rope_type\":\"yarn\"",
        b"\"rope_type\":\"longrope\"",
        b"\"short_factor\":[",
        b"\"head_dim\":",
        b"\"partial_rotary_factor\":",
        b"\"layer_types\":[\"sliding_attention\"",
        b"\"sliding_window\":",
        b"GPT2LMHeadModel",
        b"GPTNeoXForCausalLM",
        b"Gemma2ForCausalLM",
        b"Phi3ForCausalLM",
        b"Qwen2ForCausalLM",
        b"\"factor\":0",
        b"null",
        b"1e999",
    ],
};

fn model_config(data: &[u8]) {
    let folder = folder::with("config", &[("config.json", data)]);
    let Ok(decoder) = Decoder::read(&folder.join("config.json")) else { return };
    assert_eq!(decoder.heads.query % decoder.heads.kv, 0);
    assert_eq!(decoder.windows.len(), decoder.layers);
    if let PositionEncoding::Rotary { theta, dims, .. } = decoder.positions {
        assert!(theta.is_finite() && theta > 0.0);
        assert!(dims > 0 && dims.next_multiple_of(2) <= decoder.heads.dim);
    }
    for param in &decoder.params {
        let (TensorRole::Weight(pieces) | TensorRole::Bias(pieces)) = &param.role else { continue };
        let rows: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
        assert_eq!(Some(&rows), param.shape.first(), "the pieces cover the weight");
    }
}

/// `adapter_config.json`, next to the factors of one layer.
pub const ADAPTER_CONFIG: Target = Target {
    name: "adapter_config",
    run: adapter_config,
    // Patterns are compiled, each within 1 MiB, and cached while they match.
    per_byte: 500,
    constant: 4 * MIB,
    words: &[
        b"\"target_modules\":\"",
        b"all-linear",
        b"\"rank_pattern\":{",
        b".*",
        b"(a{9}){9}",
        b"\\\\p{L}",
        b"[^a]",
        b"|",
        b"\"use_dora\":true",
    ],
};

fn adapter_config(data: &[u8]) {
    let folder =
        folder::with("adapter", &[("adapter_config.json", data), ("adapter_model.safetensors", factors())]);
    let Ok(adapter) = Adapter::open(&folder) else { return };
    for module in adapter.modules().values() {
        assert_eq!(module.rank, 2, "the rank is that of the factors");
        assert!(!module.scaling.is_nan());
    }
}

/// Factors of rank 2 of one layer.
fn factors() -> &'static [u8] {
    static FACTORS: OnceLock<Vec<u8>> = OnceLock::new();
    FACTORS.get_or_init(|| {
        let name = "base_model.model.model.layers.0.self_attn.q_proj";
        let header = format!(
            "{{\"{name}.lora_A.weight\":{{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]}},\
             \"{name}.lora_B.weight\":{{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[32,64]}}}}"
        );
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat()
    })
}

/// `trainer_state.json`
pub const TRAINER_STATE: Target = Target {
    name: "trainer_state",
    run: trainer_state,
    per_byte: 250,
    constant: 32 * KIB,
    words: &[
        b"\"log_history\":[",
        b"\"step\":1",
        b"\"learning_rate\":",
        b"\"epoch\":",
        b"1e308",
        b"0.0",
        b"5e-324",
    ],
};

fn trainer_state(data: &[u8]) {
    let folder = folder::with("trainer", &[("trainer_state.json", data)]);
    let Ok(Some(state)) = TrainerState::read(&folder) else { return };
    let Some((first, last)) = state.epoch_steps() else { return };
    assert!(1 <= first && first <= last && last == state.global_step);
    if last - first < 10_000 {
        for peak in [None, Some(2e-5)] {
            let mean = state.mean_learning_rate(peak).map_or(0.0, |rate| rate.mean);
            assert!(mean >= 0.0, "a mean of rates that are not negative: {mean}");
        }
    }
}
