//! The time that manifests record.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, for people. What is published never depends on it; `gc` compares it with
/// `keep_within`, and a repair, which has lost the catalog, takes the newer of two files.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
