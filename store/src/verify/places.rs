//! Check of a store's own folder for files where writers need folders, and folders where they need files.

use super::report::Tally;
use crate::error::Damage;
use crate::layout::names::{ARTIFACTS, INDEXES, LEASES, LEDGER, LOCK, SUMS};
use crate::store::{FOLDERS, Store};
use std::io::{ErrorKind, Result};
use std::path::Path;

/// Reports them; nothing that is published needs these places, and what is missing is made by the next writer.
/// Returns what a repair says, since it moves nothing away.
pub(crate) fn check_places(store: &Store, tally: &mut Tally<'_>) -> Vec<String> {
    let vfs = store.env().vfs();
    let mut said = Vec::new();
    let mut check = |name: &str, wanted: &str, look: &dyn Fn(&Path) -> Result<()>| {
        let place = store.env().at(name);
        let looked = || look(&place).map_err(|e| e.kind());
        let found = match looked() {
            Err(ErrorKind::NotADirectory) => "a file; move it away",
            Err(ErrorKind::IsADirectory) => "a folder; move it away",
            // A writer may make it at this moment.
            Err(ErrorKind::NotFound)
                if vfs.exists(&place).unwrap_or(false) && looked() == Err(ErrorKind::NotFound) =>
            {
                "a link to nothing; remove it"
            }
            _ => return,
        };
        tally.problem(name, &Damage::new(name, "what it is", wanted, found).into(), None);
        said.push(format!("{name} is {found}"));
    };
    for name in FOLDERS.into_iter().chain([LEASES, INDEXES, ARTIFACTS]) {
        check(name, "a folder", &|place| vfs.list(place).map(drop));
    }
    for name in [LOCK, LEDGER, SUMS] {
        check(name, "a file", &|place| vfs.open(place).map(drop));
    }
    said
}
