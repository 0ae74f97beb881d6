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
mod gstore_state;
mod lora_config;
mod moments;
mod schedule;
mod trained_on;
mod trainer;

pub use crate::files::{
    ModelError, PickleLimits, PickleValue, SavedValue, TensorEntry, TensorMap, TensorSet, TorchArchive,
    TorchError, canonical, parse_pickle, write_tensors, write_torch,
};
pub use adapter::{AdaptedWeight, Adapter, LoraModule};
pub use digest::{BaseDigest, BaseDigests, checkpoint_id};
pub use finite::{NOT_NUMBERS, check_finite, unsound_model};
pub use folder::{ModelFolder, checkpoints_in, has_config, numbered_checkpoints, unused_note};
pub use gstore_state::{DamagedFile, GstoreState, check_written};
pub use moments::{
    AdamConstants, Moments, MomentsError, MomentsFile, MomentumFile, SavedOptimizer, TensorMoments,
    TrainedTensor, WeightDecay, is_maximizing,
};
pub use trainer::{
    LogEntry, MOST_STEPS, MeanLearningRate, TrainerError, TrainerState, peak_rate, trainer_folder,
};
