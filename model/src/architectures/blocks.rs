//! Blocks that families share: the plain decoder they start from, and builders of its tensors.

use super::decoder::{
    Decoder, LinearId, LinearKind, Mlp, NormId, NormPlace, Param, PositionEncoding, QkNorm, Residual,
    RowRuns, TensorRole, WeightSlice,
};
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::{Activation, NormForm, NormKind};
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// A decoder in the form of Llama, with no tensors yet; families change what is different with them.
pub(super) fn plain(
    architecture: &'static str,
    sizes: &ModelSizes,
    positions: PositionEncoding,
    norm: NormForm,
) -> Decoder {
    Decoder {
        architecture,
        vocab_size: sizes.vocab,
        hidden_size: sizes.hidden,
        intermediate_size: sizes.inner,
        layers: sizes.layers,
        heads: sizes.heads,
        max_positions: sizes.max_positions,
        positions,
        padding_row: None,
        embedding_scale: 1.0,
        norm,
        norm_offset: 0.0,
        residual: Residual::Sequential,
        norms: vec![NormPlace::BeforeAttention, NormPlace::BeforeMlp],
        head_norm: QkNorm::None,
        attention_scale: inverse_root(sizes.heads.dim as f32),
        scale_by_layer: false,
        attention_softcap: None,
        windows: vec![None; sizes.layers],
        mlp: Mlp::Gated(Activation::Silu),
        logit_softcap: None,
        tied: false,
        params: Vec::new(),
    }
}

/// The same with what a configuration says of sizes, padding, rotary positions, RMS norms and gated MLPs;
/// `epsilon` is that of norms of which it says nothing. A family with a padding row by default sets its own.
pub(super) fn configured(
    config: JsonObject<'_>,
    architecture: &'static str,
    defaults: SizeDefaults,
    rope: &RopeSettings,
    epsilon: f64,
) -> Result<Decoder, ModelError> {
    let sizes = ModelSizes::read(config, defaults)?;
    let positions = rope::read(config, rope, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", epsilon)?;
    Ok(Decoder {
        padding_row: options::padding_row(config, sizes.vocab, None)?,
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        ..plain(architecture, &sizes, positions, norm)
    })
}

/// `1 / sqrt(x)`
pub(super) fn inverse_root(x: f32) -> f32 {
    x.sqrt().recip()
}

/// Collects tensors in `named_parameters()` order.
pub(super) struct TensorList<'a> {
    decoder: &'a Decoder,
    list: Vec<Param>,
}

impl<'a> TensorList<'a> {
    pub fn new(decoder: &'a Decoder) -> TensorList<'a> {
        TensorList { decoder, list: Vec::new() }
    }

    pub fn finish(self) -> Vec<Param> {
        self.list
    }

    /// Any tensor, with the names that some files have in its place.
    pub fn push(&mut self, name: String, aliases: &[&str], shape: Vec<usize>, role: TensorRole) {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        self.list.push(Param { name, aliases, shape, transposed: false, role });
    }

    /// The token embedding. Files of a tied model may have it under a name of the head only.
    pub fn embedding(&mut self, name: &str, head_names: &[&str]) {
        let shape = vec![self.decoder.vocab_size, self.decoder.hidden_size];
        let aliases = if self.decoder.tied { head_names } else { &[] };
        self.push(name.to_owned(), aliases, shape, TensorRole::Embedding);
    }

    /// The head, unless it is tied.
    pub fn head(&mut self, name: &str, aliases: &[&str]) {
        if !self.decoder.tied {
            let shape = self.decoder.linear_shape(LinearId::Head);
            let piece = WeightSlice { linear: LinearId::Head, rows: RowRuns::range(0, shape[0]) };
            self.push(name.to_owned(), aliases, shape.to_vec(), TensorRole::Weight(vec![piece]));
        }
    }

    /// A module that is one linear map of a layer.
    pub fn linear(&mut self, module: String, layer: usize, kind: LinearKind, bias: bool) {
        let [out, _] = self.decoder.linear_shape(LinearId::Layer { layer, kind });
        self.fused(module, layer, &[(kind, RowRuns::range(0, out))], bias);
    }

    /// A module that is several linear maps of the same inputs.
    pub fn fused(&mut self, module: String, layer: usize, maps: &[(LinearKind, RowRuns)], bias: bool) {
        let pieces: Vec<WeightSlice> = maps
            .iter()
            .map(|(kind, rows)| WeightSlice { linear: LinearId::Layer { layer, kind: *kind }, rows: *rows })
            .collect();
        let out = maps.iter().map(|(_, rows)| rows.len()).sum();
        let input = pieces.first().map_or(0, |piece| self.decoder.linear_shape(piece.linear)[1]);
        self.push(format!("{module}.weight"), &[], vec![out, input], TensorRole::Weight(pieces.clone()));
        if bias {
            self.push(format!("{module}.bias"), &[], vec![out], TensorRole::Bias(pieces));
        }
    }

    /// A norm; a layer norm has a bias.
    pub fn norm(&mut self, module: String, id: NormId) {
        let decoder = self.decoder;
        let heads = match id {
            NormId::Layer { place: NormPlace::Query, .. } => Some(decoder.heads.query),
            NormId::Layer { place: NormPlace::Key, .. } => Some(decoder.heads.kv),
            _ => None,
        };
        let width = match (heads, decoder.head_norm) {
            (None, _) => decoder.hidden_size,
            (Some(count), QkNorm::Whole) => count * decoder.heads.dim,
            (Some(_), _) => decoder.heads.dim,
        };
        self.push(format!("{module}.weight"), &[], vec![width], TensorRole::NormWeight(id));
        if decoder.norm.kind == NormKind::Layer {
            self.push(format!("{module}.bias"), &[], vec![width], TensorRole::NormBias(id));
        }
    }

    /// `self_attn` and `mlp` of a layer with one module for each map, those of `biased` with a bias, and the
    /// norms of queries and keys.
    fn unfused(&mut self, layer: usize, biased: &[LinearKind]) {
        let maps = [
            (LinearKind::Q, "self_attn.q_proj"),
            (LinearKind::K, "self_attn.k_proj"),
            (LinearKind::V, "self_attn.v_proj"),
            (LinearKind::O, "self_attn.o_proj"),
            (LinearKind::Gate, "mlp.gate_proj"),
            (LinearKind::Up, "mlp.up_proj"),
            (LinearKind::Down, "mlp.down_proj"),
        ];
        let module = |name: &str| format!("model.layers.{layer}.{name}");
        for (kind, name) in maps {
            self.linear(module(name), layer, kind, biased.contains(&kind));
            if kind == LinearKind::O && self.decoder.head_norm != QkNorm::None {
                self.norm(module("self_attn.q_norm"), NormId::Layer { layer, place: NormPlace::Query });
                self.norm(module("self_attn.k_norm"), NormId::Layer { layer, place: NormPlace::Key });
            }
        }
    }
}

pub(super) const ATTENTION: [LinearKind; 4] = [LinearKind::Q, LinearKind::K, LinearKind::V, LinearKind::O];

/// The norms of a Llama layer under their names.
pub(super) const PRE_NORMS: [(&str, NormPlace); 2] =
    [("input_layernorm", NormPlace::BeforeAttention), ("post_attention_layernorm", NormPlace::BeforeMlp)];

/// Fills in norms and tensors under the names that Llama introduced: in each layer what
/// `maps` adds, then the norms.
pub(super) fn finish(
    mut decoder: Decoder,
    norms: &[(&str, NormPlace)],
    maps: impl Fn(&mut TensorList<'_>, usize),
) -> Decoder {
    decoder.norms = norms.iter().map(|(_, place)| *place).collect();
    let mut tensors = TensorList::new(&decoder);
    tensors.embedding("model.embed_tokens.weight", &["lm_head.weight"]);
    for layer in 0..decoder.layers {
        maps(&mut tensors, layer);
        for (name, place) in norms {
            tensors.norm(format!("model.layers.{layer}.{name}"), NormId::Layer { layer, place: *place });
        }
    }
    tensors.norm("model.norm".to_owned(), NormId::Final);
    tensors.head("lm_head.weight", &[]);
    decoder.params = tensors.finish();
    decoder
}

/// The same with one module for each map, those of `biased` with a bias.
pub(super) fn finish_unfused(
    decoder: Decoder,
    norms: &[(&str, NormPlace)],
    biased: &[LinearKind],
) -> Decoder {
    finish(decoder, norms, |tensors, layer| tensors.unfused(layer, biased))
}
