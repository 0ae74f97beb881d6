//! `gstore generate --perplexity`: scores given texts, as a table and as features of the store.

use std::process::ExitCode;

use anyhow::Result;
use gstore::{PerplexityRequest, PerplexityRows, perplexity_table};
use gstore_core::{Cancel, Kind};
use gstore_generate::{Perplexity, check_texts};
use gstore_ingest::pipeline::{IngestPlan, IngestRequest, RunEnding, ingest};
use gstore_model::Reduction;
use gstore_store::Granularity;
use serde_json::json;

use crate::args::{AnswerArgs, Format, GenerateArgs, OutputArgs};
use crate::context::Context;
use crate::ending::format_of;
use crate::failure::{STOPPED, refuse};
use crate::output::Output;
use crate::question::tell_notes;
use crate::streams::print_json;
use crate::texts;

/// The format of the table.
pub fn format(args: &GenerateArgs) -> Result<Format> {
    let AnswerArgs { format, output, force, .. } = args.answers.clone();
    format_of(&OutputArgs { format, output, force })
}

/// Scores the texts and says how likely all of them are. `stored` is the ingest that makes features of them.
pub fn run(
    context: &Context,
    args: &GenerateArgs,
    request: PerplexityRequest,
    stored: IngestRequest,
    cancel: &Cancel,
) -> Result<ExitCode> {
    if !args.prompts.prompt.is_empty() {
        refuse!("--perplexity scores complete texts: give --text instead of --prompt");
    }
    if args.as_features {
        // Of texts that are refused no feature is published.
        check_texts(&request, cancel)?;
        let stored = IngestRequest {
            kinds: vec![Kind::Loss],
            device: request.compute.device,
            beside: request.compute.beside.clone(),
            compute: request.compute.precision,
            threads: request.compute.threads,
            command: context.command.clone(),
            ..stored
        };
        if !store(context, stored, args.per_token, cancel)? {
            context.say("stopped; sealed results are kept: run the same command again to continue");
            return Ok(ExitCode::from(STOPPED));
        }
    }
    texts::tell_cut(context, &args.text.text, (&request.weights.model, &request.weights.text))?;
    let (format, output) = (format(args)?, &args.answers);
    let rows = if args.per_token { PerplexityRows::Tokens } else { PerplexityRows::Texts };
    let mut file = Output::create(output.output.as_deref(), output.force)?;
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, cancel);
    let [scored, all] = perplexity_table(&request, rows, &mut file, format, work)?;
    file.finish()?;
    if args.json {
        let sums = |sum: Perplexity| {
            json!({
                "tokens": sum.tokens,
                "loss": sum.mean(),
                "perplexity": sum.perplexity(),
                "entropy": sum.mean_entropy(),
            })
        };
        print_json(&json!({ "scored": sums(scored), "all": sums(all) }))?;
    }
    if let Some(all) = all.perplexity() {
        context.say(&match scored.perplexity() {
            Some(scored) => format!("perplexity {scored:.4} of the scored tokens, {all:.4} of all"),
            None => format!("perplexity {all:.4} of all tokens; none of them is scored"),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the feature `loss` of the dataset, its rows' mean losses, and with `per_token` also the loss of each
/// scored token; false if it was told to stop.
fn store(context: &Context, request: IngestRequest, per_token: bool, cancel: &Cancel) -> Result<bool> {
    let mut forms = vec![(Granularity::Sample, Reduction::Mean)];
    if per_token {
        forms.push((Granularity::Token, Reduction::Sum));
    }
    let store = context.open()?;
    for (granularity, reduction) in forms {
        let request = IngestRequest { granularity, reduction, ..request.clone() };
        let mut reporter = context.reporter();
        let plan = IngestPlan::new(&store, request, &mut reporter)?;
        tell_notes(context, &plan.other_texts());
        if ingest(&store, &plan, &mut reporter, cancel)?.ending == RunEnding::Stopped {
            return Ok(false);
        }
        for feature in plan.features() {
            context.say(&format!("feature {} of the store", feature.attrs.label));
        }
    }
    Ok(true)
}
