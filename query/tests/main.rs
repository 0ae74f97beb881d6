//! The tests of this crate's public interface in one program: linked once, run by name.

mod acceptance;
mod accuracy;
mod ann;
mod cold;
mod common;
mod daunce;
mod daunce_store;
mod daunce_truth;
mod diversity;
mod each;
mod explanation;
mod given;
mod golden;
mod golden_precond;
mod inputs;
mod matrix;
mod named_features;
mod planning;
mod precondition;
mod reference;
mod scan;
mod shortlist;
mod signs;
mod sketch;
mod sketch_files;
mod skipping;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
mod tokens;
