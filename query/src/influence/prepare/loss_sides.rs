//! Losses of the pools and targets as a whole: readers, the models that all have, their means.
//!
//! It is found once and is the same for every part of a question.

use std::ops::ControlFlow;

use gstore_core::{Cancel, many_of, parallel};
use gstore_store::{LossBlock, LossReader, LossWanted, RowSet};

use super::Prepared;
use super::target_rows::target_rows;
use crate::daunce::{Center, Centring, Covariance, MissingCells, Models};
use crate::error::QueryError;
use crate::influence::plan::covariance::{PlanModels, check_count};
use crate::influence::plan::side::PlanSide;

/// The losses of a dataset, and which columns of theirs are those of the models.
pub(crate) struct OpenLosses {
    pub(crate) reader: LossReader,
    pub(crate) columns: Vec<usize>,
    /// What is subtracted from the losses: not in every centring does the offset of a row cancel.
    pub(crate) center: Center,
}

/// What the datasets have as a whole.
pub(crate) struct LossSides {
    pub(crate) pools: Vec<OpenLosses>,
    pub(super) targets: Vec<OpenLosses>,
    pub(crate) centring: Centring,
    pub(crate) notes: Vec<String>,
}

impl OpenLosses {
    fn open(prepared: &Prepared, models: &PlanModels, side: &PlanSide) -> Result<Self, QueryError> {
        let dataset = side.dataset.name.as_str();
        let ensemble = prepared.snapshot().ensemble(&models.ensemble)?;
        let wanted = LossWanted { dataset, encoding: side.losses.as_deref(), signal: Some(&models.signal) };
        let reader = prepared.snapshot().open_losses(ensemble, &wanted)?;
        let column = |place: &usize| {
            let at = reader.table().members.binary_search(place);
            at.map_err(|_| QueryError::Spec(format!("dataset `{dataset}` has no losses of model {place}")))
        };
        let columns = models.members.iter().map(column).collect::<Result<_, _>>()?;
        Ok(Self { reader, columns, center: prepared.covariance()?.how.center })
    }

    /// The losses of a row of a block, those of the models alone: their differences from the row's offset
    /// where that cancels or is the loss of the base model; NaN where it is needed and not known.
    pub(crate) fn of_row<'a>(&'a self, block: &'a LossBlock, i: usize) -> impl Iterator<Item = f64> + 'a {
        let row = block.row(i);
        let offset = match self.center {
            _ if self.lacks_offset(block, i) => f64::NAN,
            Center::Model => block.offset.get(i).map_or(f64::NAN, |x| f64::from(*x)),
            // Changes no bits, those of zeros included.
            Center::Row | Center::Both | Center::Base => -0.0,
        };
        self.columns.iter().map(move |k| row.get(*k).map_or(f64::NAN, |x| f64::from(*x) + offset))
    }

    /// What [`Self::of_row`] leaves out of the losses of a row of a block although means of models need it;
    /// NaN if it is lost.
    fn left_out_offset(&self, block: &LossBlock, i: usize) -> f64 {
        match self.center {
            Center::Both => block.offset.get(i).filter(|x| x.is_finite()).map_or(f64::NAN, |x| f64::from(*x)),
            Center::Row | Center::Model | Center::Base => 0.0,
        }
    }

    /// Whether a row of a block has losses that cannot be centred: nothing says what they are relative to.
    pub(crate) fn lacks_offset(&self, block: &LossBlock, i: usize) -> bool {
        let is_known = match self.center {
            Center::Row | Center::Both => true,
            Center::Model => block.offset.get(i).is_some_and(|x| x.is_finite()),
            Center::Base => block.has_offset.get(i) == Some(&true),
        };
        !is_known && block.row(i).iter().any(|x| x.is_finite())
    }
}

impl LossSides {
    pub(super) fn open(prepared: &Prepared, cancel: &Cancel) -> Result<Self, QueryError> {
        let (covariance, models) = (prepared.covariance()?, prepared.plan_models()?);
        let sides = prepared.pools().iter().chain(prepared.targets());
        let mut all = Vec::new();
        for side in sides {
            all.push(OpenLosses::open(prepared, models, side)?);
        }
        let targets = all.split_off(prepared.pools().len().min(all.len()));
        let no_means = Centring::new(models.models(), covariance.how_without_means(), Vec::new());
        let mut sides = Self { pools: all, targets, centring: no_means, notes: Vec::new() };
        let mut kept = models.models();
        if covariance.missing == MissingCells::DropModel {
            kept = sides.drop_models(prepared, (covariance, kept), cancel)?;
        }
        let means = match covariance.how.center.of_models() {
            true => sides.means(kept.len(), cancel)?,
            false => Vec::new(),
        };
        sides.centring = Centring::new(kept, covariance.how, means);
        Ok(sides)
    }

    /// Leaves out the models that lack the loss of a row that has some, and returns those that are left.
    fn drop_models(
        &mut self,
        prepared: &Prepared,
        (covariance, models): (&Covariance, Models),
        cancel: &Cancel,
    ) -> Result<Models, QueryError> {
        let mut lacks = vec![false; models.len()];
        let mut note = |losses: &OpenLosses, block: &LossBlock| {
            for i in (0..block.len()).filter(|_| block.missing > 0) {
                let finite: Vec<bool> = losses.of_row(block, i).map(f64::is_finite).collect();
                if finite.contains(&true) {
                    lacks.iter_mut().zip(&finite).for_each(|(lacks, finite)| *lacks |= !finite);
                }
            }
        };
        let mut block = LossBlock::default();
        for losses in &self.pools {
            for cell in losses.reader.cells() {
                cancel.check()?;
                losses.reader.read_cell(cell, None, &mut block)?;
                note(losses, &block);
            }
        }
        let rows = target_rows(prepared)?.rows;
        for (t, losses) in self.targets.iter().enumerate() {
            let own = rows.iter().filter(|row| row.target as usize == t).map(|row| row.row);
            note(losses, &losses.reader.read_rows(&RowSet::from_rows(own))?);
        }
        let kept: Vec<usize> = (0..models.len()).filter(|k| !lacks[*k]).collect();
        let left = models.some(&kept);
        check_count(&left, covariance, "with the losses of every row")?;
        if kept.len() < models.len() {
            self.notes.push(format!(
                "{} of {} models lack the loss of some row and are left out",
                models.len() - kept.len(),
                models.len()
            ));
        }
        for losses in self.pools.iter_mut().chain(&mut self.targets) {
            losses.columns = kept.iter().map(|k| losses.columns[*k]).collect();
        }
        Ok(left)
    }

    /// The mean of each model over the live rows of all pools that have its loss. Sums are taken cell by cell
    /// in the order of the rows.
    fn means(&mut self, models: usize, cancel: &Cancel) -> Result<Vec<f64>, QueryError> {
        let none = || [ModelSums::new(models), ModelSums::new(models)];
        // Of the rows with an offset, and of those that have lost theirs.
        let mut sums = none();
        for losses in &self.pools {
            let cells = losses.reader.cells();
            parallel::ordered::<_, _, QueryError>(
                cells.len(),
                0,
                cancel,
                LossBlock::default,
                |block, unit| {
                    losses.reader.read_cell(cells[unit], None, block)?;
                    let mut own = none();
                    for i in 0..block.len() {
                        let offset = losses.left_out_offset(block, i);
                        own[usize::from(offset.is_nan())].add(losses.of_row(block, i), offset);
                    }
                    Ok(own)
                },
                |own| {
                    sums.iter_mut().zip(&own).for_each(|(sums, own)| sums.merge(own));
                    Ok(ControlFlow::Continue(()))
                },
            )?;
        }
        let [known, lost] = sums;
        let mut all = known.clone();
        all.merge(&lost);
        // Means over the same rows all leave out the same, which cancels; those over different rows do not.
        if all.are_of_the_same_rows() {
            return Ok(all.means(|sum| sum.losses));
        }
        if known.models.iter().zip(&all.models).any(|(known, all)| known.rows == 0 && all.rows > 0) {
            return Err(QueryError::Spec(
                "all rows with losses of some model have lost their offsets, so its mean is not known: ask with `center => 'row'`"
                    .to_owned(),
            ));
        }
        if lost.rows > 0 {
            let rows =
                many_of(lost.rows, "row has lost its offset and is", "rows have lost their offsets and are");
            self.notes.push(format!("{rows} left out of the means of models"));
        }
        Ok(known.means(|sum| sum.losses + sum.offsets))
    }
}

/// Sums over rows, of each model over those that have its loss.
#[derive(Clone)]
struct ModelSums {
    /// Rows that have a loss.
    rows: u64,
    models: Vec<ModelSum>,
}

#[derive(Clone, Default)]
struct ModelSum {
    rows: u64,
    losses: f64,
    /// What the losses leave out.
    offsets: f64,
}

impl ModelSums {
    fn new(models: usize) -> Self {
        Self { rows: 0, models: vec![ModelSum::default(); models] }
    }

    fn add(&mut self, losses: impl Iterator<Item = f64>, offset: f64) {
        let mut has_any = false;
        for (sum, loss) in self.models.iter_mut().zip(losses).filter(|(_, loss)| loss.is_finite()) {
            sum.rows += 1;
            sum.losses += loss;
            sum.offsets += offset;
            has_any = true;
        }
        self.rows += u64::from(has_any);
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (sum, other) in self.models.iter_mut().zip(&other.models) {
            sum.rows += other.rows;
            sum.losses += other.losses;
            sum.offsets += other.offsets;
        }
    }

    fn are_of_the_same_rows(&self) -> bool {
        self.models.iter().all(|sum| sum.rows == self.rows)
    }

    /// A model without any loss is part of no score, whatever its mean.
    fn means(&self, total: fn(&ModelSum) -> f64) -> Vec<f64> {
        self.models.iter().map(|sum| total(sum) / sum.rows.max(1) as f64).collect()
    }
}
