//! Files and folders that stand in for others while a command runs: messages call them what they stand for.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The path of each, and what it is called.
static KNOWN: Mutex<Vec<[String; 2]>> = Mutex::new(Vec::new());

/// From now on messages call what is at a path so.
pub fn stands_for(path: &Path, called: String) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).push([path.display().to_string(), called]);
}

/// A message with the names of what they stand for.
pub fn by_their_names(text: String) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().fold(text, |text, [path, called]| text.replace(path, called))
}
