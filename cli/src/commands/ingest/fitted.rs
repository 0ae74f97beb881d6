//! Text options of a fit, for rows in the eigenbasis of its factors.

use std::path::Path;

use anyhow::Result;
use gstore::factors::EigenProjection;
use gstore_data::TextOptions;

use crate::args::GivenTextArgs;
use crate::context::Context;
use crate::texts;

/// Text options as the fit of an eigenbasis had them where no flag is given. `text` has those of the flags.
/// Flags that make other tokens than the fit's are refused, unless stale factors are asked for.
pub(super) fn with_fit(
    context: &Context,
    (flags, text): (&GivenTextArgs, TextOptions),
    eigenbasis: &EigenProjection,
    model: &Path,
) -> Result<TextOptions> {
    let like = match eigenbasis.text() {
        Some(fitted) => texts::text_of_fit(flags, &text, fitted),
        None => text.clone(),
    };
    eigenbasis.check_text(model, &like)?;
    texts::tell_fit(context, &text, &like);
    Ok(like)
}
