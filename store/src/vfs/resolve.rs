//! Places that paths lead to.

use std::path::{Component, Path, PathBuf, absolute};

use super::parent;

/// Where a path leads, part by part: below what is there, `..` goes back to what would be made.
pub fn resolve(path: &Path) -> PathBuf {
    follow(path, 40)
}

/// The same over at most `links` links to what is missing.
fn follow(path: &Path, links: u8) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                place.pop();
            }
            part => place.push(part),
        }
        if let Ok(found) = fs_err::canonicalize(&place) {
            place = found;
        } else if let (Ok(missing), Some(links)) = (fs_err::read_link(&place), links.checked_sub(1)) {
            // What a link leads to is made where it leads.
            place = follow(&parent(&place).join(missing), links);
        }
    }
    place
}
