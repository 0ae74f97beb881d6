//! What stands in the way in the store's own folder: where writers need a folder, a file, and the other way
//! round.

use super::report::Tally;
use crate::error::Damage;
use crate::layout::names::{ARTIFACTS, INDEXES, LEASES, LEDGER, LOCK, SUMS};
use crate::store::{FOLDERS, Store};
use std::io::{ErrorKind, Result};

/// Reports it; nothing that is published needs these, and what is missing is made by the next writer. Returns what a
/// repair says, since it moves nothing away.
pub(crate) fn check_places(store: &Store, tally: &mut Tally<'_>) -> Vec<String> {
    let vfs = store.env().vfs();
    let mut said = Vec::new();
    let mut look = |name: &str, wanted: &str, looked: Result<()>| {
        let found = match looked.map_err(|e| e.kind()) {
            Err(ErrorKind::NotADirectory) => "a file; move it away",
            Err(ErrorKind::IsADirectory) => "a folder; move it away",
            Err(ErrorKind::NotFound) if vfs.exists(&store.env().at(name)).unwrap_or(false) => {
                "a link to nothing; remove it"
            }
            _ => return,
        };
        tally.problem(name, &Damage::new(name, "what it is", wanted, found).into(), None);
        said.push(format!("{name} is {found}"));
    };
    for name in FOLDERS.into_iter().chain([LEASES, INDEXES, ARTIFACTS]) {
        look(name, "a folder", vfs.list(&store.env().at(name)).map(drop));
    }
    for name in [LOCK, LEDGER, SUMS] {
        look(name, "a file", vfs.open(&store.env().at(name)).map(drop));
    }
    said
}
