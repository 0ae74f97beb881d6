//! The columns of a table of samples, and their names.

use crate::virtuals::VirtualColumn;

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnSource {
    Row,
    Id,
    Record,
    /// A metadata column, by its name in the sample files.
    Metadata(String),
    Tokens,
    ScoredTokens,
    Truncated,
    /// A column that is there because the statement names it.
    Virtual(VirtualColumn),
}

/// Where a part's values of one column come from.
#[derive(Debug, Clone)]
pub(crate) enum PartSource {
    /// The same in every row.
    Constant(Option<String>),
    /// A column of the part's samples.
    Sample(usize),
    /// The part does not have it.
    Absent,
}

impl ColumnSource {
    /// The column of the sample files that has it.
    pub(super) fn stored(&self) -> Option<&str> {
        match self {
            Self::Row => Some("row"),
            Self::Id => Some("id"),
            Self::Record => Some("record"),
            Self::Metadata(name) => Some(name),
            Self::Virtual(column) => column.is_of_record().then_some("record"),
            Self::Tokens | Self::ScoredTokens | Self::Truncated => None,
        }
    }

    /// Whether it is counted by an encoding.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self, Self::Tokens | Self::ScoredTokens | Self::Truncated)
    }
}

/// `name`, with `_` after it as often as needed to differ from the names already taken.
pub(crate) fn free_name(name: &str, taken: &mut Vec<String>) -> String {
    let mut free = name.to_string();
    while taken.contains(&free) {
        free.push('_');
    }
    taken.push(free.clone());
    free
}
