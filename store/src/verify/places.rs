//! Check of a store's own folder for files where writers need folders, and folders where they need files.

use super::report::Tally;
use crate::layout::names::{ARTIFACTS, INDEXES, LEASES, LEDGER, LOCK, LOCKS, SERVER, SUMS, UPLOADS};
use crate::store::{FOLDERS, Store};
use std::io::{ErrorKind, Result};
use std::path::Path;

/// Reports them; nothing that is published needs these places, and what is missing is made by the next writer.
/// Returns what a repair says, since it moves nothing away.
pub(crate) fn check_places(store: &Store, tally: &mut Tally<'_>) -> Vec<String> {
    let vfs = store.env().vfs();
    let mut said = Vec::new();
    let mut check = |name: &str, wanted: &str, look: &dyn Fn(&Path) -> Result<()>| {
        // What is wrong with the folder above says it all.
        if name.split_once('/').is_some_and(|(above, _)| tally.is_bad(above)) {
            return;
        }
        let place = store.env().at(name);
        let Err(e) = look(&place) else { return };
        let is_gone = || look(&place).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        let found = match e.kind() {
            ErrorKind::NotADirectory => "a file; move it away".to_owned(),
            ErrorKind::IsADirectory => format!("{e}; move it away"),
            // A writer may make it at this moment.
            ErrorKind::NotFound if vfs.exists(&place).unwrap_or(false) && is_gone() => {
                "a link to nothing; remove it".to_owned()
            }
            _ => return,
        };
        tally.in_the_way(name, wanted, &found);
        said.push(format!("{name} is {found}"));
    };
    for name in FOLDERS.into_iter().chain([LEASES, INDEXES, ARTIFACTS, SERVER, UPLOADS]) {
        check(name, "a folder", &|place| vfs.list(place).map(drop));
    }
    for name in [LOCK, LEDGER, SUMS].into_iter().chain(LOCKS) {
        check(name, "a file", &|place| vfs.open(place).map(drop));
    }
    said
}
