//! GPT-NeoX and Pythia: layer norms, parallel attention and MLP, partial rotary positions.
//!
//! Rows of q, k and v are interleaved by head.

use super::blocks::{self, TensorList};
use super::decoder::{Decoder, LinearKind, Mlp, NormId, NormPlace, Residual, RowRuns};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "GPTNeoXForCausalLM",
    model_type: "gpt_neox",
    settings: &[
        "attention_bias",
        "partial_rotary_factor",
        "rotary_emb_base",
        "rotary_pct",
        "use_parallel_residual",
    ],
    read,
};

const ROPE: RopeSettings =
    RopeSettings { theta_key: "rotary_emb_base", share: Some(("rotary_pct", 0.25)), ..RopeSettings::WHOLE };

/// The name that transformers (from 5.14 on) gives a module, whose weights files have under `module`.
pub fn transformers_name(module: &str) -> &str {
    match module {
        "embed_out" => "lm_head",
        _ => module,
    }
}

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes =
        ModelSizes::read(config, SizeDefaults { kv_heads: None, head_dim: None, max_positions: 2048 })?;
    let heads = sizes.heads;
    if heads.query != heads.kv || heads.query * heads.dim != sizes.hidden {
        return Err(config.error(format!(
            "GPT-NeoX has as many key heads as query heads and hidden_size {} in all of them, not {} and {} heads of width {}",
            sizes.hidden, heads.query, heads.kv, heads.dim
        )));
    }
    let positions = rope::read(config, &ROPE, heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Layer, "layer_norm_eps", 1e-5)?;
    let residual = match options::flag(config, "use_parallel_residual", true)? {
        true => Residual::Parallel,
        false => Residual::Sequential,
    };
    let mut decoder = Decoder {
        residual,
        mlp: Mlp::Plain(options::activation(config, "hidden_act", "gelu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let bias = options::flag(config, "attention_bias", true)?;
    let rows =
        |part| RowRuns { start: part * heads.dim, run: heads.dim, stride: 3 * heads.dim, count: heads.query };
    let qkv = [(LinearKind::Q, rows(0)), (LinearKind::K, rows(1)), (LinearKind::V, rows(2))];
    let mut tensors = TensorList::new(&decoder);
    tensors.embedding("gpt_neox.embed_in.weight", &["embed_out.weight", "lm_head.weight"]);
    for layer in 0..sizes.layers {
        let module = |name: &str| format!("gpt_neox.layers.{layer}.{name}");
        let norm = |place| NormId::Layer { layer, place };
        tensors.norm(module("input_layernorm"), norm(NormPlace::BeforeAttention));
        tensors.norm(module("post_attention_layernorm"), norm(NormPlace::BeforeMlp));
        tensors.fused(module("attention.query_key_value"), layer, &qkv, bias);
        tensors.linear(module("attention.dense"), layer, LinearKind::O, bias);
        tensors.linear(module("mlp.dense_h_to_4h"), layer, LinearKind::Up, true);
        tensors.linear(module("mlp.dense_4h_to_h"), layer, LinearKind::Down, true);
    }
    tensors.norm("gpt_neox.final_layer_norm".to_owned(), NormId::Final);
    tensors.head("embed_out.weight", &["lm_head.weight"]);
    decoder.params = tensors.finish();
    Ok(decoder)
}
