//! AdamW settings of a checkpoint, and the note on those that a resumed training does not keep.

use std::path::{Path, PathBuf};

use gstore_model::weights::{AdamConstants, MomentsFile, peak_rate};

use crate::optimizer::OptimizerKind;
use crate::request::StepOptions;

/// What AdamW was set to, as far as a checkpoint says it. A training goes on with what it is asked for.
pub(crate) struct AdamSettings {
    folder: PathBuf,
    constants: Option<AdamConstants>,
    weight_decay: Option<f64>,
    /// The highest rate.
    learning_rate: Option<f64>,
}

impl AdamSettings {
    pub fn read(folder: &Path, state: &MomentsFile) -> AdamSettings {
        AdamSettings {
            folder: folder.to_owned(),
            constants: state.constants().first().copied(),
            // The group of biases and norms has none.
            weight_decay: state.group_values("weight_decay").into_iter().reduce(f64::max),
            // Without a scheduler that can be read, a training can go on all the same.
            learning_rate: peak_rate(folder).ok().flatten(),
        }
    }

    /// What is to be said where a training is asked for other values.
    pub fn note(&self, asked: &StepOptions) -> Option<String> {
        let OptimizerKind::AdamW(adamw) = asked.optimizer else { return None };
        let (betas, eps) = (self.constants.map(|had| had.betas), self.constants.map(|had| had.eps));
        let (mut had, mut taken) = (Vec::new(), Vec::new());
        for (name, was, now) in [
            ("beta1", betas.map(|betas| betas[0]), adamw.beta1),
            ("beta2", betas.map(|betas| betas[1]), adamw.beta2),
            ("eps", eps, adamw.eps),
            ("weight decay", self.weight_decay, adamw.weight_decay),
            ("learning rate", self.learning_rate, asked.learning_rate),
        ] {
            if let Some(was) = was.filter(|was| *was != now) {
                had.push(format!("{name} {was:?}"));
                taken.push(format!("{name} {now:?}"));
            }
        }
        let folder = self.folder.display();
        let (had, taken) = (had.join(", "), taken.join(", "));
        (!had.is_empty())
            .then(|| format!("{folder}: its optimizer had {had}; the training goes on with {taken}"))
    }
}
