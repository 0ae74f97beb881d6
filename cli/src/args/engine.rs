//! Model flags of `gstore factors` and `gstore score`: the checkpoint, its modules, speed and memory.

use clap::Args;
use gstore_model::ComputePrecision;

use super::gradients::precision;
use super::size::size;
use super::{DevicesArgs, at_least};

/// The model that is passed through, and how.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Modules, as globs over their names ('*.mlp.*', lm_head) [default: the linear layers of the blocks, or
    /// the modules of the factors]
    #[arg(long, value_name = "GLOB", value_delimiter = ',', num_args = 1..)]
    pub modules: Vec<String>,
    /// Tokens in one batch of whole rows; the last bits of sums depend on it [default: 512; for scores with
    /// many queries on the CPU up to 8192]
    #[arg(long, value_name = "N", value_parser = at_least::<u32>(1))]
    pub batch_tokens: Option<u32>,
    #[command(flatten)]
    pub devices: DevicesArgs,
    /// Precision of the factors of matrix products [default: that of the factors; without factors f32, with
    /// --backend cuda bf16]
    #[arg(long, value_parser = precision())]
    pub compute: Option<ComputePrecision>,
    /// Bytes of memory to stay below, e.g. 8GB: layers are then computed twice rather than kept [default:
    /// what is available]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<u64>,
}
