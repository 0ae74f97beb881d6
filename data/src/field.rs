//! Fields: the parts of a record that gstore reads.

use std::fmt;

/// What gstore looks for in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Text as a whole.
    Text,
    /// What is not scored.
    Prompt,
    /// What is.
    Completion,
    /// A conversation.
    Messages,
    /// Who speaks in a message.
    Role,
    /// What is said.
    Content,
    /// The id.
    Id,
    /// The part of a target.
    Subtask,
}

impl Field {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Prompt,
        Self::Completion,
        Self::Messages,
        Self::Role,
        Self::Content,
        Self::Id,
        Self::Subtask,
    ];

    /// The key that is looked for unless another is named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Messages => "messages",
            Self::Role => "role",
            Self::Content => "content",
            Self::Id => "id",
            Self::Subtask => "subtask",
        }
    }

    /// Which shape of a record it belongs to, if it is text to train on.
    pub(super) fn shape(self) -> Option<u8> {
        match self {
            Self::Text => Some(0),
            Self::Prompt | Self::Completion => Some(1),
            Self::Messages => Some(2),
            _ => None,
        }
    }

    /// Whether it is of a message, not of a record.
    pub(super) fn is_of_message(self) -> bool {
        matches!(self, Self::Role | Self::Content)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
