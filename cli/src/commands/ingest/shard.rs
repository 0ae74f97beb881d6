//! One shard of an ingest, which goes into a folder of its own.

use std::process::ExitCode;

use anyhow::Result;
use gstore_core::many;
use gstore_ingest::pipeline::{IngestPlan, IngestRequest, ShardRequest, check_inputs, ingest_shard};
use serde_json::Value;

use super::report;
use crate::args::IngestArgs;
use crate::context::Context;
use crate::failure::{STOPPED, refuse};
use crate::question::tell_notes;
use crate::{stopped, texts};

pub(super) fn shard(args: &IngestArgs) -> Result<Option<ShardRequest>> {
    let (Some(shard), Some(out)) = (args.shard, &args.out) else { return Ok(None) };
    if args.sketch {
        refuse!(
            "--shard writes vectors outside the store, and sketches are built from those in it: gstore attach --sketch"
        );
    }
    if !args.data.is_empty() {
        refuse!(
            "--shard computes samples that are registered, and never writes the store; register the data first with\n  \
             gstore add --dataset NAME --data FILE\nand then start the shards without --data"
        );
    }
    if args.limit.is_some() {
        refuse!("--limit and --shard cannot be combined: the shards cover all rows");
    }
    Ok(Some(ShardRequest { shard, out: out.clone(), snapshot: args.snapshot.clone() }))
}

pub(super) fn run_shard(
    context: &Context,
    args: &IngestArgs,
    request: IngestRequest,
    shard: &ShardRequest,
) -> Result<(ExitCode, Value)> {
    check_inputs(&request)?;
    let store = context.open()?;
    let mut reporter = context.reporter();
    let (plan, part) = IngestPlan::for_shard(&store, request, shard, &mut reporter)?;
    texts::tell_cut(context, &args.text.text, (&plan.request.model, &plan.request.text))?;
    tell_notes(context, &plan.other_texts());
    let cancel =
        context.cancel_on_interrupt("stopping after the current batch; press Ctrl-C again to stop at once");
    let (name, out, rows) = (part.shard(), shard.out.display(), part.rows().len());
    let snapshot = part.snapshot().number();
    let with_rows = part.shards_with_rows();
    if with_rows < name.count() {
        context.say(&format!(
            "{} has work for {with_rows} shards; from {}/{} on they are empty",
            plan.request.dataset,
            with_rows + 1,
            name.count()
        ));
    }
    let done = ingest_shard(&store, &plan, part, &mut reporter, &cancel)?;
    if done.receipt.is_none() {
        context.say(&stopped::stopped_summary(&done.work, plan.checkpoints.len(), false));
        return Ok((ExitCode::from(STOPPED), report(&plan, &done.work)));
    }
    if done.already {
        context.say(&format!("shard {name} in {out} is finished; nothing to do"));
    } else {
        context.say(&format!(
            "shard {name} is finished: {} of {} in snapshot {snapshot}\nwhen all {} are: gstore attach{} {out} ...",
            many(rows, "row"),
            plan.request.dataset,
            name.count(),
            context.at_store()
        ));
    }
    Ok((ExitCode::SUCCESS, report(&plan, &done.work)))
}
