//! What the benchmarks share: ingest of a folder of models and data, stores of vectors of their own making, and readings of the machine.
#![forbid(unsafe_code)]

pub mod evidence;
pub mod machine;
pub mod pool;
pub mod probe;
pub mod workload;
