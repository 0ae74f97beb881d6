//! Text options of the flags, for all commands that make tokens of texts.

use std::path::Path;

use anyhow::Result;
use gstore::Folders;
use gstore_data::TextOptions;
use gstore_ingest::pipeline::{IngestError, positions};

use crate::args::{GivenTextArgs, TextArgs};
use crate::context::Context;
use crate::failure::refuse;
use crate::models::folder_error;

/// How records become tokens; the tokenizer is found, on the Hub too.
pub fn options(folders: &mut Folders<'_>, args: &TextArgs) -> Result<TextOptions> {
    let tokenizer = args.tokenizer.as_ref().map(|text| folders.tokenizer(text)).transpose();
    let tokenizer = tokenizer.map_err(|error| folder_error("--tokenizer", error))?;
    Ok(TextOptions {
        tokenizer,
        template: args.template.clone(),
        system: args.system.clone(),
        max_length: args.max_length.unwrap_or(TextOptions::MAX_LENGTH),
        block: args.block,
    })
}

/// Refuses blocks of samples that are registered, which no command cuts.
pub fn refuse_blocks(args: &TextArgs) -> Result<()> {
    if args.block.is_some() {
        refuse!("--block cuts texts before they are registered: give it to `gstore ingest --data`");
    }
    Ok(())
}

/// The options with samples that are cut off where the model's positions end, unless a length was given.
///
/// # Errors
/// A length or a block that was given and is beyond them; a folder that is no model.
pub fn within_positions(model: &Path, args: &TextArgs, text: TextOptions) -> Result<TextOptions> {
    let Some(most) = positions(model)? else { return Ok(text) };
    // No length would do for such a block.
    if let Some(block) = text.block.filter(|block| *block > most) {
        refuse!("the model has {most} positions, --block {block} has more: give --block {most} or less");
    }
    match text.max_length {
        length if length <= most => Ok(text),
        _ if args.max_length.is_none() => Ok(TextOptions { max_length: most, ..text }),
        max_length => Err(IngestError::TooLong { max_length, positions: most as usize }.into()),
    }
}

/// Says where samples are cut off, if [`within_positions`] made the length another than that of the flags. It
/// comes after checks, as it would only stand before their errors.
pub fn tell_cut(context: &Context, args: &TextArgs, (model, text): (&Path, &TextOptions)) -> Result<()> {
    let max_length = text.max_length;
    // A shorter length may also be that of a fit.
    let is_shorter = args.max_length.is_none() && max_length < TextOptions::MAX_LENGTH;
    if is_shorter && positions(model)? == Some(max_length) {
        context.say(&format!(
            "the model has {max_length} positions: samples are cut off after {max_length} tokens (--max-length {max_length})"
        ));
    }
    Ok(())
}

/// Those of a fit of factors, or of other features, where no flag is given; `text` has those of the flags.
pub fn text_of_fit(flags: &GivenTextArgs, text: &TextOptions, fitted: TextOptions) -> TextOptions {
    TextOptions {
        // That of a run that is named stands in place of a flag.
        tokenizer: text.tokenizer.clone().or(fitted.tokenizer),
        template: if flags.has("template") { text.template.clone() } else { fitted.template },
        system: text.system.clone().or(fitted.system),
        max_length: if flags.has("max_length") { text.max_length } else { fitted.max_length },
        block: text.block,
    }
}

/// Says which of [`text_of_fit`] differ from those of the flags.
pub fn tell_fit(context: &Context, text: &TextOptions, like: &TextOptions) {
    let taken = taken(text, like);
    if !taken.is_empty() {
        context.say(&format!(
            "note: texts become the same tokens as in the fit of the factors, as with {}",
            taken.join(", ")
        ));
    }
}

/// The flags that would have made the one of the other.
pub fn taken(text: &TextOptions, like: &TextOptions) -> Vec<String> {
    let mut flags = Vec::new();
    if like.template != text.template {
        flags.push(format!("--template {}", like.template));
    }
    if like.max_length != text.max_length {
        flags.push(format!("--max-length {}", like.max_length));
    }
    if let Some(system) = like.system.as_ref().filter(|_| text.system.is_none()) {
        flags.push(format!("--system {system}"));
    }
    if let Some(tokenizer) = like.tokenizer.as_ref().filter(|_| text.tokenizer.is_none()) {
        flags.push(format!("--tokenizer {}", tokenizer.display()));
    }
    flags
}
