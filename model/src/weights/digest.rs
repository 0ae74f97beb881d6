//! Identity of a checkpoint: a digest of the weights that the model computes with.
//!
//! BLAKE3 over, in this order:
//! 1. the bytes `gstore.checkpoint.v1` and a zero byte
//! 2. the base: the number of tensors, then for each one, sorted by the bytes of its canonical name: name,
//!    element type, number of sizes, sizes, number of bytes, bytes
//! 3. the adapter: the same; no tensors without an adapter
//! 4. the number of adapted modules, then for each one, sorted by the bytes of its canonical name: name,
//!    scaling as the bits of an f64
//! 5. the settings that decide the forward pass of a Llama in addition to the weights: the number of query
//!    heads, of key and value heads, the width of a head, the norm's epsilon as the bits of an f32, the
//!    rotary base as the bits of an f64, then the name of the rotary scaling, the number of its constants and
//!    these as the bits of an f64, in the order in which [`RopeScaling`] declares them, lists value by value,
//!    a flag as 0 or 1. Learned positions have the base 0 and the name `learned`
//! 6. nothing for a Llama whose MLP is gated by SiLU. For every other decoder: the architecture's name; the
//!    factor of the embedding; the kind of norm and the offset of its weights; how the halves are joined; the
//!    number of norms of a layer and their names in order; how queries and keys are normed; the factor of
//!    attention's scores, their cap; the number of layers and their windows; form and activation of the MLP;
//!    the cap of the logits; the number of turning coordinates; 1 for a tied head, else 0; the name
//!    `scale_by_layer` where scores are divided by the number of their layer, else nothing. Factors, offsets
//!    and caps are the bits of an f32. A cap or a window that is not there is 0, the number of turning
//!    coordinates of learned positions as well
//!
//! Every number is a little-endian u64, every text its length in bytes and its bytes, so no two inputs run
//! together. Sizes and bytes are those of the file, the element type as well, in safetensors spelling (`F32`,
//! `F16`, `BF16`). Only tensors that the model uses enter: a stored rotary table or the copy of a tied head
//! changes nothing. How tensors are cut into shards does not matter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use blake3::Hasher;
use gstore_core::CheckpointId;
use safetensors::Dtype;

use super::adapter::Adapter;
use super::finite::not_finite_in;
use super::folder::ModelFolder;
use super::gstore_state::{GstoreState, check_written};
use super::trained_on::{base_from_config, model_description};
use crate::architectures::{
    Decoder, Mlp, NormPlace, Param, PositionEncoding, QkNorm, Residual, RopeScaling, TensorRole,
};
use crate::backend::{Activation, NormKind};
use crate::files::ModelError;
use crate::files::TensorSet;
use crate::files::names;

/// Computes the identity of a checkpoint; reads all weights once.
///
/// # Errors
/// As of [`BaseDigests::checkpoint`].
pub fn checkpoint_id(base: &ModelFolder, adapter: Option<&Adapter>) -> Result<CheckpointId, ModelError> {
    BaseDigests::default().checkpoint(base, adapter)
}

/// Bases whose weights were read, by their folders, for the identities of many checkpoints.
#[derive(Default)]
pub struct BaseDigests(BTreeMap<PathBuf, BaseDigest>);

impl BaseDigests {
    /// An error if a weight of a base is no number, and every text reads it; reads the weights of a base
    /// once.
    ///
    /// # Errors
    /// As of [`BaseDigest::check_finite`]; weights that cannot be read, or are not those that their training
    /// wrote.
    pub fn check_finite(&mut self, base: &ModelFolder) -> Result<(), ModelError> {
        self.digest(base)?.check_finite()
    }

    /// The identity of a checkpoint; reads the weights of a base once.
    ///
    /// # Errors
    /// Weights that cannot be read, or are not those that their training wrote; an adapter that says that it
    /// was trained on another model.
    pub fn checkpoint(
        &mut self,
        base: &ModelFolder,
        adapter: Option<&Adapter>,
    ) -> Result<CheckpointId, ModelError> {
        if let Some(adapter) = adapter {
            check_written(adapter.path())?;
        }
        let digest = self.digest(base)?;
        if let Some(adapter) = adapter {
            digest.check_trained_on(adapter.path())?;
        }
        digest.checkpoint(adapter)
    }

    fn digest(&mut self, base: &ModelFolder) -> Result<&BaseDigest, ModelError> {
        let digest: &BaseDigest = match self.0.entry(base.path().to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                check_written(base.path())?;
                unknown.insert(BaseDigest::new(base)?)
            }
        };
        Ok(digest)
    }
}

/// A base whose weights were read, for the identities of many adapters on it.
#[derive(Clone)]
pub struct BaseDigest {
    folder: PathBuf,
    hasher: Hasher,
    decoder: Decoder,
    /// The first weight that is no number: its tensor and its value.
    unsound: Option<(String, f32)>,
}

impl BaseDigest {
    /// Reads all weights of the base once.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn new(base: &ModelFolder) -> Result<BaseDigest, ModelError> {
        let mut hasher = Hasher::new();
        hasher.update(b"gstore.checkpoint.v1\0");
        let (decoder, mut unsound) = (base.decoder().clone(), None);
        // Of these a text reads the rows of its own tokens and places, unless the head has them all.
        let by_row = |param: &&Param| match param.role {
            TensorRole::Embedding => !decoder.tied,
            TensorRole::Positions => true,
            _ => false,
        };
        let by_row: Vec<&str> =
            decoder.params.iter().filter(by_row).map(|param| param.name.as_str()).collect();
        add_tensors(&mut hasher, base.tensors(), &base.file_names(), &mut |name, dtype, bytes| {
            if unsound.is_none() && !by_row.contains(&name) {
                unsound = not_finite_in(dtype, bytes).map(|value| (name.to_owned(), value));
            }
        })?;
        Ok(BaseDigest { folder: base.path().to_owned(), hasher, decoder, unsound })
    }

    /// An error if a weight is no number, and every text reads it: rows of tables of tokens and positions may
    /// be of none.
    ///
    /// # Errors
    /// Names the tensor and the value.
    pub fn check_finite(&self) -> Result<(), ModelError> {
        let Some((tensor, value)) = self.unsound.clone() else { return Ok(()) };
        Err(ModelError::NotFinite { folder: self.folder.clone(), tensor, value })
    }

    /// An error if a checkpoint's folder says that it was trained on another model: its sizes may fit all the
    /// same. One of another program does not say it.
    ///
    /// # Errors
    /// Another model; a folder that cannot be read.
    pub fn check_trained_on(&self, checkpoint: &Path) -> Result<(), ModelError> {
        let state = GstoreState::read(checkpoint)?;
        let Some(trained) = state.and_then(|state| state.base()) else { return Ok(()) };
        let found = self.checkpoint(None)?;
        if trained == found {
            return Ok(());
        }
        let trained = model_description(base_from_config(checkpoint)?, &trained);
        let (checkpoint, base) = (checkpoint.to_owned(), self.folder.clone());
        Err(ModelError::OtherBase { checkpoint, trained, base, found: found.short().to_owned() })
    }

    /// The identity of the base with an adapter, or of the base itself.
    ///
    /// # Errors
    /// Factors that cannot be read.
    pub fn checkpoint(&self, adapter: Option<&Adapter>) -> Result<CheckpointId, ModelError> {
        let mut hasher = self.hasher.clone();
        match adapter {
            None => {
                add_number(&mut hasher, 0);
                add_number(&mut hasher, 0);
            }
            Some(adapter) => {
                let canonical: Vec<(String, &str)> =
                    adapter.tensors().names().map(|name| (names::canonical(name), name)).collect();
                let by_canonical = canonical.iter().map(|(name, file)| (name.as_str(), *file)).collect();
                add_tensors(&mut hasher, adapter.tensors(), &by_canonical, &mut |_, _, _| {})?;
                add_number(&mut hasher, adapter.modules().len() as u64);
                for (module, lora) in adapter.modules() {
                    add_text(&mut hasher, module);
                    add_number(&mut hasher, lora.scaling.to_bits());
                }
            }
        }
        add_forward(&mut hasher, &self.decoder);
        Ok(CheckpointId::of_hash(hasher.finalize().as_bytes()))
    }
}

/// The same weights under another rotary base or epsilon are another function, so its
/// vectors lie in another space.
fn add_forward(hasher: &mut Hasher, decoder: &Decoder) {
    for size in [decoder.heads.query, decoder.heads.kv, decoder.heads.dim] {
        add_number(hasher, size as u64);
    }
    add_bits(hasher, decoder.norm.eps);
    let (theta, name, constants) = match &decoder.positions {
        PositionEncoding::Learned => (0.0, "learned", Vec::new()),
        PositionEncoding::Rotary { theta, scaling, .. } => match scaling {
            RopeScaling::Default => (*theta, "default", Vec::new()),
            RopeScaling::Linear { factor } => (*theta, "linear", vec![*factor]),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                (*theta, "llama3", vec![*factor, *low_freq_factor, *high_freq_factor, *original])
            }
            RopeScaling::Dynamic { factor, original } => (*theta, "dynamic", vec![*factor, *original]),
            RopeScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, original, truncate } => {
                let truncate = f64::from(u8::from(*truncate));
                let constants = [*factor, *attention_factor, *beta_fast, *beta_slow, *original, truncate];
                (*theta, "yarn", constants.to_vec())
            }
            RopeScaling::LongRope { attention_factor, original, short, long } => {
                let constants =
                    [&[*attention_factor, *original][..], short.as_slice(), long.as_slice()].concat();
                (*theta, "longrope", constants)
            }
        },
    };
    add_number(hasher, theta.to_bits());
    add_text(hasher, name);
    add_number(hasher, constants.len() as u64);
    for constant in constants {
        add_number(hasher, constant.to_bits());
    }
    // Identities of Llamas were given before there were other decoders.
    if !is_plain_llama(decoder) {
        add_form(hasher, decoder);
    }
}

fn is_plain_llama(decoder: &Decoder) -> bool {
    let dim = decoder.heads.dim;
    decoder.architecture == "LlamaForCausalLM"
        && decoder.embedding_scale == 1.0
        && decoder.norm.kind == NormKind::Rms
        && decoder.norm_offset == 0.0
        && decoder.residual == Residual::Sequential
        && decoder.norms == [NormPlace::BeforeAttention, NormPlace::BeforeMlp]
        && decoder.head_norm == QkNorm::None
        && decoder.attention_scale == (dim as f32).sqrt().recip()
        && !decoder.scale_by_layer
        && decoder.attention_softcap.is_none()
        && decoder.windows.iter().all(Option::is_none)
        && decoder.mlp == Mlp::Gated(Activation::Silu)
        && decoder.logit_softcap.is_none()
        && matches!(decoder.positions, PositionEncoding::Rotary { dims, .. } if dims == dim)
}

/// What a Llama leaves no choice in. The pattern is complete, so a new field cannot be forgotten here.
fn add_form(hasher: &mut Hasher, decoder: &Decoder) {
    let Decoder {
        architecture,
        // In the shapes of the tensors.
        vocab_size: _,
        hidden_size: _,
        intermediate_size: _,
        params: _,
        // Limits, and what is trained, are no part of the function. The row is part of the spaces whose
        // gradients depend on it.
        max_positions: _,
        padding_row: _,
        // Above.
        heads: _,
        layers,
        positions,
        embedding_scale,
        norm,
        norm_offset,
        residual,
        norms,
        head_norm,
        attention_scale,
        scale_by_layer,
        attention_softcap,
        windows,
        mlp,
        logit_softcap,
        tied,
    } = decoder;
    add_text(hasher, architecture);
    add_bits(hasher, *embedding_scale);
    let kind = match norm.kind {
        NormKind::Rms => "rms",
        NormKind::Layer => "layer",
    };
    add_text(hasher, kind);
    add_bits(hasher, *norm_offset);
    let joined = match residual {
        Residual::Sequential => "sequential",
        Residual::Parallel => "parallel",
    };
    add_text(hasher, joined);
    add_number(hasher, norms.len() as u64);
    norms.iter().for_each(|place| add_text(hasher, norm_name(*place)));
    let normed = match head_norm {
        QkNorm::None => "none",
        QkNorm::Each => "each",
        QkNorm::Whole => "whole",
    };
    add_text(hasher, normed);
    add_bits(hasher, *attention_scale);
    add_bits(hasher, attention_softcap.unwrap_or(0.0));
    add_number(hasher, *layers as u64);
    windows.iter().for_each(|window| add_number(hasher, window.unwrap_or(0) as u64));
    let (form, activation) = match mlp {
        Mlp::Gated(activation) => ("gated", activation),
        Mlp::Plain(activation) => ("plain", activation),
    };
    let activation = match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_tanh",
        Activation::Relu => "relu",
    };
    add_text(hasher, form);
    add_text(hasher, activation);
    add_bits(hasher, logit_softcap.unwrap_or(0.0));
    let turning = match positions {
        PositionEncoding::Rotary { dims, .. } => *dims,
        PositionEncoding::Learned => 0,
    };
    add_number(hasher, turning as u64);
    add_number(hasher, u64::from(*tied));
    // Identities were given before it was understood.
    if *scale_by_layer {
        add_text(hasher, "scale_by_layer");
    }
}

fn norm_name(place: NormPlace) -> &'static str {
    match place {
        NormPlace::BeforeAttention => "before_attention",
        NormPlace::Query => "query",
        NormPlace::Key => "key",
        NormPlace::AfterAttention => "after_attention",
        NormPlace::BeforeMlp => "before_mlp",
        NormPlace::AfterMlp => "after_mlp",
    }
}

/// `names`: canonical name to name in the file. `look` is shown each piece of a tensor: its canonical name,
/// its element type and the bytes.
fn add_tensors(
    hasher: &mut Hasher,
    tensors: &TensorSet,
    names: &BTreeMap<&str, &str>,
    look: &mut dyn FnMut(&str, Dtype, &[u8]),
) -> Result<(), ModelError> {
    add_number(hasher, names.len() as u64);
    for (canonical, name) in names {
        let entry = tensors.require(name)?;
        add_text(hasher, canonical);
        add_text(hasher, &format!("{:?}", entry.dtype));
        add_number(hasher, entry.shape.len() as u64);
        for size in &entry.shape {
            add_number(hasher, *size as u64);
        }
        add_number(hasher, tensors.byte_len(name)?);
        let dtype = entry.dtype;
        tensors.stream(name, &mut |bytes| {
            hasher.update(bytes);
            look(canonical, dtype, bytes);
        })?;
    }
    Ok(())
}

fn add_bits(hasher: &mut Hasher, value: f32) {
    add_number(hasher, u64::from(value.to_bits()));
}

fn add_number(hasher: &mut Hasher, value: u64) {
    hasher.update(&value.to_le_bytes());
}

fn add_text(hasher: &mut Hasher, text: &str) {
    add_number(hasher, text.len() as u64);
    hasher.update(text.as_bytes());
}
