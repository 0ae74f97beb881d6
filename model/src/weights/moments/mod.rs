//! Moments that an optimizer saved with a checkpoint.
//!
//! Two keyings exist. `optimizer.pt` of the Hugging Face Trainer numbers parameters in the order of its
//! parameter groups, see [`WeightDecay`]; groups may also name them. `optimizer.bin` as LESS writes it under
//! FSDP is keyed by name. Shapes are checked either way, before any value is read.
//!
//! Adam and AdamW keep both moments whole. Adafactor keeps the second moment of a matrix as its means over
//! rows and over columns; the product that it divides by is formed when it is asked for.

mod error;
mod file;
mod momentum;
mod optimizer;
mod state;
mod trained;

use std::path::{Path, PathBuf};

pub use error::MomentsError;
pub use file::{AdamConstants, MomentsFile, TensorMoments};
pub use momentum::MomentumFile;
pub use optimizer::{SavedOptimizer, is_maximizing};
pub use trained::{TrainedTensor, WeightDecay};

use super::folder::around_adapter;
use crate::params::{TensorSpec, total_len};

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
            .ok_or_else(|| MomentsError::Missing {
                folder: folder.to_owned(),
                above: None,
                instead: parts_in(folder),
            })
    }

    /// The optimizer state of an adapter: that of its folder, else that of the folder around it, if this may be
    /// of no other weights there.
    pub fn find_of_adapter(folder: &Path) -> Result<PathBuf, MomentsError> {
        let own = Moments::find(folder);
        if !matches!(own, Err(MomentsError::Missing { instead: None, .. })) {
            return own;
        }
        let Some((above, is_alone)) = around_adapter(folder) else { return own };
        let missing =
            |above, instead| Err(MomentsError::Missing { folder: folder.to_owned(), above, instead });
        match Moments::find(&above) {
            Ok(path) if is_alone => Ok(path),
            Ok(path) => {
                let other =
                    format!("{} may be of other weights in its folder, so it is not taken", path.display());
                missing(None, Some(other))
            }
            Err(MomentsError::Missing { instead, .. }) if is_alone => missing(Some(above), instead),
            Err(_) => own,
        }
    }

    /// Loads the moments of an adapter's factors from an optimizer state of either keying.
    pub fn load(path: &Path, params: &[TensorSpec]) -> Result<Moments, MomentsError> {
        let trained = params.iter().cloned().map(TrainedTensor::factor).collect();
        MomentsFile::open(path, trained, |_| true)?.load(true)
    }
}

impl MomentsFile {
    /// Reads everything, or all but the first moments; `exp_avg` is empty then.
    ///
    /// # Errors
    /// A tensor without a `first` moment, and what [`MomentsFile::read`] refuses.
    pub fn load(&self, first: bool) -> Result<Moments, MomentsError> {
        let mut moments = Moments { exp_avg: Vec::new(), exp_avg_sq: Vec::new(), step: self.step()? };
        for index in 0..self.specs().len() {
            if first {
                moments.exp_avg.extend(self.require_first(index)?);
            }
            moments.exp_avg_sq.extend(self.read_second(index)?);
        }
        Ok(moments)
    }

    /// Digest of the moments: BLAKE3 over `gstore.moments.v1`, the number of values, then all first moments,
    /// then all second ones, as little-endian f32; where first moments are missing, over
    /// `gstore.moments.second.v1`, the number of values, then the second moments.
    ///
    /// The parameters' names and shapes are part of the space that the feature lies in, so they
    /// are not repeated here. Memory: one tensor.
    pub fn digest(&self) -> Result<String, MomentsError> {
        let mut hasher = blake3::Hasher::new();
        let both = self.has_first();
        hasher.update(if both { b"gstore.moments.v1\0" } else { b"gstore.moments.second.v1\0" });
        hasher.update(&(total_len(self.specs()) as u64).to_le_bytes());
        let tensors = 0..self.specs().len();
        for index in tensors.clone().filter(|_| both) {
            add_values(&mut hasher, &self.require_first(index)?);
        }
        for index in tensors {
            add_values(&mut hasher, &self.read_second(index)?);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// What is to be said of an optimizer state in parts, which are not read, if a checkpoint has one.
fn parts_in(checkpoint: &Path) -> Option<String> {
    let entries = fs_err::read_dir(checkpoint).into_iter().flatten().flatten();
    let folders =
        entries.filter(|entry| entry.path().is_dir()).filter_map(|e| e.file_name().into_string().ok());
    let told = |name: String| {
        let (program, way_out) = if name.starts_with("global_step") {
            ("DeepSpeed", "train without it for a state in one file")
        } else if name.starts_with("optimizer_") {
            ("FSDP", "save the checkpoint with FULL_STATE_DICT, which writes optimizer.bin")
        } else {
            return None;
        };
        Some(format!("{name} has the state of {program} in parts, which are not read: {way_out}"))
    };
    folders.filter_map(told).min()
}

fn add_values(hasher: &mut blake3::Hasher, values: &[f32]) {
    for chunk in values.chunks(4096) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}
