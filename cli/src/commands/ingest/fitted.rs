//! Text options of a fit, for rows in the eigenbasis of its factors.

use std::path::Path;

use anyhow::Result;
use gstore::factors::EigenProjection;
use gstore_data::TextOptions;

use crate::args::GivenTextArgs;
use crate::context::Context;

/// Text options as the fit of an eigenbasis had them where no flag is given. `text` has those of the flags.
/// Flags that make other tokens than the fit's are refused, unless stale factors are asked for.
pub(super) fn with_fit(
    context: &Context,
    (flags, text): (&GivenTextArgs, TextOptions),
    eigenbasis: &EigenProjection,
    model: &Path,
) -> Result<TextOptions> {
    let like = match eigenbasis.text() {
        Some(fitted) => like_fit(flags, &text, fitted),
        None => text.clone(),
    };
    eigenbasis.check_text(model, &like)?;
    let taken = taken(&text, &like);
    if !taken.is_empty() {
        context.say(&format!(
            "note: texts become the tokens that they were in the fit of the factors, as by {}",
            taken.join(", ")
        ));
    }
    Ok(like)
}

/// Those of the fit where no flag is given.
fn like_fit(flags: &GivenTextArgs, text: &TextOptions, fitted: TextOptions) -> TextOptions {
    TextOptions {
        // That of a run that is named stands in place of a flag.
        tokenizer: text.tokenizer.clone().or(fitted.tokenizer),
        template: if flags.has("template") { text.template.clone() } else { fitted.template },
        system: text.system.clone().or(fitted.system),
        max_length: if flags.has("max_length") { text.max_length } else { fitted.max_length },
        block: text.block,
    }
}

/// The flags that would have made the one of the other.
fn taken(text: &TextOptions, like: &TextOptions) -> Vec<String> {
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
