//! Shared code of the benchmarks: ingest of a folder of models and data, synthetic stores, and
//! readings of the machine.
#![forbid(unsafe_code)]

pub mod evidence;
pub mod machine;
pub mod pool;
pub mod probe;
pub mod workload;
