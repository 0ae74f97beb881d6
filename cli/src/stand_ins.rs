//! Files and folders that stand in for others while a command runs: messages call them what they stand for.

use std::path::Path;
use std::sync::Mutex;

use gstore_core::locked;

/// The path of each, and what it is called.
static KNOWN: Mutex<Vec<[String; 2]>> = Mutex::new(Vec::new());

/// From now on messages call what is at a path so.
pub fn stands_for(path: &Path, called: String) {
    locked(&KNOWN).push([path.display().to_string(), called]);
}

/// From now on messages call what is at a path by that path.
pub fn stands_for_itself(path: &Path) {
    let path = path.display().to_string();
    locked(&KNOWN).retain(|[known, _]| *known != path);
}

/// A message with the names of what they stand for.
pub fn by_their_names(text: String) -> String {
    let known = locked(&KNOWN);
    known.iter().fold(text, |text, [path, called]| text.replace(path, called))
}
