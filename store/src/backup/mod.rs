//! Backups.

/// File in a backup's folder that says that it is one.
pub(crate) const MARKER: &str = "backup.json";
/// File in a folder that is being restored into.
pub(crate) const RESTORING: &str = "restore.json";
