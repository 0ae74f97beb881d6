//! The prompts, or the texts, that a command line names.

use std::sync::Arc;

use anyhow::Result;
use gstore::PromptSource;
use gstore_core::Cancel;
use gstore_data::{Content, Message, Role};

use crate::args::PromptArgs;
use crate::condition::rows_where;
use crate::context::Context;

/// What a command line names.
pub enum PromptInput {
    /// Texts on the command line.
    Given,
    Files,
    Dataset,
}

/// The prompts of a command line; none if it has none.
pub fn prompt_input(args: &PromptArgs) -> Option<PromptInput> {
    match args {
        PromptArgs { dataset: Some(_), .. } => Some(PromptInput::Dataset),
        _ if !args.data.is_empty() => Some(PromptInput::Files),
        _ if !args.prompt.is_empty() || !args.text.is_empty() => Some(PromptInput::Given),
        _ => None,
    }
}

/// Prompts, or texts.
pub fn source(
    context: &Context,
    args: &PromptArgs,
    what: PromptInput,
    cancel: &Cancel,
) -> Result<PromptSource> {
    Ok(match what {
        PromptInput::Files => PromptSource::Files { paths: args.data.clone(), fields: args.fields.clone() },
        PromptInput::Given => {
            let prompt = |text: &String| match args.chat {
                true => Content::Messages(vec![Message::new(Role::User, text.as_str())]),
                false => Content::PromptCompletion { prompt: text.clone(), completion: String::new() },
            };
            let texts = args.text.iter().cloned().map(Content::Text);
            PromptSource::Given(args.prompt.iter().map(prompt).chain(texts).collect())
        }
        PromptInput::Dataset => {
            let snapshot = context.open()?.snapshot()?;
            let part = Arc::clone(snapshot.dataset(args.dataset.as_deref().unwrap_or_default())?);
            let condition = args.filter.as_ref();
            let rows = condition.map(|condition| rows_where(context, &snapshot, &part, condition, cancel));
            let rows = rows.transpose()?;
            PromptSource::Dataset { snapshot, part, rows }
        }
    })
}
