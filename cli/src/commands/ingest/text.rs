//! Text options of features whose flags do not say them: those of the run that is named in place of a model,
//! of the fit whose eigenbasis rows are projected to, or of features of the store.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore::factors::EigenProjection;
use gstore_data::TextOptions;
use gstore_ingest::pipeline::{ShardRequest, positions};
use gstore_store::{EncodingSpec, FeaturePart, Snapshot};

use super::folder_of;
use crate::args::GivenTextArgs;
use crate::context::{Context, STAGE};
use crate::failure::refuse;
use crate::texts::{taken, tell_fit, text_of_fit};

/// Text options with the tokenizer of the run that is named in place of a model, unless they name one.
pub fn with_run(
    context: &Context,
    mut text: TextOptions,
    (named, run): (Option<&String>, Option<&String>),
    model: &Path,
) -> Result<TextOptions> {
    if let (None, None, Some(run)) = (named, &text.tokenizer, run) {
        text.tokenizer = tokenizer_of_run(context, run, model)?;
    }
    Ok(text)
}

/// The folder of the tokenizer with which a run was registered, if that is another one than that of its
/// model: what is computed with another cannot be compared with what is there. It never changes, so that a
/// command which is given again, or in another place, is the same one.
fn tokenizer_of_run(context: &Context, run: &str, model: &Path) -> Result<Option<PathBuf>> {
    let snapshot = context.open()?.snapshot()?;
    let mut checkpoints = snapshot.run(run)?.checkpoints.iter();
    let folder = checkpoints.find_map(|checkpoint| folder_of(checkpoint, "tokenizer"));
    let Some(folder) = folder.filter(|folder| folder != model) else { return Ok(None) };
    let shown = folder.display();
    if !folder.is_dir() {
        refuse!(
            "run {run} was registered with --tokenizer {shown}, which no longer exists: give --tokenizer, \
             with {} for the model's own",
            model.display()
        );
    }
    context.say(&format!(
        "note: the tokenizer is the one that run {run} was registered with, as by --tokenizer {shown}; the model's own is \
         --tokenizer {}",
        model.display()
    ));
    Ok(Some(folder))
}

/// Text options as the fit of an eigenbasis had them where no flag is given. `text` has those of the flags.
/// Flags that make other tokens than the fit's are refused, unless stale factors are asked for.
pub(super) fn with_fit(
    context: &Context,
    (flags, text): (&GivenTextArgs, TextOptions),
    eigenbasis: &EigenProjection,
    model: &Path,
) -> Result<TextOptions> {
    let like = match eigenbasis.text() {
        Some(fitted) => text_of_fit(flags, &text, fitted),
        None => text.clone(),
    };
    eigenbasis.check_text(model, &like)?;
    tell_fit(context, &text, &like);
    Ok(like)
}

/// Text options as features of the store have them where no flag is given: those of the dataset; of a dataset
/// without features those of the run, else those of the whole store. They are taken over if the flags leave
/// one encoding of these which this model makes again to the digest; where they leave several, it is said
/// that the defaults apply. So the command that computes what new rows lack need not repeat them all, and a
/// target becomes tokens as its pool did.
pub fn with_store(
    context: &Context,
    (flags, text): (&GivenTextArgs, TextOptions),
    (dataset, run): (&str, &str),
    model: &Path,
    shard: Option<&ShardRequest>,
) -> Result<TextOptions> {
    // What a pipeline gives follows from its file, and not from what the store had before.
    if std::env::var_os(STAGE).is_some() {
        return Ok(text);
    }
    let Some(store) = context.open_if_there()? else { return Ok(text) };
    // Shards of one snapshot take the same over, whenever they start.
    let snapshot = match shard {
        Some(shard) => shard.base_snapshot(&store)?,
        None => store.snapshot()?,
    };
    let (found, whose) = find_encodings(&snapshot, dataset, run);
    let remade =
        found.into_iter().filter_map(|spec| Some((spec, reproduce_options(spec, (flags, &text), model)?)));
    let (found, like): (Vec<&EncodingSpec>, Vec<TextOptions>) = remade.unzip();
    match like.as_slice() {
        [like] if *like != text => {
            let own = match taken(like, &text).join(", ") {
                own if own.is_empty() => own,
                own => format!("; with {own} texts become other tokens"),
            };
            let flags = taken(&text, like);
            let are = if flags.len() == 1 { "is" } else { "are" };
            context.say(&format!("note: {} {are} taken from {whose}{own}", flags.join(", ")));
            Ok(like.clone())
        }
        [] | [_] => Ok(text),
        _ => {
            // Options that make no encoding are refused before anything is computed.
            if let Ok(encoder) = text.encoder(model) {
                context.say(&note_of_several(&found, &encoder.spec(), &whose));
            }
            Ok(text)
        }
    }
}

/// What is said where the defaults apply, since the features have several encodings.
fn note_of_several(several: &[&EncodingSpec], default: &EncodingSpec, whose: &str) -> String {
    let all: Vec<&EncodingSpec> = several.iter().copied().chain([default]).collect();
    // The options in which an encoding differs from any other one.
    let options = |spec: &EncodingSpec| {
        let mut options: Vec<String> = Vec::new();
        for option in all.iter().flat_map(|other| spec.options_unlike(other)) {
            if !options.contains(&option) {
                options.push(option);
            }
        }
        options.join(" ")
    };
    let ways: Vec<String> = several.iter().map(|spec| options(spec)).collect();
    format!(
        "note: {whose} have {} encodings that could be meant, with {}; the default, with {}, is used: to choose \
         another, give its options",
        several.len(),
        ways.join(" or with "),
        options(default)
    )
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
