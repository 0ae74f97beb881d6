//! Adam's moments of a checkpoint, laid out like a flat gradient.
//!
//! Two keyings exist. `optimizer.pt` of the Hugging Face Trainer numbers parameters in the order of its parameter groups, which for an
//! adapter is `named_parameters()` order; `optimizer.bin` as LESS writes it under FSDP is keyed by name. Shapes are checked either way.

use std::path::{Path, PathBuf};

use super::names;
use super::pickle::{TensorRef, Value};
use super::torch::{TorchArchive, TorchError};
use crate::params::{TensorSpec, total_len};

/// Why optimizer moments could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MomentsError {
    /// The folder has no optimizer state.
    #[error(
        "{0} has neither optimizer.pt nor optimizer.bin; the Adam feature needs the moments that the trainer saved"
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error(transparent)]
    Archive(#[from] TorchError),
    /// The file is readable but not an optimizer state.
    #[error("{path} is not an optimizer state: {message}")]
    NotAState {
        /// The file.
        path: PathBuf,
        /// What is missing.
        message: String,
    },
    /// The state belongs to other parameters.
    #[error("the moments in {path} do not fit the adapter: {message}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The first difference.
        message: String,
    },
    /// A moment that no optimizer can have produced.
    #[error("{path}: {moment} of {name} holds {value}")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// `exp_avg` or `exp_avg_sq`.
        moment: &'static str,
        /// The parameter.
        name: String,
        /// The first bad value.
        value: f32,
    },
}

/// First and second moments, concatenated in parameter order.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// First moment (`exp_avg`).
    pub exp_avg: Vec<f32>,
    /// Second moment (`exp_avg_sq`); never negative.
    pub exp_avg_sq: Vec<f32>,
    /// Optimiser steps taken, where the state says so and all parameters agree.
    pub step: Option<u64>,
}

impl Moments {
    /// The optimizer state of a checkpoint folder: `optimizer.pt`, else `optimizer.bin`.
    pub fn find(folder: &Path) -> Result<PathBuf, MomentsError> {
        ["optimizer.pt", "optimizer.bin"]
            .into_iter()
            .map(|name| folder.join(name))
            .find(|path| path.exists())
            .ok_or_else(|| MomentsError::Missing(folder.to_owned()))
    }

    /// Loads the moments of `params` from an optimizer state of either keying.
    pub fn load(path: &Path, params: &[TensorSpec]) -> Result<Moments, MomentsError> {
        let archive = TorchArchive::open(path)?;
        let states = find_states(&archive, params)?;
        let mut moments = Moments {
            exp_avg: Vec::with_capacity(total_len(params)),
            exp_avg_sq: Vec::with_capacity(total_len(params)),
            step: None,
        };
        let mut steps = Vec::with_capacity(params.len());
        for (spec, state) in params.iter().zip(states) {
            let first = read_moment(&archive, state, "exp_avg", spec)?;
            check_values(path, "exp_avg", spec, &first, |v| v.is_finite())?;
            let second = read_moment(&archive, state, "exp_avg_sq", spec)?;
            check_values(path, "exp_avg_sq", spec, &second, |v| v.is_finite() && v >= 0.0)?;
            moments.exp_avg.extend(first);
            moments.exp_avg_sq.extend(second);
            steps.push(read_step(&archive, state)?);
        }
        let first = steps.first().copied().flatten();
        moments.step = first.filter(|step| steps.iter().all(|s| *s == Some(*step)));
        Ok(moments)
    }

    /// Digest of the moments: BLAKE3 over `gstore.moments.v1`, the number of values, then `exp_avg`, then `exp_avg_sq`, as little-endian f32.
    ///
    /// The parameters' names and shapes are part of the space that the feature lies in, so they are not repeated here.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"gstore.moments.v1\0");
        hasher.update(&(self.exp_avg.len() as u64).to_le_bytes());
        for values in [&self.exp_avg, &self.exp_avg_sq] {
            for chunk in values.chunks(4096) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The state of each parameter, in parameter order.
fn find_states<'a>(archive: &'a TorchArchive, params: &[TensorSpec]) -> Result<Vec<&'a Value>, MomentsError> {
    let not_a_state = |message: &str| MomentsError::NotAState {
        path: archive.path().to_owned(),
        message: message.to_owned(),
    };
    let root = archive.root();
    let state = root.get("state").ok_or_else(|| not_a_state("it has no key \"state\""))?;
    let entries = state.entries().ok_or_else(|| not_a_state("\"state\" is not a dict"))?;
    match entries.first() {
        None => Err(not_a_state("\"state\" is empty: the optimizer took no step")),
        Some((Value::Str(_), _)) => by_name(archive, entries, params),
        Some((Value::Int(_), _)) => by_index(archive, root, entries, params),
        Some(_) => Err(not_a_state("the keys of \"state\" are neither numbers nor names")),
    }
}

fn by_name<'a>(
    archive: &TorchArchive,
    entries: &'a [(Value, Value)],
    params: &[TensorSpec],
) -> Result<Vec<&'a Value>, MomentsError> {
    let mismatch = |message| MomentsError::Mismatch { path: archive.path().to_owned(), message };
    let mut named = std::collections::BTreeMap::new();
    for (key, value) in entries {
        let name = names::canonical(key.as_str().unwrap_or_default());
        if named.insert(name.clone(), value).is_some() {
            return Err(mismatch(format!("it names {name} twice")));
        }
    }
    let mut states = Vec::with_capacity(params.len());
    for spec in params {
        states.push(
            named.remove(&spec.name).ok_or_else(|| mismatch(format!("it has none for {}", spec.name)))?,
        );
    }
    match named.keys().next() {
        Some(extra) => Err(mismatch(format!("it has some for {extra}, which the adapter lacks"))),
        None => Ok(states),
    }
}

fn by_index<'a>(
    archive: &TorchArchive,
    root: &Value,
    entries: &'a [(Value, Value)],
    params: &[TensorSpec],
) -> Result<Vec<&'a Value>, MomentsError> {
    let mismatch = |message| MomentsError::Mismatch { path: archive.path().to_owned(), message };
    let order = group_order(root).ok_or_else(|| MomentsError::NotAState {
        path: archive.path().to_owned(),
        message: "it has no param_groups that list the parameters".into(),
    })?;
    if order.len() != params.len() {
        return Err(mismatch(format!(
            "it numbers {} parameters, the adapter has {} tensors",
            order.len(),
            params.len()
        )));
    }
    let states: std::collections::BTreeMap<i64, &Value> =
        entries.iter().filter_map(|(k, v)| Some((k.as_int()?, v))).collect();
    params
        .iter()
        .zip(order)
        .map(|(spec, index)| {
            states
                .get(&index)
                .copied()
                .ok_or_else(|| mismatch(format!("it has none for number {index}, {}", spec.name)))
        })
        .collect()
}

/// The parameter numbers of all groups, in order.
fn group_order(root: &Value) -> Option<Vec<i64>> {
    let mut order = Vec::new();
    for group in root.get("param_groups")?.items()? {
        for index in group.get("params")?.items()? {
            order.push(index.as_int()?);
        }
    }
    Some(order)
}

fn read_moment(
    archive: &TorchArchive,
    state: &Value,
    moment: &'static str,
    spec: &TensorSpec,
) -> Result<Vec<f32>, MomentsError> {
    let mismatch = |message| MomentsError::Mismatch { path: archive.path().to_owned(), message };
    let tensor: &TensorRef = match state.get(moment) {
        Some(Value::Tensor(tensor)) => tensor,
        _ => {
            return Err(mismatch(format!(
                "{} has no {moment}; only Adam and AdamW states are understood",
                spec.name
            )));
        }
    };
    // Some trainers save moments flattened; the number of values then decides.
    let flat = tensor.shape.len() == 1 && tensor.shape == [spec.numel()];
    if tensor.shape != spec.shape && !flat {
        return Err(mismatch(format!(
            "{moment} of {} has shape {:?}, the adapter's tensor {:?}",
            spec.name, tensor.shape, spec.shape
        )));
    }
    Ok(archive.read_f32(tensor)?)
}

fn check_values(
    path: &Path,
    moment: &'static str,
    spec: &TensorSpec,
    values: &[f32],
    good: impl Fn(f32) -> bool,
) -> Result<(), MomentsError> {
    match values.iter().find(|v| !good(**v)) {
        Some(value) => Err(MomentsError::BadValue {
            path: path.to_owned(),
            moment,
            name: spec.name.clone(),
            value: *value,
        }),
        None => Ok(()),
    }
}

/// The number of steps: an integer or a tensor of one value, by version of torch.
fn read_step(archive: &TorchArchive, state: &Value) -> Result<Option<u64>, MomentsError> {
    let step = match state.get("step") {
        Some(Value::Tensor(tensor)) if tensor.shape.iter().all(|d| *d == 1) => {
            archive.read_f32(tensor)?.first().map(|v| f64::from(*v))
        }
        Some(value) => value.as_f64(),
        None => None,
    };
    Ok(step.filter(|s| *s >= 0.0 && s.fract() == 0.0 && *s < 1e15).map(|s| s as u64))
}
