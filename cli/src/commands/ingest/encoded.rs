//! Text options that features of the store were computed with, for an ingest whose flags do not say them.

use std::path::Path;

use anyhow::Result;
use gstore_data::TextOptions;
use gstore_ingest::pipeline::positions;
use gstore_store::{EncodingSpec, FeaturePart, Snapshot};

use super::shard::shard;
use crate::args::{GivenTextArgs, IngestArgs};
use crate::context::{Context, STAGE};
use crate::texts::{taken, text_of_fit};

/// Text options as features of the store have them where no flag is given: those of the dataset; of a dataset
/// without features those of the run, else those of the whole store. They are taken over if the flags leave
/// one encoding of these which this model makes again to the digest. So the command that computes what new
/// rows lack need not repeat them all, and a target becomes tokens as its pool did.
pub(super) fn with_store(
    context: &Context,
    args: &IngestArgs,
    run: &str,
    (text, model): (TextOptions, &Path),
) -> Result<TextOptions> {
    // What a pipeline gives follows from its file, and not from what the store had before.
    if std::env::var_os(STAGE).is_some() {
        return Ok(text);
    }
    let Some(store) = context.open_if_there()? else { return Ok(text) };
    // Shards of one snapshot take the same over, whenever they start.
    let snapshot = match shard(args)? {
        Some(shard) => shard.base_snapshot(&store)?,
        None => store.snapshot()?,
    };
    let (found, whose) = find_encodings(&snapshot, args.dataset(), run);
    let remade = found.into_iter().filter_map(|spec| reproduce_options(spec, (&args.text, &text), model));
    let like: Vec<TextOptions> = remade.collect();
    let by = |options: &TextOptions, other: &TextOptions| taken(other, options).join(", ");
    match like.as_slice() {
        [like] if *like != text => {
            let own = match by(&text, like) {
                own if own.is_empty() => own,
                own => format!("; with {own} texts become other tokens"),
            };
            let flags = taken(&text, like);
            let are = if flags.len() == 1 { "is" } else { "are" };
            context.say(&format!("note: {} {are} taken from {whose}{own}", flags.join(", ")));
            Ok(like.clone())
        }
        several if several.len() > 1 && !several.contains(&text) => {
            let ways: Vec<String> = several.iter().map(|options| by(options, &text)).collect();
            context.say(&format!(
                "note: {whose} have tokens of {} kinds, as by {}: give one of these for the same tokens",
                several.len(),
                ways.join(", or by ")
            ));
            Ok(text)
        }
        _ => Ok(text),
    }
}

/// The encodings of the features that are closest to those which are asked for, and whose they are.
fn find_encodings<'a>(snapshot: &'a Snapshot, dataset: &str, run: &str) -> (Vec<&'a EncodingSpec>, String) {
    let own = encodings(snapshot, |feature| feature.desc.dataset == dataset);
    if !own.is_empty() {
        return (own, format!("the features of {dataset}"));
    }
    let checkpoints = snapshot.run(run).map(|run| run.checkpoints.as_slice()).unwrap_or_default();
    let of_run = encodings(snapshot, |feature| {
        checkpoints.iter().any(|known| feature.desc.checkpoint.as_ref() == Some(&known.checkpoint))
    });
    if !of_run.is_empty() {
        return (of_run, format!("the features of run {run}"));
    }
    (encodings(snapshot, |_| true), "the features of this store".to_owned())
}

/// The encodings of some features, each once.
fn encodings(snapshot: &Snapshot, wanted: impl Fn(&FeaturePart) -> bool) -> Vec<&EncodingSpec> {
    let mut found: Vec<&EncodingSpec> = Vec::new();
    for feature in snapshot.features().iter().filter(|feature| wanted(feature)) {
        let Ok(dataset) = snapshot.dataset(&feature.desc.dataset) else { continue };
        let Some(entry) = dataset.encoding(&feature.desc.encoding) else { continue };
        if !found.contains(&&entry.spec) {
            found.push(&entry.spec);
        }
    }
    found
}

/// The options of an encoding, if they agree with the flags and give the same encoding with this model.
fn reproduce_options(
    spec: &EncodingSpec,
    (flags, text): (&GivenTextArgs, &TextOptions),
    model: &Path,
) -> Option<TextOptions> {
    let like = text_of_fit(flags, text, TextOptions::of_spec(spec)?);
    let fits = positions(model).ok()?.is_none_or(|most| like.max_length <= most);
    (fits && like.encoder(model).is_ok_and(|encoder| encoder.spec() == *spec)).then_some(like)
}
