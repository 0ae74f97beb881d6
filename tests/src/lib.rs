//! Shared helpers of cross-crate tests: the folder of reference results, the real binary, small stores.
#![forbid(unsafe_code)]

pub mod binary;
pub mod disk;
pub mod golden;
pub mod made;
pub mod place;
pub mod reference;
pub mod shared;
pub mod world;
