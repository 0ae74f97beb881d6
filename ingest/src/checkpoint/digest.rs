//! What a checkpoint is known by: a digest of the weights that the model computes with.
//!
//! BLAKE3 over, in this order:
//! 1. the bytes `gstore.checkpoint.v1` and a zero byte
//! 2. the base: the number of tensors, then for each one, sorted by the bytes of its canonical name: name, element type, number of sizes,
//!    sizes, number of bytes, bytes
//! 3. the adapter: the same; no tensors without an adapter
//! 4. the number of adapted modules, then for each one, sorted by the bytes of its canonical name: name, scaling as the bits of an f64
//!
//! 5. what of the configuration decides the forward pass beside the weights: the number of query heads, of key and value heads, the width
//!    of a head, the norm's epsilon as the bits of an f32, the rotary base as the bits of an f64, then the name of the rotary scaling, the
//!    number of its constants and these as the bits of an f64, in the order in which [`RopeScaling`] declares them
//!
//! Every number is a little-endian u64, every text its length in bytes and its bytes, so no two inputs run together. The element type is
//! that of the file in safetensors spelling (`F32`, `F16`, `BF16`). Only tensors that the model uses enter: a stored rotary table or the
//! copy of a tied head changes nothing. How tensors are cut into shards does not matter.

use std::collections::BTreeMap;
use std::fmt;

use blake3::Hasher;

use super::adapter::Adapter;
use super::config::{LlamaConfig, RopeScaling};
use super::error::ModelError;
use super::folder::ModelFolder;
use super::names;
use super::tensors::TensorSet;

/// Identity of a checkpoint: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointId(String);

impl CheckpointId {
    /// Computes the identity; reads all weights once.
    pub fn compute(base: &ModelFolder, adapter: Option<&Adapter>) -> Result<CheckpointId, ModelError> {
        let mut hasher = Hasher::new();
        hasher.update(b"gstore.checkpoint.v1\0");
        let base_names = base.weight_names().into_iter().map(|name| (name.clone(), name)).collect();
        add_tensors(&mut hasher, base.tensors(), &base_names)?;
        match adapter {
            None => {
                add_number(&mut hasher, 0);
                add_number(&mut hasher, 0);
            }
            Some(adapter) => {
                let by_canonical =
                    adapter.tensors().names().map(|name| (names::canonical(name), name.to_owned())).collect();
                add_tensors(&mut hasher, adapter.tensors(), &by_canonical)?;
                let scalings: BTreeMap<String, f64> =
                    adapter.modules().iter().map(|(id, module)| (id.module(), module.scaling)).collect();
                add_number(&mut hasher, scalings.len() as u64);
                for (module, scaling) in scalings {
                    add_text(&mut hasher, &module);
                    add_number(&mut hasher, scaling.to_bits());
                }
            }
        }
        add_forward(&mut hasher, base.config());
        Ok(CheckpointId(hasher.finalize().to_hex().to_string()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same weights under another rotary base or epsilon are another function, so its vectors lie in another space.
fn add_forward(hasher: &mut Hasher, config: &LlamaConfig) {
    for size in [config.heads, config.kv_heads, config.head_dim] {
        add_number(hasher, size as u64);
    }
    add_number(hasher, u64::from(config.rms_norm_eps.to_bits()));
    add_number(hasher, config.rope_theta.to_bits());
    let (name, constants) = match &config.rope_scaling {
        RopeScaling::Default => ("default", Vec::new()),
        RopeScaling::Linear { factor } => ("linear", vec![*factor]),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            ("llama3", vec![*factor, *low_freq_factor, *high_freq_factor, *original])
        }
    };
    add_text(hasher, name);
    add_number(hasher, constants.len() as u64);
    for constant in constants {
        add_number(hasher, constant.to_bits());
    }
}

/// `names`: canonical name to name in the file.
fn add_tensors(
    hasher: &mut Hasher,
    tensors: &TensorSet,
    names: &BTreeMap<String, String>,
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
        tensors.stream(name, &mut |bytes| {
            hasher.update(bytes);
        })?;
    }
    Ok(())
}

fn add_number(hasher: &mut Hasher, value: u64) {
    hasher.update(&value.to_le_bytes());
}

fn add_text(hasher: &mut Hasher, text: &str) {
    add_number(hasher, text.len() as u64);
    hasher.update(text.as_bytes());
}
