//! Models that are in the folder of an ensemble before a training.

use std::path::Path;
use std::time::Duration;

use gstore_core::Cancel;
use gstore_model::Backend;
use gstore_store::vfs::FileLock;

use super::super::member::{MemberOutcome, lock, numbers, remove};
use super::Ensemble;
use crate::error::TrainError;

/// The file that is locked while models are removed, and the time between two looks at it.
const REPLACING: &str = ".replacing.lock";
const PAUSE: Duration = Duration::from_millis(20);

/// Models of a folder, before others are trained.
pub(super) struct ExistingModels {
    /// How many of those that are asked for stay, complete or refused.
    pub there: u64,
    /// Numbers of those to remove first.
    pub replaced: Vec<u64>,
}

impl<B: Backend + Clone> Ensemble<B> {
    /// Looks at the records of all models, also of those that are not asked for: a folder has one ensemble.
    /// With permission to overwrite, those of another one are replaced, and those that are asked for if none
    /// is missing; an ensemble that was stopped goes on.
    pub(super) fn found(&self, cancel: &Cancel) -> Result<ExistingModels, TrainError> {
        let (members, range) = (self.request.members(), &self.request.models);
        let overwrites = self.request.training.saving.overwrite;
        let (mut there, mut replaced) = (Vec::new(), Vec::new());
        for model in numbers(&members)? {
            cancel.check()?;
            match MemberOutcome::read(&members, model, Some(&self.asked)) {
                Ok(Some(_)) if range.contains(&model) => there.push(model),
                Ok(_) => {}
                Err(TrainError::OtherTraining { .. } | TrainError::Checkpoint { .. }) if overwrites => {
                    replaced.push(model);
                }
                Err(error) => return Err(error),
            }
        }
        if overwrites && there.len() as u64 == range.end - range.start {
            replaced.append(&mut there);
        }
        if !replaced.is_empty() {
            self.check_start_stays(&members)?;
        }
        Ok(ExistingModels { there: there.len() as u64, replaced })
    }

    /// Removes the models that are to be replaced, and gives how many of those that are asked for stay.
    ///
    /// They were `found` before hidden states were computed. Other processes of the ensemble may have
    /// replaced some since, so that those are looked for again, by one process at a time: each that has done
    /// so leaves no model of another training, and no other then removes one that it trains.
    pub(super) fn remove_replaced(&self, found: ExistingModels, cancel: &Cancel) -> Result<u64, TrainError> {
        if found.replaced.is_empty() {
            return Ok(found.there);
        }
        let members = self.request.members();
        let _alone = loop {
            cancel.check()?;
            match FileLock::of(&members.join(REPLACING))? {
                Some(lock) => break lock,
                None => std::thread::sleep(PAUSE),
            }
        };
        let found = self.found(cancel)?;
        for model in found.replaced {
            let _lock = lock(&members, model)?;
            remove(&members, model)?;
        }
        Ok(found.there)
    }

    fn check_start_stays(&self, members: &Path) -> Result<(), TrainError> {
        let training = &self.request.training;
        let members = fs_err::canonicalize(members)?;
        for read in [Some(&training.model), training.method.adapter()].into_iter().flatten() {
            let folder = fs_err::canonicalize(read)?;
            if folder.starts_with(&members) {
                let what = "copies start from it, and are to take its place: give another output folder";
                return Err(TrainError::checkpoint(&folder, what));
            }
        }
        Ok(())
    }
}
