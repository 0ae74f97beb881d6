//! Options of generation.

use anyhow::Result;
use gstore::SamplingOptions;

use crate::args::SamplingArgs;
use crate::failure::refuse;

/// How tokens are chosen.
pub fn sampling(args: &SamplingArgs) -> Result<SamplingOptions> {
    let draws = args.top_k.is_some() || args.top_p.is_some();
    let sampling = SamplingOptions {
        temperature: args.temperature.unwrap_or(if draws { 1.0 } else { 0.0 }),
        top_k: args.top_k,
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        no_repeat_ngram: args.no_repeat_ngram_size,
        seed: args.seed.unwrap_or(SamplingOptions::SEED),
    };
    sampling.check()?;
    if args.seed.is_some() && !sampling.draws() {
        refuse!(
            "--seed is that of draws, and without --temperature, --top-k or --top-p the most likely token is taken"
        );
    }
    Ok(sampling)
}
