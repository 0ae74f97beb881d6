//! Shared code of the benchmarks: ingest of the reference data, synthetic stores, probes of the machine.
#![forbid(unsafe_code)]

pub mod evidence;
pub mod machine;
#[path = "../../query/tests/common/pair_scores.rs"]
pub mod pair_scores;
pub mod pool;
pub mod probe;
pub mod workload;
