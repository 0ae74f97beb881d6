//! An opened optimizer state: moments tensor by tensor.

use std::fmt;
use std::path::Path;

use super::error::MomentsError;
use super::optimizer::is_maximizing;
use super::state;
use super::trained::TrainedTensor;
use crate::files::TorchArchive;
use crate::files::pickle::{PickleValue, TensorRef};
use crate::params::TensorSpec;

/// Moments of one tensor, row-major in its canonical sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorMoments {
    /// First moment of the gradient; none where the optimizer keeps none.
    pub exp_avg: Option<Vec<f32>>,
    /// Second moment of the gradient; never negative.
    pub exp_avg_sq: Vec<f32>,
}

/// What an optimizer of Adam's kind computed its moments and its steps with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConstants {
    /// Decays of the first and of the second moment.
    pub betas: [f64; 2],
    /// Keeps the denominator from zero.
    pub eps: f64,
    /// Whether it divides by the maximum that the second moment has had. The maximum is never read.
    pub amsgrad: bool,
}

impl fmt::Display for AdamConstants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { betas: [first, second], eps, amsgrad } = self;
        let maximum = if *amsgrad { ", and the maximum of second moments (AMSGrad)" } else { "" };
        write!(f, "betas {first:?} and {second:?}, eps {eps:?}{maximum}")
    }
}

/// The moments of some tensors in an optimizer state; values are read when they are asked for.
pub struct MomentsFile {
    archive: TorchArchive,
    /// The wanted tensors.
    trained: Vec<TrainedTensor>,
    specs: Vec<TensorSpec>,
    /// For each of them, its entry in the state.
    places: Vec<usize>,
}

/// Keys of which a tensor's state of bitsandbytes has some.
const BITSANDBYTES: [&str; 3] = ["state1", "state2", "__bnb_optimizer_quant_state__"];

/// How a state holds the second moment of a tensor.
enum SecondMoment<'a> {
    Whole(&'a TensorRef),
    /// Means over the last axis and over the one before.
    Factors(&'a TensorRef, &'a TensorRef),
}

impl MomentsFile {
    /// Opens a state. `trained` are all tensors that the optimizer trained, in `named_parameters()` order;
    /// only those that are `wanted` need to be in the state and can be read.
    pub fn open(
        path: &Path,
        trained: Vec<TrainedTensor>,
        wanted: impl Fn(&TensorSpec) -> bool,
    ) -> Result<MomentsFile, MomentsError> {
        MomentsFile::of(TorchArchive::open(path)?, trained, wanted)
    }

    /// The same of a state whose archive is open.
    pub fn of(
        archive: TorchArchive,
        trained: Vec<TrainedTensor>,
        wanted: impl Fn(&TensorSpec) -> bool,
    ) -> Result<MomentsFile, MomentsError> {
        let found = state::find(&archive, &trained)?;
        let mut file = MomentsFile { archive, trained: Vec::new(), specs: Vec::new(), places: Vec::new() };
        for (tensor, place) in trained.into_iter().zip(found) {
            // Also of tensors that are not wanted: a wrong order of the parameters shows in them.
            if let Some(place) = place {
                file.check_shapes(&tensor, place)?;
            }
            if !wanted(&tensor.spec) {
                continue;
            }
            let Some(place) = place else {
                return Err(file.mismatch(format!("it has none for {}", tensor.spec.name)));
            };
            file.specs.push(tensor.spec.clone());
            file.trained.push(tensor);
            file.places.push(place);
        }
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.archive.path()
    }

    /// The constants of each parameter group that says them, as those of Adam and AdamW do.
    pub fn constants(&self) -> Vec<AdamConstants> {
        let amsgrad = self.is_amsgrad();
        let of = |group: &PickleValue| {
            let [first, second] = group.get("betas")?.items()? else { return None };
            let betas = [first.as_f64()?, second.as_f64()?];
            Some(AdamConstants { betas, eps: group.get("eps")?.as_f64()?, amsgrad })
        };
        state::settings(&self.archive).iter().filter_map(of).collect()
    }

    /// Whether the optimizer was AMSGrad, for some of the tensors at least.
    pub fn is_amsgrad(&self) -> bool {
        let has = |place: &usize| self.tensor(*place, "max_exp_avg_sq").is_some();
        state::is_set(&self.archive, "amsgrad") || self.places.iter().any(has)
    }

    /// Whether the optimizer went up the gradient, for some of the tensors at least: first moments are those
    /// of the negated gradient then.
    pub fn is_maximizing(&self) -> bool {
        is_maximizing(&self.archive)
    }

    /// The number of each parameter group that has one under this key.
    pub fn group_values(&self, key: &str) -> Vec<f64> {
        state::group_values(&self.archive, key)
    }

    /// The wanted tensors, in `named_parameters()` order.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Whether every wanted tensor has a first moment.
    pub fn has_first(&self) -> bool {
        self.places.iter().all(|place| self.first(*place).is_some())
    }

    /// Reads the moments of wanted tensor `index`.
    ///
    /// # Errors
    /// Values that no optimizer can have produced, and a damaged archive.
    pub fn read(&self, index: usize) -> Result<TensorMoments, MomentsError> {
        let exp_avg =
            self.first(self.places[index]).is_some().then(|| self.require_first(index)).transpose()?;
        Ok(TensorMoments { exp_avg, exp_avg_sq: self.read_second(index)? })
    }

    /// Reads the second moment of wanted tensor `index` only.
    pub fn read_second(&self, index: usize) -> Result<Vec<f32>, MomentsError> {
        let tensor = &self.trained[index];
        let values = match self.second(tensor, self.places[index])? {
            SecondMoment::Whole(whole) => self.read_checked(tensor, "exp_avg_sq", whole)?,
            SecondMoment::Factors(rows, columns) => {
                let rows = self.read_checked(tensor, "exp_avg_sq_row", rows)?;
                let columns = self.read_checked(tensor, "exp_avg_sq_col", columns)?;
                outer(&rows, &columns)
            }
        };
        Ok(tensor.canonical(values))
    }

    /// Reads the first moment of wanted tensor `index`, which must be there.
    pub(super) fn require_first(&self, index: usize) -> Result<Vec<f32>, MomentsError> {
        let tensor = &self.trained[index];
        let first = self.first(self.places[index]).ok_or_else(|| {
            self.mismatch(format!(
                "{} has no exp_avg of the gradient; Adam and AdamW keep one",
                tensor.spec.name
            ))
        })?;
        Ok(tensor.canonical(self.read_checked(tensor, "exp_avg", first)?))
    }

    /// Optimiser steps taken, where the state says so and all wanted tensors agree.
    pub fn step(&self) -> Result<Option<u64>, MomentsError> {
        let mut agreed = None;
        for (i, place) in self.places.iter().enumerate() {
            let step = self.step_of(*place)?;
            if step.is_none() || i > 0 && step != agreed {
                return Ok(None);
            }
            agreed = step;
        }
        Ok(agreed)
    }

    /// The number of steps: an integer or a tensor of one value, by version of torch.
    fn step_of(&self, place: usize) -> Result<Option<u64>, MomentsError> {
        let step = match self.state(place).get("step") {
            Some(PickleValue::Tensor(tensor)) if tensor.shape.iter().all(|d| *d == 1) => {
                self.archive.read_f32(tensor)?.first().map(|v| f64::from(*v))
            }
            Some(value) => value.as_f64(),
            None => None,
        };
        Ok(step.filter(|s| *s >= 0.0 && s.fract() == 0.0 && *s < 1e15).map(|s| s as u64))
    }

    fn state(&self, place: usize) -> &PickleValue {
        // Opening has found the entries.
        state::entries(&self.archive)
            .ok()
            .and_then(|entries| entries.get(place))
            .map_or(&PickleValue::None, |e| &e.1)
    }

    fn tensor(&self, place: usize, key: &str) -> Option<&TensorRef> {
        match self.state(place).get(key) {
            Some(PickleValue::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The average of gradients. What Adafactor (whose states have an `RMS`) keeps under that
    /// name averages updates.
    fn first(&self, place: usize) -> Option<&TensorRef> {
        self.tensor(place, "exp_avg").filter(|_| self.state(place).get("RMS").is_none())
    }

    fn second(&self, tensor: &TrainedTensor, place: usize) -> Result<SecondMoment<'_>, MomentsError> {
        let part = |key| self.tensor(place, key);
        match (part("exp_avg_sq"), part("exp_avg_sq_row"), part("exp_avg_sq_col")) {
            (Some(whole), _, _) => Ok(SecondMoment::Whole(whole)),
            (None, Some(rows), Some(columns)) => Ok(SecondMoment::Factors(rows, columns)),
            _ if BITSANDBYTES.iter().any(|key| self.state(place).get(key).is_some()) => {
                Err(MomentsError::Bitsandbytes { path: self.path().to_owned(), name: tensor.spec.name.clone() })
            }
            _ => Err(self.mismatch(format!(
                "{} has no exp_avg_sq; only states of Adam, AdamW and the Adafactor of transformers are understood",
                tensor.spec.name
            ))),
        }
    }

    fn check_shapes(&self, tensor: &TrainedTensor, place: usize) -> Result<(), MomentsError> {
        let shape = tensor.stored_shape();
        let numel = tensor.spec.numel();
        let check = |moment: &'static str, found: &TensorRef, expected: &[usize], may_be_flat: bool| {
            check_float(self.path(), moment, &tensor.spec, found)?;
            // Some trainers save moments flattened; the number of values then decides.
            if found.shape == expected || may_be_flat && found.shape == [numel] {
                return Ok(());
            }
            Err(self.mismatch(format!(
                "{moment} of {} has shape {:?}, the trained tensor {expected:?}",
                tensor.spec.name, found.shape
            )))
        };
        if let Some(first) = self.first(place) {
            check("exp_avg", first, &shape, true)?;
        }
        match self.second(tensor, place)? {
            SecondMoment::Whole(whole) => check("exp_avg_sq", whole, &shape, true),
            SecondMoment::Factors(rows, columns) => {
                let &[height, width] = &shape[..] else {
                    return Err(self.mismatch(format!("{} is factored but not a matrix", tensor.spec.name)));
                };
                check("exp_avg_sq_row", rows, &[height], false)?;
                check("exp_avg_sq_col", columns, &[width], false)
            }
        }
    }

    fn read_checked(
        &self,
        tensor: &TrainedTensor,
        moment: &'static str,
        values: &TensorRef,
    ) -> Result<Vec<f32>, MomentsError> {
        let values = self.archive.read_f32(values)?;
        check_values(self.archive.path(), moment, &tensor.spec, &values)?;
        Ok(values)
    }

    fn mismatch(&self, message: String) -> MomentsError {
        MomentsError::Mismatch { path: self.archive.path().to_owned(), message }
    }
}

/// An error if a moment's values are not floating point.
pub(super) fn check_float(
    path: &Path,
    moment: &'static str,
    spec: &TensorSpec,
    found: &TensorRef,
) -> Result<(), MomentsError> {
    match found.storage.scalar.not_float() {
        None => Ok(()),
        Some(dtype) => {
            let (path, name) = (path.to_owned(), spec.name.clone());
            Err(MomentsError::NotFloat { path, moment, name, dtype })
        }
    }
}

/// An error if a moment has a value that no optimizer makes: one that is not finite, or a negative square.
pub(super) fn check_values(
    path: &Path,
    moment: &'static str,
    spec: &TensorSpec,
    values: &[f32],
) -> Result<(), MomentsError> {
    let may_be_negative = matches!(moment, "exp_avg" | "momentum_buffer");
    match values.iter().find(|v| !v.is_finite() || (**v < 0.0 && !may_be_negative)) {
        None => Ok(()),
        Some(value) => {
            let (path, name) = (path.to_owned(), spec.name.clone());
            Err(MomentsError::BadValue { path, moment, name, value: *value })
        }
    }
}

/// Adafactor's estimate `row_i * column_j / mean(row)`. Source: Shazeer and Stern 2018, algorithm 4.
fn outer(rows: &[f32], columns: &[f32]) -> Vec<f32> {
    let mean = rows.iter().map(|v| f64::from(*v)).sum::<f64>() / rows.len().max(1) as f64;
    let mut out = Vec::with_capacity(rows.len() * columns.len());
    for row in rows {
        let share = if mean > 0.0 { f64::from(*row) / mean } else { 0.0 };
        out.extend(columns.iter().map(|column| (share * f64::from(*column)) as f32));
    }
    out
}
