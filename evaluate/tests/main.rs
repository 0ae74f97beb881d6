//! The tests of this crate's public interface in one program: linked once, run by name.

mod attribution;
mod attribution_truth;
mod common;
mod encodings;
mod golden_generate;
mod harness;
mod ladder;
mod likelihoods;
mod metrics;
mod own_tasks;
mod pairs;
mod report_names;
mod stored;
mod tasks;
mod truth_texts;
