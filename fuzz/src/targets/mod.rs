//! Targets: one file for each parser, or for a few that read the same kind of file.

mod catalog;
mod checkpoint;
#[cfg(feature = "config")]
mod command;
pub mod graph;
mod index;
mod optimizer;
mod receipt;
#[cfg(feature = "server")]
mod request;
mod samples;
mod segment;
pub mod sketch;
mod tokenizer;
#[cfg(feature = "server")]
pub mod upload;

use crate::Target;

/// All targets.
pub const ALL: &[Target] = &[
    segment::SEGMENT,
    catalog::CATALOG,
    catalog::LEDGER,
    catalog::BITMAP,
    index::INDEX,
    sketch::SKETCH,
    graph::GRAPH,
    receipt::RECEIPT,
    optimizer::PICKLE,
    optimizer::TORCH,
    checkpoint::SAFETENSORS,
    checkpoint::MODEL_CONFIG,
    checkpoint::ADAPTER_CONFIG,
    checkpoint::TRAINER_STATE,
    tokenizer::TOKENIZER,
    tokenizer::TOKENIZER_CONFIG,
    tokenizer::CHAT_TEMPLATE,
    samples::SAMPLES,
    #[cfg(feature = "config")]
    command::CONFIG,
    #[cfg(feature = "server")]
    request::REQUEST,
    #[cfg(feature = "server")]
    upload::UPLOAD,
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
