//! Query side of covariances: the target's losses, packed for the terms of a question.

use std::collections::BTreeMap;
use std::ops::Range;

use gstore_core::Cancel;
use gstore_core::correlation::is_constant;
use gstore_store::RowSet;

use super::Prepared;
use super::loss_sides::LossSides;
use super::target_rows::TargetRow;
use super::target_vectors::TargetVectors;
use crate::daunce::{Center, Centring, Covariance, MissingCells, Models, Products, Score};
use crate::error::QueryError;
use crate::influence::plan::covariance::PlanModels;
use crate::influence::result::Reason;
use crate::influence::scan::terms::Terms;
use crate::influence::spec::Within;

/// The queries of a question, or of a part of it.
pub(crate) struct LossOperands {
    /// Rows, subtasks and terms; its vectors are the products'.
    pub(crate) target: TargetVectors,
    pub(crate) products: Products,
    /// Live rows that are no candidates because they occur in the target.
    pub(crate) in_target: u64,
}

impl Prepared {
    /// What the datasets have as a whole, read at the first call.
    pub(crate) fn loss_sides(&self, cancel: &Cancel) -> Result<&LossSides, QueryError> {
        self.inputs.losses.get_or_try_init(|| LossSides::open(self, cancel))
    }

    pub(crate) fn loss_operands(&self, cancel: &Cancel) -> Result<&LossOperands, QueryError> {
        self.loaded
            .losses_by_terms
            .get_or_try_init(|| LossOperands::open(self, self.spec().collapses(), cancel))
    }

    /// A query for each target sample.
    pub(crate) fn loss_operands_by_sample(&self, cancel: &Cancel) -> Result<&LossOperands, QueryError> {
        self.loaded.losses_by_sample.get_or_try_init(|| {
            let mut operands = LossOperands::open(self, false, cancel)?;
            operands.target.terms = Terms::each(operands.target.rows.len());
            Ok(operands)
        })
    }

    pub(crate) fn covariance(&self) -> Result<&Covariance, QueryError> {
        self.spec().covariance.as_ref().ok_or_else(no_losses)
    }

    pub(super) fn plan_models(&self) -> Result<&PlanModels, QueryError> {
        self.plan().models().ok_or_else(no_losses)
    }
}

fn no_losses() -> QueryError {
    QueryError::Spec("the question compares vectors, not losses".into())
}

impl LossOperands {
    fn open(prepared: &Prepared, collapse: bool, cancel: &Cancel) -> Result<Self, QueryError> {
        let (covariance, sides) = (prepared.covariance()?, prepared.loss_sides(cancel)?);
        let members = prepared.target_rows()?;
        let (left_out, values) = usable(prepared, (covariance, sides), &members.rows, cancel)?;
        let usable = members.rows.iter().zip(&left_out).filter(|(_, reason)| reason.is_none());
        let places: BTreeMap<(u32, u64), usize> =
            usable.enumerate().map(|(i, (row, _))| ((row.target, row.row), i)).collect();
        let (rows, subtasks, excluded) = members.compared(&left_out, |excluded| {
            format!("{} lack losses, {} do not vary over the models", excluded.missing, excluded.constant)
        })?;
        let k = sides.centring.models().len();
        let of = |row: &TargetRow| {
            let at = places.get(&(row.target, row.row)).copied().unwrap_or_default();
            &values[at * k..(at + 1) * k]
        };
        let spans: Vec<Range<usize>> =
            (0..subtasks.len() as u32).map(|s| TargetRow::of_subtask(&rows, s)).collect();
        let is_mean = prepared.spec().within == Within::Mean;
        let mut queries: Vec<f64> = Vec::new();
        let mut subtask_values: Vec<Range<usize>> = Vec::with_capacity(spans.len());
        for span in spans {
            let own = || rows[span.clone()].iter().map(of);
            // Means of losses stand for samples only where all of these have the same models. What another
            // subtask lacks is no matter: the bits of a score are those of a question about this one alone.
            let is_one = collapse && own().flatten().all(|x| x.is_finite());
            match is_one {
                true => queries.extend(together(own(), &sides.centring, is_mean)),
                false => queries.extend(own().flatten()),
            }
            let start = subtask_values.last().map_or(0, |values| values.end);
            subtask_values.push(start..start + if is_one { 1 } else { span.len() });
        }
        let spec = prepared.spec();
        let terms = Terms { within: spec.within, across: spec.across, subtasks: subtask_values };
        Ok(Self {
            target: TargetVectors { subtasks, rows, excluded, terms, vectors: Vec::new() },
            products: Products::new(sides.centring.clone(), queries, covariance.min_models),
            in_target: prepared.live().saturating_sub(prepared.candidate_rows(cancel)?),
        })
    }
}

/// The mean of some queries, or what has their sum once it is centred.
fn together<'a>(queries: impl Iterator<Item = &'a [f64]>, centring: &Centring, is_mean: bool) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; centring.models().len()], 0usize);
    for query in queries {
        sum.iter_mut().zip(query).for_each(|(sum, x)| *sum += x);
        count += 1;
    }
    match is_mean {
        true => sum.iter_mut().for_each(|x| *x /= count.max(1) as f64),
        false => centring.subtract_other_means(&mut sum, count),
    }
    sum
}

/// Why each target row cannot be compared, if it cannot, and the losses of the others under the models. The
/// rows are in the order of their targets.
fn usable(
    prepared: &Prepared,
    (covariance, sides): (&Covariance, &LossSides),
    rows: &[TargetRow],
    cancel: &Cancel,
) -> Result<(Vec<Option<Reason>>, Vec<f64>), QueryError> {
    let (mut left_out, mut values) = (Vec::with_capacity(rows.len()), Vec::new());
    let (mut lacking, asked) = (0u64, rows.len() as u64);
    for (t, losses) in sides.targets.iter().enumerate() {
        cancel.check()?;
        let own: Vec<&TargetRow> = rows.iter().filter(|row| row.target as usize == t).collect();
        let block = losses.reader.read_rows(&RowSet::from_rows(own.iter().map(|row| row.row)))?;
        for row in own {
            let found = block.rows.binary_search(&row.row).ok();
            let Some(i) = found.filter(|i| !losses.lacks_offset(&block, *i)) else {
                left_out.push(Some(Reason::Missing));
                continue;
            };
            let own: Vec<f64> = losses.of_row(&block, i).collect();
            left_out.push(match cells(covariance, sides.centring.models(), &own) {
                Cells::Lacking => {
                    lacking += 1;
                    Some(Reason::Missing)
                }
                Cells::Without(reason) => Some(reason),
                Cells::Enough if covariance.how.score == Score::Corr && does_not_vary(covariance, &own) => {
                    Some(Reason::Constant)
                }
                Cells::Enough => {
                    values.extend(own);
                    None
                }
            });
        }
    }
    if lacking > 0 {
        let dataset = prepared.spec().target_names().join(", ");
        return Err(QueryError::MissingLosses { rows: lacking, scanned: asked, dataset });
    }
    Ok((left_out, values))
}

/// Whether no correlation can be taken of some losses; of those of several base models there may be none all
/// the same.
fn does_not_vary(covariance: &Covariance, values: &[f64]) -> bool {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    covariance.how.center == Center::Row && is_constant(&finite)
}

/// What the losses of a row allow.
pub(crate) enum Cells {
    /// A score.
    Enough,
    /// None, for this reason.
    Without(Reason),
    /// An error: some are missing, and nothing was said of that.
    Lacking,
}

/// What the losses of a row allow.
pub(crate) fn cells(covariance: &Covariance, models: &Models, values: &[f64]) -> Cells {
    let there = || (0..values.len()).filter(|k| values[*k].is_finite());
    let enough_for = || models.some(&there().collect::<Vec<_>>()).enough_for(covariance.how.center);
    let finite = there().count();
    match covariance.missing {
        // A loss is finite or missing: a row that lacks all of these is as one without any.
        _ if finite == 0 => Cells::Without(Reason::Missing),
        _ if finite == values.len() => Cells::Enough,
        MissingCells::Error => Cells::Lacking,
        _ if enough_for() < covariance.min_models => Cells::Without(Reason::Missing),
        _ => Cells::Enough,
    }
}
