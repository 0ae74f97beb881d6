//! Gemma 2: norms around each half, zero-centred norm weights, soft caps, alternating sliding windows.

use super::blocks::{self, ATTENTION};
use super::decoder::{Decoder, Mlp, NormPlace};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use super::windows;
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "Gemma2ForCausalLM",
    model_type: "gemma2",
    settings: &[
        "attention_bias",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "query_pre_attn_scalar",
        "sliding_window",
    ],
    read,
};

const NORMS: [(&str, NormPlace); 4] = [
    ("input_layernorm", NormPlace::BeforeAttention),
    ("post_attention_layernorm", NormPlace::AfterAttention),
    ("pre_feedforward_layernorm", NormPlace::BeforeMlp),
    ("post_feedforward_layernorm", NormPlace::AfterMlp),
];

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: Some(4), head_dim: Some(256), max_positions: 8192 };
    let sizes = ModelSizes::read(config, defaults)?;
    let positions = rope::read(config, &RopeSettings::WHOLE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-6)?;
    let window = options::size_or_null(config, "sliding_window", Some(4096))?;
    let scalar = options::positive(config, "query_pre_attn_scalar")?.unwrap_or(256.0);
    let cap =
        |key, default| options::positive_or_null(config, key, Some(default)).map(|c| c.map(|c| c as f32));
    let decoder = Decoder {
        padding_row: options::padding_row(config, sizes.vocab, Some(0))?,
        embedding_scale: (sizes.hidden as f64).sqrt() as f32,
        norm_offset: 1.0,
        attention_scale: blocks::inverse_root(scalar as f32),
        attention_softcap: cap("attn_logit_softcapping", 50.0)?,
        logit_softcap: cap("final_logit_softcapping", 30.0)?,
        windows: windows::read(config, sizes.layers, window, |layer| layer % 2 == 0)?,
        mlp: Mlp::Gated(options::activation(config, "hidden_activation", "gelu_pytorch_tanh")?),
        tied: options::flag(config, "tie_word_embeddings", true)?,
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    Ok(blocks::finish_unfused(decoder, &NORMS, biased))
}
