//! `gstore daunce train`: trains perturbed copies of a model, and registers them in the store.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use gstore_core::{Cancel, many_of};
use gstore_store::Store;
use gstore_train::daunce::{
    self, EnsembleOutcome, EnsembleRequest, MemberOutcome, Variant, forget_weights, read_start,
};
use serde_json::{Value, json};

use super::rounds::{LossRounds, rows_of_losses};
use super::{members, note_findings, request};
use crate::args::{DaunceTrainArgs, KeepWeights};
use crate::commands::train::name_of;
use crate::context::Context;
use crate::copies::EnsembleProgress;
use crate::failure::{STOPPED, UsageError, refuse};
use crate::forecast;
use crate::output::check_outside;
use crate::streams::print_json;

/// Trains what is missing; after each round registers it, and computes losses if asked to.
pub fn run(context: &Context, args: &DaunceTrainArgs) -> Result<ExitCode> {
    check(context, args)?;
    let store = context.open_for_training(args.reads_store())?;
    let output = &args.of.output;
    let ensemble = args.keeping.ensemble.clone().unwrap_or_else(|| name_of(output));
    let mut of_losses = 0;
    if let Some(store) = &store {
        of_losses = rows_of_losses(store, args)?;
        if args.of.overwrite_output_dir {
            members::check(store, &ensemble, output)?;
        }
    }
    let message = "stopping; copies that are complete are kept. Press Ctrl-C again to stop at once";
    let (training, cancel) = request::training(context, &args.of, store.as_ref(), message)?;
    let request = request::ensemble(training, &args.models, &args.objective, &args.rates)?;
    if args.dry_run {
        let found = daunce::forecast(&request, &mut EnsembleProgress::new(context.quiet), &cancel)?;
        forecast::print_copies(&found, args, of_losses)?;
        return Ok(ExitCode::SUCCESS);
    }
    context.check_place(store.as_ref())?;
    rounds_of_copies(context, args, &request, (store, ensemble.as_str()), &cancel)
}

/// Trains the copies round by round, and reports what became of them.
fn rounds_of_copies(
    context: &Context,
    args: &DaunceTrainArgs,
    request: &EnsembleRequest,
    (mut store, ensemble): (Option<Store>, &str),
    cancel: &Cancel,
) -> Result<ExitCode> {
    let output = &args.of.output;
    let mut rounds = LossRounds::new(context, args, &request.training, ensemble, cancel);
    let begun = Instant::now();
    let mut kept = Vec::new();
    let mut replaces = args.of.overwrite_output_dir;
    let mut after = |copies: &[MemberOutcome]| -> Result<ControlFlow<()>> {
        let mut enough = false;
        if store.is_none()
            && context.named_store().is_some()
            && copies.iter().any(|copy| copy.complete().is_some())
        {
            store = Some(context.open_or_create()?);
        }
        if let Some(store) = &store {
            let start = read_start(output)?;
            // Not earlier: a refusal up to here leaves the former copies and their losses as they were.
            if std::mem::take(&mut replaces) {
                members::drop_replaced(context, store, ensemble, &start, output)?;
            }
            members::register(context, store, ensemble, &start, copies)?;
            enough = rounds.losses_and_agreement(store)?;
            if rounds.stopped {
                // Weights are deleted once their losses are stored.
                kept.extend_from_slice(copies);
                return Ok(ControlFlow::Break(()));
            }
        }
        let before = kept.len();
        for copy in copies {
            kept.push(match copy {
                MemberOutcome::Complete(member) if args.keeping.keep == KeepWeights::None => {
                    MemberOutcome::Complete(forget_weights(output, member)?)
                }
                copy => copy.clone(),
            });
        }
        if let (Some(store), KeepWeights::None) = (&store, args.keeping.keep) {
            members::register(context, store, ensemble, &read_start(output)?, &kept[before..])?;
        }
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let mut outcome = daunce::train(request, &mut EnsembleProgress::new(context.quiet), &mut after, cancel)?;
    // A training that was stopped has copies of an unfinished round.
    if outcome.finished {
        outcome.models = kept;
    }
    outcome.finished &= !rounds.stopped;
    let of_store = store.is_some().then_some(ensemble);
    tell(context, args, &outcome, (of_store, rounds.agreement))?;
    if args.json {
        let report = report(&outcome, of_store, rounds.agreement, begun);
        print_json(&report)?;
    }
    if !outcome.finished {
        return Ok(ExitCode::from(STOPPED));
    }
    // Other processes may be computing the rest of the copies.
    let is_part = args.models.models.as_ref().is_some_and(|models| models.is_part);
    if let Some(store) = store.filter(|_| !is_part) {
        note_findings(context, &store, ensemble, &rounds.datasets(), cancel)?;
    }
    enough_complete(&outcome, is_part).map(|()| ExitCode::SUCCESS)
}

/// Fails if too few copies are complete to say anything about them.
fn enough_complete(outcome: &EnsembleOutcome, is_part: bool) -> Result<()> {
    let complete = complete(outcome);
    if complete < 2 && !is_part || complete == 0 {
        // For a part, the flag would also replace the copies that others have made.
        let (have, again) = match is_part {
            true => ("", ""),
            false => (", which have no covariance", ", with --overwrite-output-dir in place of these copies"),
        };
        bail!(
            "only {complete} of {} are complete{have}; a lower learning rate, a smaller rho or clipping may help{again}",
            many_of(outcome.models.len() as u64, "copy", "copies")
        );
    }
    Ok(())
}

/// Refuses flags that contradict each other.
fn check(context: &Context, args: &DaunceTrainArgs) -> Result<()> {
    for place in [Some(&args.of.output), args.objective.hidden_states.as_ref()].into_iter().flatten() {
        check_outside(context, place)?;
    }
    let usage = |what: &str| Err(UsageError(what.to_owned()).into());
    let (keeping, models) = (&args.keeping, &args.models);
    if context.named_store().is_none() {
        for (flag, given) in [
            ("--ensemble", keeping.ensemble.is_some()),
            ("--losses", !keeping.losses.is_empty()),
            ("--until", models.until.is_some()),
        ] {
            if given {
                refuse!("{flag} requires --store");
            }
        }
    }
    if keeping.keep == KeepWeights::None && keeping.losses.is_empty() && models.until.is_none() {
        return usage(
            "--keep none removes weights once their losses are computed: name the datasets with --losses",
        );
    }
    if args.objective.variant == Variant::If && args.objective.gamma != 1.0 {
        context.say("with a gamma other than 1 all copies drift alike; centre the scores by row and model");
    }
    let wanted = models.models.as_ref().filter(|models| !models.is_part).map(|models| models.range.end);
    if wanted.is_some_and(|count| count < 30) {
        context
            .say("with fewer than 30 copies, rankings are largely noise; look at the errors of the scores");
    }
    Ok(())
}

fn complete(outcome: &EnsembleOutcome) -> u64 {
    outcome.models.iter().filter_map(MemberOutcome::complete).count() as u64
}

fn tell(
    context: &Context,
    args: &DaunceTrainArgs,
    outcome: &EnsembleOutcome,
    (ensemble, agreement): (Option<&str>, Option<f64>),
) -> Result<()> {
    let (complete, folder) = (complete(outcome), args.of.output.display());
    let copies = many_of(complete, "copy", "copies");
    if !outcome.finished {
        context.say("stopped; complete copies are kept: run the same command again to continue");
    }
    // After a stop, the last copies are not in the store yet.
    match ensemble.filter(|_| outcome.finished) {
        None => context.say(&format!("{copies} in {folder}")),
        Some(ensemble) => context.say(&format!("{copies} in {folder}, ensemble {ensemble} of the store")),
    }
    if let (Some(wanted), true) = (args.models.until, outcome.finished) {
        match agreement {
            Some(found) if found >= wanted => {
                context.say(&format!("halves of them agree by {found:.3}: enough"));
            }
            Some(found) => context.say(&format!(
                "halves of them agree by {found:.3}, below {wanted}: --max-models was reached first"
            )),
            None => context.say("too few are there to compare halves of them"),
        }
    }
    Ok(())
}

fn report(
    outcome: &EnsembleOutcome,
    ensemble: Option<&str>,
    agreement: Option<f64>,
    begun: Instant,
) -> Value {
    let refused = outcome.models.iter().filter_map(MemberOutcome::refused);
    let refused: Vec<Value> =
        refused.map(|member| json!({ "model": member.model, "reason": member.reason })).collect();
    let EnsembleOutcome { finished, rows, steps, start, .. } = outcome;
    json!({
        "finished": finished, "models": complete(outcome), "refused": refused, "rows": rows, "steps": steps,
        "start": start, "ensemble": ensemble, "agreement": agreement, "seconds": begun.elapsed().as_secs_f64(),
    })
}
