//! Conversion of flags into requests for an ensemble.

use std::sync::Arc;

use anyhow::Result;
use gstore::Folders;
use gstore_core::Cancel;
use gstore_store::Store;
use gstore_train::daunce::{BaseStates, EnsembleRequest, FirstRate, Perturbation, SubsetSize, Variant};
use gstore_train::{
    BatchOptions, ComputeOptions, DropoutRates, LossMean, SavingOptions, StepOptions, TrainMethod,
    TrainRequest,
};

use crate::args::{DaunceModelsArgs, DaunceObjectiveArgs, DaunceOfArgs, DaunceRateArgs, TrainMethodArgs};
use crate::commands::train::{check_file_options, computing, method_of, source, subset};
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folder_error;
use crate::options::steps;
use crate::texts;

/// The training of each copy, with defaults for everything else, and the flag that Ctrl-C raises from here on
/// while printing `stopping`. Notes where samples are cut off.
pub fn training(
    context: &Context,
    args: &DaunceOfArgs,
    store: Option<&Store>,
    stopping: &'static str,
) -> Result<(TrainRequest, Arc<Cancel>)> {
    check_file_options(&args.data, &[])?;
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let model = folders.model(&args.model).map_err(|error| folder_error("--model", error))?;
    let text = texts::options(&mut folders, &args.text)?;
    let text = texts::within_positions(&model, &args.text, text)?;
    // Only now, so that one Ctrl-C ends a download.
    let cancel = context.cancel_on_interrupt(stopping);
    texts::tell_cut(context, &args.text, (&model, &text))?;
    let training = TrainRequest {
        subset: subset(context, &args.data, store, &cancel)?,
        batching: BatchOptions { text, accumulate: 1, epochs: 1.0, ..BatchOptions::default() },
        saving: SavingOptions { overwrite: args.overwrite_output_dir, ..SavingOptions::default() },
        compute: ComputeOptions { max_memory: args.memory_limit, ..computing(context, &args.computing)? },
        ..TrainRequest::new(model, &args.output, method(&args.weights), source(&args.data, store)?)
    };
    Ok((training, cancel))
}

/// An ensemble of one model with defaults for everything else.
pub fn ensemble_request(training: TrainRequest) -> EnsembleRequest {
    EnsembleRequest {
        training,
        perturbation: Perturbation::default(),
        subset: SubsetSize::OfSteps,
        models: 0..1,
        round: EnsembleRequest::ROUND,
        at_once: None,
        states: BaseStates::Auto,
        states_file: None,
        first_rate: FirstRate::Rising,
    }
}

/// The whole request.
pub fn ensemble(
    mut training: TrainRequest,
    models: &DaunceModelsArgs,
    objective: &DaunceObjectiveArgs,
    rates: &DaunceRateArgs,
) -> Result<EnsembleRequest> {
    training.batching.micro = models.batch_size;
    training.batching.max_steps = models.steps;
    training.batching.epochs = models.epochs;
    training.batching.seed = models.seed;
    let dropout = DropoutRates { lora: objective.lora_dropout, ..DropoutRates::default() };
    training.steps = StepOptions { dropout, ..steps(&rates.of, LossMean::default())? };
    let most = models.max_models.unwrap_or_default();
    Ok(EnsembleRequest {
        perturbation: perturbation(objective)?,
        subset: models.subset.unwrap_or_default(),
        models: models.models.as_ref().map_or(0..most, |models| models.range.clone()),
        round: models.round,
        at_once: models.at_once,
        states: match objective.hidden_states {
            Some(_) => BaseStates::Stored,
            None => objective.base_states,
        },
        states_file: objective.hidden_states.clone(),
        first_rate: if rates.first_rate_zero { FirstRate::Zero } else { FirstRate::Rising },
        ..ensemble_request(training)
    })
}

fn perturbation(args: &DaunceObjectiveArgs) -> Result<Perturbation> {
    if args.variant == Variant::Subset {
        let given = [("--rho", args.rho.is_some()), ("--hidden-states", args.hidden_states.is_some())];
        if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
            refuse!("{flag} has no effect with --variant subset: it has no linear term");
        }
    }
    Ok(Perturbation {
        variant: args.variant,
        rho: args.rho.unwrap_or(1.0),
        gamma: args.gamma,
        normalizer: args.normalizer,
    })
}

fn method(args: &TrainMethodArgs) -> TrainMethod {
    let mut method = method_of(args);
    if let TrainMethod::Lora(choice) = &mut method
        && choice.targets.is_empty()
    {
        choice.targets.push("all-linear".to_owned());
    }
    method
}
