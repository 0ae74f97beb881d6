//! Publishing of a finished matrix under its name.
//!
//! Invariants
//! - parts are never without the question that they are of: the folder takes its name with both
//! - work is removed after its result is on the medium

use gstore_core::Cancel;
use gstore_store::vfs::{parent, sync_folder};

use super::error::MatrixError;
use super::files::{PartPlace, json, pretty, remove_temporary};
use super::join;
use super::place::{INFO, INFO_KEY};
use super::question::MatrixInfo;
use super::work::{TARGETS_KEY, WorkFolder};

impl WorkFolder<'_> {
    /// Lets the folder appear under its name.
    pub(super) fn publish_folder(self, info: &MatrixInfo) -> Result<(), MatrixError> {
        self.file(INFO).write(format!("{}\n", pretty(info)?).as_bytes())?;
        let hidden = &self.place.hidden;
        for group in &self.question.groups {
            remove_temporary(&hidden.join(&group.folder))?;
        }
        remove_temporary(hidden)?;
        sync_folder(hidden)?;
        self.place.set_aside()?;
        // An empty folder may stand in the place.
        fs_err::rename(hidden, &self.place.path)?;
        sync_folder(parent(&self.place.path))?;
        self.place.tidy()
    }

    /// Joins the parts and lets the file appear under its name.
    pub(super) fn publish_file(
        self,
        info: &MatrixInfo,
        targets: &str,
        cancel: &Cancel,
    ) -> Result<(), MatrixError> {
        let Some(notes) = self.noted_group(0)? else {
            return Err(MatrixError::Refused("a part is missing".into()));
        };
        let parts = (0..notes.len()).map(|part| self.part_path(0, part)).collect::<Result<Vec<_>, _>>()?;
        let whole =
            PartPlace { temporary: self.place.hidden.join("whole.tmp"), path: self.place.path.clone() };
        let metadata = [(INFO_KEY, &*json(info)?), (TARGETS_KEY, targets)];
        let joined = join::join(&whole.temporary, &parts, metadata, cancel);
        whole.made(joined.and_then(|file| whole.publish(&file)))?;
        self.discard()
    }
}
