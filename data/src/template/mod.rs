//! Templates: how a record becomes one text, and which parts of it are scored.
//!
//! | template | `messages` | `prompt`, `completion` | `text` |
//! |---|---|---|---|
//! | `tulu` | role tag lines, as LESS | joined, end token appended | as it is |
//! | `tulu_chat` | as `tulu` | as a user and an assistant message | as it is |
//! | `chat` | the tokenizer's own template | as a user and an assistant message | as it is |
//! | `plain` | contents joined, no roles | joined, end token appended | as it is |
//! | another name, or a file in Jinja | that template | as a user and an assistant message | as it is |
//!
//! Scored tokens: the assistant's messages but those of weight 0, with the end token that closes each
//! (`tulu`: and the newline after it; `chat`: what the template writes from the end of the generation
//! prompt to the end of the turn, or what it marks), a completion with its end token, a text as a whole. Role
//! headers are never scored, unless a template marks them.
//!
//! Tokens that a tokenizer puts around every text (a start token, usually) are added by the tokenizer's own
//! post-processor, as in the LESS code; with `chat` they are not, since the template writes them.

mod chat;
mod filters;
mod jinja;
mod json;
mod letters;
mod numbers;
mod plain;
mod presets;
mod python;
mod tags;
mod tulu;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub(super) use chat::ChatTemplate;
use presets::PRESETS;

use super::encode_error::EncodeError;
use super::{Content, Message, Role};

/// Which template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TemplateKind {
    /// That of LESS.
    #[default]
    Tulu,
    /// That of LESS also for a prompt with its completion, which is a conversation then.
    TuluChat,
    /// The tokenizer's own.
    Chat,
    /// No roles.
    Plain,
    /// One of [`TemplateKind::names`], a format of a model family.
    Named(&'static str),
    /// This one, in Jinja as chat templates are.
    Jinja(String),
}

impl TemplateKind {
    const OWN: [Self; 4] = [Self::Tulu, Self::TuluChat, Self::Chat, Self::Plain];

    /// Name on the command line and in encodings.
    pub fn name(&self) -> &'static str {
        match self {
            TemplateKind::Tulu => "tulu",
            TemplateKind::TuluChat => "tulu_chat",
            TemplateKind::Chat => "chat",
            TemplateKind::Plain => "plain",
            TemplateKind::Named(name) => name,
            TemplateKind::Jinja(_) => "jinja",
        }
    }

    /// Every name that stands for a template.
    pub fn names() -> Vec<&'static str> {
        let own = Self::OWN;
        own.iter().map(Self::name).chain(PRESETS.iter().map(|(name, _)| *name)).collect()
    }

    /// Its Jinja, where that is not the tokenizer's.
    pub(super) fn source(&self) -> Option<&str> {
        match self {
            TemplateKind::Tulu | TemplateKind::TuluChat | TemplateKind::Chat | TemplateKind::Plain => None,
            TemplateKind::Named(name) => {
                PRESETS.iter().find(|(known, _)| known == name).map(|(_, source)| *source)
            }
            TemplateKind::Jinja(source) => Some(source),
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
        let preset = PRESETS.iter().find(|(name, _)| *name == text);
        let own = TemplateKind::OWN.into_iter().find(|own| own.name() == text);
        let found = own.or_else(|| preset.map(|(name, _)| TemplateKind::Named(name)));
        found.ok_or_else(|| EncodeError::UnknownTemplate {
            name: text.to_owned(),
            known: TemplateKind::names().join(", "),
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RenderedText {
    pub(super) text: String,
    /// Byte ranges that are scored, ascending; ends lie on character boundaries.
    pub(super) scored: Vec<Range<usize>>,
    /// Whether the tokenizer adds its own tokens around the text; not where a template in Jinja wrote it.
    pub(super) add_special: bool,
}

impl RenderedText {
    fn with_special() -> Self {
        Self { add_special: true, ..Self::default() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Parts one after the other, which are scored or only read.
    fn push_parts(&mut self, parts: &[&str], scored: bool) {
        match scored {
            true => self.push_scored(parts),
            false => parts.iter().for_each(|part| self.push(part)),
        }
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
    TuluChat { eos: String },
    Plain { eos: String },
    Chat(Box<ChatTemplate>),
}

impl Template {
    /// A conversation that begins with a system message, `system` where it has none. With a template in Jinja
    /// and with `tulu_chat` a prompt with its completion is a conversation too.
    pub(super) fn with_system<'a>(&self, content: &'a Content, system: &str) -> Cow<'a, Content> {
        let mut all = match (self, content) {
            (_, Content::Messages(turns)) if turns.first().is_none_or(|m| m.role != Role::System) => {
                turns.clone()
            }
            (
                Template::Chat(_) | Template::TuluChat { .. },
                Content::PromptCompletion { prompt, completion },
            ) => turns(prompt, completion).to_vec(),
            _ => return Cow::Borrowed(content),
        };
        all.insert(0, Message::new(Role::System, system));
        Cow::Owned(Content::Messages(all))
    }

    pub(super) fn render(&self, content: &Content) -> Result<RenderedText, EncodeError> {
        Ok(match (self, content) {
            (_, Content::Text(text)) => whole(text),
            (Template::Chat(template), Content::Messages(messages)) => template.render(messages)?,
            (Template::Chat(template), Content::PromptCompletion { prompt, completion }) => {
                template.render(&turns(prompt, completion))?
            }
            (
                Template::Tulu { eos } | Template::Plain { eos },
                Content::PromptCompletion { prompt, completion },
            ) => plain::pair(prompt, completion, eos),
            (Template::TuluChat { eos }, Content::PromptCompletion { prompt, completion }) => {
                tulu::messages(&turns(prompt, completion), eos)
            }
            (Template::Tulu { eos } | Template::TuluChat { eos }, Content::Messages(messages)) => {
                tulu::messages(messages, eos)
            }
            (Template::Plain { eos }, Content::Messages(messages)) => plain::messages(messages, eos),
        })
    }

    /// The text before the assistant's last message, or before the one it would write next; all of a plain
    /// text.
    pub(super) fn prompt(&self, content: &Content) -> Result<RenderedText, EncodeError> {
        Ok(match (self, content) {
            (Template::Chat(template), Content::PromptCompletion { prompt, .. }) => {
                template.prompt(&[Message::new(Role::User, prompt.as_str())])?
            }
            (Template::TuluChat { eos }, Content::PromptCompletion { prompt, .. }) => {
                tulu::prompt(&[Message::new(Role::User, prompt.as_str())], eos)
            }
            (_, Content::Text(text)) | (_, Content::PromptCompletion { prompt: text, .. }) => {
                RenderedText { text: text.clone(), ..RenderedText::with_special() }
            }
            (Template::Chat(template), Content::Messages(messages)) => template.prompt(before(messages))?,
            (Template::Tulu { eos } | Template::TuluChat { eos }, Content::Messages(messages)) => {
                tulu::prompt(before(messages), eos)
            }
            (Template::Plain { eos }, Content::Messages(messages)) => plain::prompt(before(messages), eos),
        })
    }
}

fn turns(prompt: &str, completion: &str) -> [Message; 2] {
    [Message::new(Role::User, prompt), Message::new(Role::Assistant, completion)]
}

/// The messages before the assistant's last one.
fn before(messages: &[Message]) -> &[Message] {
    match messages.split_last() {
        Some((Message { role: Role::Assistant, .. }, before)) => before,
        _ => messages,
    }
}

fn whole(text: &str) -> RenderedText {
    let mut rendered = RenderedText::with_special();
    rendered.push_scored(&[text]);
    rendered
}
