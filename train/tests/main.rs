//! The tests of this crate's public interface in one program: linked once, run by name.

mod common;
mod continued;
mod daunce;
mod golden_daunce_retraining;
mod golden_train;
mod gradients;
mod jobs;
mod optimizer_settings;
mod options;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
mod unsound;
mod workers;
