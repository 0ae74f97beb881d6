//! Options of trainings: what a step does, and what is kept.

use anyhow::Result;
use gstore_train::{
    AdamW, DropoutRates, LossMean, OptimizerKind, SavingOptions, ScheduleKind, Sgd, StepOptions, TrainError,
};

use crate::args::{SaveStrategy, TrainOptimizerArgs, TrainSavingArgs};
use crate::failure::{UsageError, refuse};

/// What a step does, but for what it drops.
pub fn steps(args: &TrainOptimizerArgs, mean: LossMean) -> Result<StepOptions> {
    let usage = |error: TrainError| UsageError(error.to_string());
    let of_adam = [args.adam_beta1, args.adam_beta2, args.adam_epsilon];
    let usual = AdamW::default();
    let adam = AdamW {
        beta1: args.adam_beta1.unwrap_or(usual.beta1),
        beta2: args.adam_beta2.unwrap_or(usual.beta2),
        eps: args.adam_epsilon.unwrap_or(usual.eps),
        weight_decay: args.weight_decay,
    };
    let optimizer = optimizer(&args.optim, adam, args.momentum)?;
    if matches!(optimizer, OptimizerKind::Sgd(_)) && of_adam.iter().any(Option::is_some) {
        refuse!("--adam-beta1, --adam-beta2 and --adam-epsilon require --optim adamw")
    }
    let options = args.lr_scheduler_kwargs.as_deref();
    let kind = ScheduleKind::named(&args.lr_scheduler_type, options, args.learning_rate).map_err(usage)?;
    let schedule = match (kind, args.lr_cycles) {
        (ScheduleKind::CosineWithRestarts { .. }, Some(cycles)) => {
            ScheduleKind::CosineWithRestarts { cycles }
        }
        (_, Some(_)) => refuse!("--lr-cycles requires --lr-scheduler-type cosine_with_restarts"),
        (kind, None) => kind,
    };
    Ok(StepOptions {
        optimizer,
        learning_rate: args.learning_rate,
        schedule,
        warmup_steps: args.warmup_steps,
        warmup_ratio: args.warmup_ratio,
        max_grad_norm: Some(args.max_grad_norm).filter(|norm| *norm != 0.0),
        mean,
        dropout: DropoutRates::default(),
    })
}

/// The optimizer of a name, with the numbers of AdamW where it is that.
fn optimizer(name: &str, adam: AdamW, momentum: f64) -> Result<OptimizerKind> {
    match name.parse().map_err(|error: TrainError| UsageError(error.to_string()))? {
        OptimizerKind::AdamW(_) if momentum != 0.0 => refuse!("--momentum requires --optim sgd"),
        OptimizerKind::AdamW(_) => Ok(OptimizerKind::AdamW(adam)),
        OptimizerKind::Sgd(_) => Ok(OptimizerKind::Sgd(Sgd { momentum, weight_decay: adam.weight_decay })),
    }
}

/// When checkpoints are written, how many stay, and where a training goes on.
pub fn saving(args: &TrainSavingArgs) -> Result<SavingOptions> {
    let every = match (args.save_strategy, args.save_steps) {
        (Some(SaveStrategy::No | SaveStrategy::Epoch), Some(_)) => {
            refuse!("--save-steps requires --save-strategy steps")
        }
        (Some(SaveStrategy::No), None) => Some(u64::MAX),
        (Some(SaveStrategy::Steps), None) => {
            refuse!("--save-strategy steps requires --save-steps N")
        }
        (_, every) => every,
    };
    Ok(SavingOptions {
        every,
        limit: args.save_total_limit,
        log_every: args.logging_steps,
        overwrite: args.overwrite_output_dir,
        resume_from: args.resume_from_checkpoint.clone(),
    })
}
