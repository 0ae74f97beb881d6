//! GPT-2: learned positions, layer norms, biases, weights stored as `[input, out]` with q, k, v fused.

use super::blocks::{self, TensorList};
use super::decoder::{
    Decoder, LinearKind, Mlp, NormId, NormPlace, Param, PositionEncoding, RowRuns, TensorRole,
};
use super::family::Family;
use super::options::{self, ModelSizes};
use crate::backend::{Heads, NormKind};
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "GPT2LMHeadModel",
    model_type: "gpt2",
    // The first keeps scores of half-precision models in f32, as they are here.
    settings: &["reorder_and_upcast_attn", "scale_attn_by_inverse_layer_idx"],
    read,
};

/// What the published files leave out of the names.
const PREFIX: &str = "transformer.";

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes = read_sizes(config)?;
    let norm = options::norm(config, NormKind::Layer, "layer_norm_epsilon", 1e-5)?;
    let plain = blocks::plain(FAMILY.architecture, &sizes, PositionEncoding::Learned, norm);
    let mut decoder = Decoder {
        attention_scale: match options::flag(config, "scale_attn_weights", true)? {
            true => plain.attention_scale,
            false => 1.0,
        },
        scale_by_layer: config.bool("scale_attn_by_inverse_layer_idx")?,
        mlp: Mlp::Plain(options::activation(config, "activation_function", "gelu_new")?),
        tied: options::flag(config, "tie_word_embeddings", true)?,
        ..plain
    };
    let hidden = sizes.hidden;
    let qkv = [
        (LinearKind::Q, RowRuns::range(0, hidden)),
        (LinearKind::K, RowRuns::range(hidden, hidden)),
        (LinearKind::V, RowRuns::range(2 * hidden, hidden)),
    ];
    let mut tensors = TensorList::new(&decoder);
    tensors.embedding("transformer.wte.weight", &["lm_head.weight"]);
    let positions = vec![sizes.max_positions, hidden];
    tensors.push("transformer.wpe.weight".to_owned(), &[], positions, TensorRole::Positions);
    for layer in 0..sizes.layers {
        let module = |name: &str| format!("transformer.h.{layer}.{name}");
        let norm = |place| NormId::Layer { layer, place };
        tensors.norm(module("ln_1"), norm(NormPlace::BeforeAttention));
        tensors.fused(module("attn.c_attn"), layer, &qkv, true);
        tensors.linear(module("attn.c_proj"), layer, LinearKind::O, true);
        tensors.norm(module("ln_2"), norm(NormPlace::BeforeMlp));
        tensors.linear(module("mlp.c_fc"), layer, LinearKind::Up, true);
        tensors.linear(module("mlp.c_proj"), layer, LinearKind::Down, true);
    }
    tensors.norm("transformer.ln_f".to_owned(), NormId::Final);
    let mut params = tensors.finish();
    params.iter_mut().for_each(as_published);
    let mut head = TensorList::new(&decoder);
    head.head("lm_head.weight", &[]);
    params.extend(head.finish());
    decoder.params = params;
    Ok(decoder)
}

/// Every linear weight but the head's is stored transposed, and published files have no prefix.
fn as_published(param: &mut Param) {
    param.transposed = matches!(param.role, TensorRole::Weight(_));
    if let Some(short) = param.name.strip_prefix(PREFIX) {
        param.aliases.insert(0, short.to_owned());
    }
}

/// Sizes, and the names that transformers takes for them, too.
const ALIASES: [(&str, &str); 4] = [
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_layer", "num_hidden_layers"),
    ("n_positions", "max_position_embeddings"),
];

fn read_sizes(config: JsonObject<'_>) -> Result<ModelSizes, ModelError> {
    for (key, alias) in ALIASES {
        if let (Some(size), Some(other)) = (config.size(key)?, config.size(alias)?)
            && size != other
        {
            return Err(config.error(format!("{alias} {other} contradicts {key} {size}")));
        }
    }
    // The alias where the name is missing.
    let [embd, head, layer, positions] = ALIASES.map(|(key, alias)| match config.get(key) {
        None if config.get(alias).is_some() => alias,
        _ => key,
    });
    let hidden = config.required_size(embd)?;
    let query = config.required_size(head)?;
    let dim = options::head_width(config, (embd, hidden), (head, query))?;
    Ok(ModelSizes {
        vocab: config.required_size("vocab_size")?,
        hidden,
        inner: config.size("n_inner")?.unwrap_or(4 * hidden),
        layers: options::layers(config, layer)?,
        heads: Heads { query, kv: query, dim },
        max_positions: config.size(positions)?.unwrap_or(1024),
    })
}
