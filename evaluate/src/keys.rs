//! Keys under which records have predictions and references where none is named.

/// Keys of a prediction where none is named, the first that a record has; then what the assistant says last.
pub(crate) const PREDICTION: [&str; 2] = ["prediction", "completion"];

/// Keys of a reference.
pub(crate) const REFERENCE: [&str; 5] =
    ["reference", "references", "expected", "expected_completion", "answers"];

/// Ending of the keys under which one record has the answers of several models.
pub(crate) const COMPLETION: &str = "_completion";
