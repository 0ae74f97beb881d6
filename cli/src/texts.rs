//! Text options of the flags, for `gstore ingest`, `gstore train` and `gstore generate`.

use anyhow::Result;
use gstore::Folders;
use gstore_data::TextOptions;

use crate::args::TextArgs;
use crate::models::folder_error;

/// How records become tokens; the tokenizer is found, on the Hub too.
pub fn options(folders: &mut Folders<'_>, args: &TextArgs) -> Result<TextOptions> {
    let tokenizer = match &args.tokenizer {
        Some(text) => Some(folders.tokenizer(text).map_err(|error| folder_error("--tokenizer", error))?),
        None => None,
    };
    Ok(TextOptions {
        tokenizer,
        template: args.template.clone(),
        system: args.system.clone(),
        max_length: args.max_length,
        block: args.block,
    })
}
