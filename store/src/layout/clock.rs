//! The time that manifests record.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. For people only: nothing depends on clocks.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
