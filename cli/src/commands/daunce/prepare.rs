//! `gstore daunce prepare`: hidden states of the model that copies start from, in a file.

use anyhow::Result;
use gstore_train::daunce::{BaseStates, EnsembleRequest, prepare};
use indicatif::HumanBytes;

use super::{STOPPING, request};
use crate::args::DauncePrepareArgs;
use crate::context::Context;
use crate::copies::EnsembleProgress;
use crate::output::check_outside;
use crate::streams::print_json;

/// Writes the file if it is missing.
pub fn run(context: &Context, args: &DauncePrepareArgs) -> Result<()> {
    check_outside(context, &args.of.output)?;
    let store = args.of.data.dataset.as_ref().map(|_| context.open()).transpose()?;
    let (training, cancel) = request::training(context, &args.of, store.as_ref(), STOPPING)?;
    let request = EnsembleRequest {
        states: BaseStates::Stored,
        states_file: Some(args.of.output.clone()),
        ..request::ensemble_request(training)
    };
    let prepared = prepare(&request, &mut EnsembleProgress::new(context.quiet), &cancel)?;
    let (tokens, bytes) = (prepared.tokens, HumanBytes(prepared.bytes));
    context.say(&format!(
        "{}: hidden states of {tokens} scored tokens of {} rows, {bytes}",
        prepared.file.display(),
        prepared.rows
    ));
    if args.json {
        print_json(&prepared)?;
    }
    Ok(())
}
