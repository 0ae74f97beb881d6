//! The request of an ingest, read from the flags.

use anyhow::Result;
use gstore::Folders;
use gstore::factors::EigenProjection;
use gstore_ingest::pipeline::IngestRequest;

use super::super::gradients;
use super::model_of_run;
use super::shard::shard;
use super::stored::check_folders;
use super::text::{with_fit, with_run, with_store};
use crate::args::IngestArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folders_of;
use crate::options::{kinds, of_kinds};
use crate::texts;

/// The plain values of the flags, as the pipeline wants them, and the eigenbasis that gradients are projected
/// to, if to one.
pub(super) fn request(
    context: &Context,
    args: &IngestArgs,
) -> Result<(IngestRequest, Option<EigenProjection>)> {
    let kinds = kinds(&args.features)?;
    let flags = of_kinds(&args.gradients, &kinds);
    let (device, beside) = gradients::devices(&args.devices)?;
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, kinds.iter().any(|kind| kind.needs_moments()));
    let (model, checkpoints) = match (&args.model, &args.run) {
        (Some(model), _) => folders_of(&mut folders, model, ("--checkpoints", &args.checkpoints))?,
        (None, Some(run)) => {
            let (model, checkpoints) = model_of_run(context, run, &args.checkpoints)?;
            check_folders(run, (&model, &checkpoints))?;
            (model, checkpoints)
        }
        (None, None) => refuse!("which model? give --model, or --run of a run of the store"),
    };
    let text = texts::options(&mut folders, &args.text.text)?;
    let text = with_run(context, text, (args.model.as_ref(), args.run.as_ref()), &model)?;
    let text = texts::within_positions(&model, &args.text.text, text)?;
    let eigenbasis = gradients::eigenbasis(context, &flags)?;
    let run = args.run.clone().unwrap_or_else(|| folders.run_name(&model, &checkpoints));
    let text = match &eigenbasis {
        Some(eigenbasis) => with_fit(context, (&args.text, text), eigenbasis, &model)?,
        None => {
            let shard = shard(args)?;
            with_store(context, (&args.text, text), (args.dataset(), &run), &model, shard.as_ref())?
        }
    };
    let request = IngestRequest {
        dataset: args.dataset().to_owned(),
        run,
        model,
        projection: match &eigenbasis {
            Some(eigenbasis) => eigenbasis.spec.clone().into(),
            None => gradients::projection(&flags, &checkpoints, &kinds)?,
        },
        checkpoints,
        kinds,
        modules: gradients::modules(&flags),
        loss: gradients::loss(&flags)?,
        reduction: gradients::reduction(&flags),
        granularity: gradients::granularity(&flags),
        embedding: gradients::embedding(&flags),
        device,
        beside,
        compute: flags.compute.unwrap_or(device.default_compute()),
        max_memory: flags.max_memory,
        dtype: args.dtype,
        text,
        adam: gradients::adam(&flags),
        batch_tokens: args.batch_tokens as usize,
        threads: context.threads,
        limit: args.limit,
        rows: None,
        check_room: !args.force,
        seal_after: IngestRequest::SEAL_AFTER,
        weights: args.weights.clone(),
        origins: folders.origins(),
        command: context.command.clone(),
    };
    Ok((request, eigenbasis))
}
