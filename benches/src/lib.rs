//! What the benchmarks share: ingest of a folder of models and data, and readings of the machine.
#![forbid(unsafe_code)]

pub mod machine;
pub mod probe;
pub mod workload;
