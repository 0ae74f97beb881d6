//! State of a repair: what it knows and has done so far.

use super::dead::DeadRows;
use super::files::Files;
use super::report::{RepairOptions, RepairReport};
use crate::layout::Env;
use crate::manifest::{DatasetPart, PartLink};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// A repair under way.
pub(super) struct Repair<'a> {
    pub env: &'a Arc<Env>,
    pub options: &'a RepairOptions,
    pub store_id: Uuid,
    pub ledger_bad: bool,
    pub report: RepairReport,
    pub files: Files,
    /// Files with a problem, relative to the store.
    pub bad: HashSet<String>,
    /// Where the content of files is that a dry run does not put back.
    pub places: HashMap<String, String>,
    /// Those that the repaired snapshot does without.
    pub handled: HashSet<String>,
    /// Those that interrupted jobs were publishing and that no sound snapshot has.
    pub claimed: HashSet<String>,
}

impl Repair<'_> {
    pub fn is_bad(&self, file: &str) -> bool {
        self.bad.contains(file)
    }

    /// Where the content of a file is: under its own name, unless this is a dry run and it would be put back.
    pub fn place_of<'n>(&'n self, file: &'n str) -> &'n str {
        self.places.get(file).map_or(file, String::as_str)
    }
}

/// A dataset being repaired.
pub(super) struct DatasetWork {
    pub part: DatasetPart,
    /// Its manifest, while it is as it was.
    pub link: Option<PartLink>,
    pub rebuilt: bool,
    /// Of rows from here on that no file has it is not known what they were.
    pub gaps_from: Option<u64>,
    pub dead: DeadRows,
}
