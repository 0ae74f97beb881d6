//! Shared helpers of cross-crate tests: the folder of reference results, the real binary, small stores.
//!
//! A helper that fails panics, which fails its test.
#![forbid(unsafe_code)]

pub mod binary;
pub mod disk;
pub mod golden;
pub mod made;
#[path = "../../query/tests/common/pair_scores.rs"]
pub mod pair_scores;
pub mod place;
pub mod rates;
pub mod reference;
pub mod shared;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
pub mod world;
