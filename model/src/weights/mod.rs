//! Training outputs on disk: model folders, LoRA adapters, optimizer moments, trainer states.
//!
//! Invariants
//! - opening checks names, shapes and element types before any weight is read
//! - nothing that is not implemented is ignored silently: it is refused by name
//! - no byte of a file is executed, and no file can cause a panic

mod adapter;
mod digest;
mod finite;
mod folder;
mod lora_config;
mod moments;
mod own_state;
mod schedule;
mod trained_on;
mod trainer;

pub use crate::files::{
    ModelError, Object, PickleLimits, PickleValue, TensorEntry, TensorMap, TensorSet, TorchArchive,
    TorchError, canonical, parse_pickle, write_tensors, write_torch,
};
pub use adapter::{AdaptedWeight, Adapter, LoraModule};
pub use digest::{BaseDigest, BaseDigests, checkpoint_id};
pub use finite::{NOT_NUMBERS, check_finite, unsound_model};
pub use folder::{ModelFolder, checkpoints_in, has_config, named_as_checkpoints};
pub use moments::{Decay, Moments, MomentsError, MomentsFile, TensorMoments, Trained, read_momentum};
pub use own_state::{DamagedFile, OwnState, check_written};
pub use schedule::Schedule;
pub use trainer::{LogEntry, TrainerError, TrainerState, peak_rate};
