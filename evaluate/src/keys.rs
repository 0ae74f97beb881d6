//! Default keys of predictions and references in records.

/// Keys of a prediction, in order of preference. A record with none of them gives the assistant's last
/// message.
pub(crate) const PREDICTION: [&str; 2] = ["prediction", "completion"];

pub(crate) const REFERENCE: [&str; 5] =
    ["reference", "references", "expected", "expected_completion", "answers"];

/// Ending of the keys under which one record has the answers of several models.
pub(crate) const COMPLETION: &str = "_completion";
