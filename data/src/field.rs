//! Fields: the parts of a record that gstore reads.

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

// The keys that are looked for unless others are named, in the order of the help.
gstore_core::named!(Field {
    Text = "text",
    Prompt = "prompt",
    Completion = "completion",
    Messages = "messages",
    Role = "role",
    Content = "content",
    Id = "id",
    Subtask = "subtask",
});

impl Field {
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
