//! Templates: how a record becomes one text, and which parts of it are scored.
//!
//! | template | `messages` | `prompt`, `completion` | `text` |
//! |---|---|---|---|
//! | `tulu` | role tag lines, as LESS | joined, end token appended | as it is |
//! | `chat` | the tokenizer's own template | as a user and an assistant message | as it is |
//! | `plain` | contents joined, no roles | joined, end token appended | as it is |
//!
//! Scored tokens: the assistant's messages with the end token that closes each (`tulu`: and the newline after
//! it; `chat`: what the template writes from the end of the generation prompt to the end of the turn), a
//! completion with its end token, a text as a whole. Role headers are never scored.
//!
//! Tokens that a tokenizer puts around every text (a start token, usually) are added by the tokenizer's own
//! post-processor, as in the LESS code; with `chat` they are not, since the template writes them.

mod chat;
mod jinja;
mod plain;
mod tulu;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub(super) use chat::ChatTemplate;

use super::encode::EncodeError;
use super::{Content, Message, Role};

/// Which template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// That of LESS.
    Tulu,
    /// The tokenizer's own.
    Chat,
    /// No roles.
    Plain,
}

impl TemplateKind {
    /// Name on the command line and in encodings.
    pub fn name(self) -> &'static str {
        match self {
            TemplateKind::Tulu => "tulu",
            TemplateKind::Chat => "chat",
            TemplateKind::Plain => "plain",
        }
    }
}

impl fmt::Display for TemplateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TemplateKind {
    type Err = EncodeError;

    fn from_str(text: &str) -> Result<Self, EncodeError> {
        [TemplateKind::Tulu, TemplateKind::Chat, TemplateKind::Plain]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| EncodeError::UnknownTemplate(text.to_owned()))
    }
}

/// A record's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    /// Byte ranges that are scored, ascending; ends lie on character boundaries.
    pub(super) scored: Vec<Range<usize>>,
    /// Whether the tokenizer adds its own tokens around the text.
    pub(super) add_special: bool,
}

impl Rendered {
    fn with_special() -> Self {
        Self { add_special: true, ..Self::default() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn push_scored(&mut self, parts: &[&str]) {
        let start = self.text.len();
        parts.iter().for_each(|part| self.text.push_str(part));
        self.scored.push(start..self.text.len());
    }
}

/// A template with what it needs of the tokenizer.
pub(super) enum Template {
    Tulu { eos: String },
    Plain { eos: String },
    Chat(Box<ChatTemplate>),
}

impl Template {
    pub(super) fn render(&self, content: &Content) -> Result<Rendered, EncodeError> {
        Ok(match (self, content) {
            (_, Content::Text(text)) => whole(text),
            (Template::Chat(template), content) => template.render(content)?,
            (
                Template::Tulu { eos } | Template::Plain { eos },
                Content::PromptCompletion { prompt, completion },
            ) => plain::pair(prompt, completion, eos),
            (Template::Tulu { eos }, Content::Messages(messages)) => tulu::messages(messages, eos),
            (Template::Plain { eos }, Content::Messages(messages)) => plain::messages(messages, eos),
        })
    }
}

impl Template {
    /// The text before the assistant's last message, or before the one it would write next; all of a plain
    /// text.
    pub(super) fn prompt(&self, content: &Content) -> Result<Rendered, EncodeError> {
        Ok(match (self, content) {
            (Template::Chat(template), Content::PromptCompletion { prompt, .. }) => {
                template.prompt(&[Message { role: Role::User, content: prompt.clone() }])?
            }
            (_, Content::Text(text)) | (_, Content::PromptCompletion { prompt: text, .. }) => {
                Rendered { text: text.clone(), ..Rendered::with_special() }
            }
            (Template::Chat(template), Content::Messages(messages)) => template.prompt(before(messages))?,
            (Template::Tulu { eos }, Content::Messages(messages)) => tulu::prompt(before(messages), eos),
            (Template::Plain { eos }, Content::Messages(messages)) => plain::prompt(before(messages), eos),
        })
    }
}

/// The messages before the assistant's last one.
fn before(messages: &[Message]) -> &[Message] {
    match messages.split_last() {
        Some((Message { role: Role::Assistant, .. }, before)) => before,
        _ => messages,
    }
}

fn whole(text: &str) -> Rendered {
    let mut rendered = Rendered::with_special();
    rendered.push_scored(&[text]);
    rendered
}
