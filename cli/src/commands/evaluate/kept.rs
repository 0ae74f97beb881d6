//! Unfinished work of an evaluation, kept next to its result.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::args::ReportArgs;
use crate::failure::refuse;
use crate::held;
use crate::output::{OutputTarget, path_beside};

/// A folder next to the result that keeps work until all of it is done; none for a stream.
pub struct WorkFolder(pub Option<PathBuf>);

/// The file that tells such a folder.
const MARK: &str = "evaluation-in-work";

impl WorkFolder {
    /// Next to the file of the report, else next to its folder.
    pub fn next_to(args: &ReportArgs) -> Result<WorkFolder> {
        let place = match (OutputTarget::of(args.output.as_deref()), &args.report) {
            (OutputTarget::File(path), _) => Some(path),
            (_, Some(folder)) => Some(std::path::absolute(folder)?),
            _ => None,
        };
        let Some(place) = place else { return Ok(WorkFolder(None)) };
        let folder = path_beside(&place, ".part");
        let is_ours = |folder: &Path| -> Result<bool> {
            Ok(folder.join(MARK).exists() || fs_err::read_dir(folder)?.next().is_none())
        };
        if folder.exists() && !(folder.is_dir() && is_ours(&folder)?) {
            refuse!(
                "{} is in the way: it holds unfinished work; move it, or name another result",
                folder.display()
            );
        }
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join(MARK), "")?;
        Ok(WorkFolder(Some(folder)))
    }

    /// Removes it after a failure, unless some work is kept in it.
    pub fn remove_unused(&self) {
        let Some(folder) = &self.0 else { return };
        let is_unused = fs_err::read_dir(folder)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MARK)));
        if is_unused {
            // Best effort: the failure is what is told, and the next run takes the folder.
            let _ = held::remove(folder, MARK);
        }
    }

    /// Removes what the report has made useless.
    pub fn remove(self) -> Result<()> {
        let Some(folder) = self.0 else { return Ok(()) };
        Ok(held::remove(&folder, MARK)?)
    }
}
