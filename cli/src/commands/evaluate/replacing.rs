//! `gstore evaluate retrain --force`: a ground truth replaces another once nothing else can be refused.

use anyhow::Result;
use gstore_core::Cancel;
use gstore_evaluate::attribution::TruthFolder;

use super::asked::{RunModel, asked, check_training};
use super::draw::{Drawing, hidden_folder};
use super::stored;
use crate::args::EvaluateRetrainArgs;
use crate::context::Context;
use crate::exchange::exchange;
use crate::output::parent;

/// Replaces the ground truth of the folder, with the ensemble of its models, if the flags ask for another
/// one: by what was drawn, or by its own rows, queries and subsets. An equal one stays as it is.
///
/// # Errors
/// The refusals of a new ground truth, and a folder with files that no ground truth wrote: nothing changes
/// then.
pub fn replace(
    context: &Context,
    args: &EvaluateRetrainArgs,
    (drawing, model): (Option<&Drawing>, Option<&RunModel>),
    cancel: &Cancel,
) -> Result<()> {
    if !TruthFolder::exists(&args.truth) {
        return Ok(());
    }
    let target = fs_err::canonicalize(&args.truth)?;
    let made = hidden_folder(parent(&target), &args.truth)?;
    let old = TruthFolder::open(&args.truth, cancel)?;
    let new = match drawing {
        Some(drawing) => drawing.create(made.content(), cancel)?,
        None => old.copy_drawn(made.content(), cancel)?,
    };
    let asked = model.map(|model| asked(context, args, &new, model, cancel)).transpose()?;
    if let Some(asked) = &asked {
        new.agree_on_recipe(&asked.recipe)?;
    }
    // Another job of the same array may have replaced it meanwhile, and have done runs.
    let old = TruthFolder::open(&args.truth, cancel)?;
    if old.is_same(&new)? {
        return Ok(());
    }
    old.check_own()?;
    if let Some(asked) = asked {
        check_training(args, &new, asked, cancel)?;
    }
    let dropped = stored::check_replacing(context, args, (&old, &new), cancel)?;
    // First, since the folder has all of its data: after a kill in between, the same command continues.
    if let Some(ensemble) = dropped {
        context.open()?.drop_ensemble(&ensemble, &context.command)?;
    }
    exchange(made.content(), &target)?;
    made.settle()?;
    context.say(&format!("{}: this ground truth replaces another one", args.truth.display()));
    Ok(())
}
