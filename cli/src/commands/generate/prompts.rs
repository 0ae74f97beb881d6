//! The prompts, or the texts, that a command line names.

use std::sync::Arc;

use anyhow::Result;
use gstore::PromptSource;
use gstore_core::Cancel;
use gstore_data::{Content, Message, Role};

use crate::args::PromptArgs;
use crate::condition::rows_where;
use crate::context::Context;

/// Whether a command line names any.
pub fn are_given(args: &PromptArgs) -> bool {
    let PromptArgs { dataset, data, prompt, text, .. } = args;
    dataset.is_some() || !(data.is_empty() && prompt.is_empty() && text.is_empty())
}

/// Prompts, or texts.
pub fn source(context: &Context, args: &PromptArgs, cancel: &Cancel) -> Result<PromptSource> {
    if let Some(dataset) = &args.dataset {
        let snapshot = context.open()?.snapshot()?;
        let part = Arc::clone(snapshot.dataset(dataset)?);
        let condition = args.filter.as_ref();
        let rows = condition.map(|condition| rows_where(context, &snapshot, &part, condition, cancel));
        let rows = rows.transpose()?;
        return Ok(PromptSource::Dataset { snapshot, part, rows });
    }
    if !args.data.is_empty() {
        return Ok(PromptSource::Files { paths: args.data.clone(), fields: args.fields.clone() });
    }
    let prompt = |text: &String| match args.chat {
        true => Content::Messages(vec![Message::new(Role::User, text.as_str())]),
        false => Content::PromptCompletion { prompt: text.clone(), completion: String::new() },
    };
    let texts = args.text.iter().cloned().map(Content::Text);
    Ok(PromptSource::Given(args.prompt.iter().map(prompt).chain(texts).collect()))
}
