//! The consumer that sums outer products of inputs and of output gradients.

use std::ops::Range;

use gstore_curvature::{Blocks, Covariance};
use gstore_model::Backend;

use super::blocks::block_columns;
use super::error::PassError;
use super::sink::{FactorConsumer, ModuleFactorRows};

/// Rows whose products are summed in f32.
const SUMMED_ROWS: usize = 256;

/// Sums of a module: over its inputs, and over the gradients of its outputs.
type CovariancePair = (Covariance, Covariance);

/// Adds to the sums of each module. Inputs that modules have in common are multiplied once.
///
/// Memory: one product at most.
pub(super) struct CovarianceSums<'a> {
    /// For each module; empty where it is not wanted.
    pub out: &'a mut [CovariancePair],
}

impl CovarianceSums<'_> {
    fn add<B: Backend>(
        &mut self,
        call: &ModuleFactorRows<'_, B>,
        x: &B::Tensor,
        (what, modules): (&'static str, &[usize]),
        side: fn(&mut CovariancePair) -> &mut Covariance,
    ) -> Result<(), PassError> {
        let width = call.backend.size(x).1;
        // Modules with the same inputs have them in the same blocks.
        let first = modules.first().and_then(|module| self.out.get_mut(*module));
        let blocks = first.and_then(|pair| side(pair).blocks()).unwrap_or_else(|| Blocks::whole(width));
        for block in blocks.ranges() {
            let cut;
            let columns = match blocks.is_whole() {
                true => x,
                false => {
                    cut = call.backend.map_columns(x, &block_columns(width, &block))?;
                    &cut
                }
            };
            let found = self.add_block(call, columns, modules, (&block, side))?;
            if let Some(value) = found {
                return Err(overflow_error(call, x, what, modules, value));
            }
        }
        Ok(())
    }

    /// Adds the products of a block's columns to the sums of the modules; gives back the first that is no
    /// number.
    fn add_block<B: Backend>(
        &mut self,
        call: &ModuleFactorRows<'_, B>,
        columns: &B::Tensor,
        modules: &[usize],
        (block, side): (&Range<usize>, fn(&mut CovariancePair) -> &mut Covariance),
    ) -> Result<Option<f32>, PassError> {
        let mut found = None;
        call.backend.grams(columns, SUMMED_ROWS, &mut |rows, first, values| {
            found = found.or_else(|| not_finite_on_diagonal(&rows, first, values));
            for module in modules {
                if let Some(pair) = self.out.get_mut(*module) {
                    side(pair).add_block(block, rows.clone(), first, values);
                }
            }
        })?;
        let count = call.backend.size(columns).0 as u64;
        for module in modules.iter().filter(|_| block.start == 0) {
            if let Some(pair) = self.out.get_mut(*module) {
                side(pair).count += count;
            }
        }
        Ok(found)
    }
}

impl<B: Backend> FactorConsumer<B> for CovarianceSums<'_> {
    fn every_row(&self) -> bool {
        true
    }

    fn take(&mut self, call: &ModuleFactorRows<'_, B>) -> Result<(), PassError> {
        let modules: Vec<usize> = call.parts.iter().map(|part| part.module).collect();
        self.add(call, &call.inputs()?, ("an input", modules.as_slice()), |pair| &mut pair.0)?;
        for part in call.parts {
            let what = ("an output gradient", std::slice::from_ref(&part.module));
            self.add(call, &part.grad, what, |pair| &mut pair.1)?;
        }
        Ok(())
    }
}

/// The first value on the diagonal that is no number, of rows of a sum of outer products. No other is larger
/// than the larger of the two on the diagonal in its row and column, and a NaN or an infinity of a token is
/// on the diagonal too.
fn not_finite_on_diagonal(rows: &Range<usize>, first: usize, values: &[f32]) -> Option<f32> {
    let width = values.len() / rows.len().max(1);
    let lines = values.chunks_exact(width.max(1));
    lines.zip(rows.clone()).map(|(line, row)| line[row - first]).find(|value| !value.is_finite())
}

/// What made a product `value`.
fn overflow_error<B: Backend>(
    call: &ModuleFactorRows<'_, B>,
    x: &B::Tensor,
    what: &'static str,
    modules: &[usize],
    value: f32,
) -> PassError {
    let module = modules.first().copied().unwrap_or(0);
    let checked = call.backend.to_host(x).map_err(PassError::from);
    match checked.and_then(|values| call.check(module, what, call.backend.size(x).1, &values)) {
        Ok(()) => PassError::Overflow { module: call.modules.list[module].name.clone(), what, value },
        Err(error) => error,
    }
}
