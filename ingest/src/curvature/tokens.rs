//! The consumer that hands the factors of gradients to the host, for what is asked of single tokens.

use std::ops::Range;

use gstore_model::Backend;

use super::error::PassError;
use super::sink::{FactorConsumer, ModuleFactorRows};

/// Takes the number of a module, its inputs `[rows, input]` with the constant of a bias, the gradients of its
/// outputs `[rows, out]`, and the rows of each sample: one for each of its tokens, if all are asked for.
pub(super) type FactorVisitor<'a> =
    &'a mut dyn FnMut(usize, &[f32], &[f32], &[Range<usize>]) -> Result<(), PassError>;

/// Hands on factors.
pub(super) struct TokenFactors<'a> {
    pub every_row: bool,
    pub each: FactorVisitor<'a>,
}

impl<B: Backend> FactorConsumer<B> for TokenFactors<'_> {
    fn every_row(&self) -> bool {
        self.every_row
    }

    fn take(&mut self, call: &ModuleFactorRows<'_, B>) -> Result<(), PassError> {
        let inputs = call.backend.to_host(&call.inputs()?)?;
        for part in call.parts {
            let module = &call.modules.list[part.module];
            let grads = call.backend.to_host(&part.grad)?;
            call.check(part.module, "an input", module.input, &inputs)?;
            call.check(part.module, "an output gradient", module.out, &grads)?;
            (self.each)(part.module, &inputs, &grads, call.spans)?;
        }
        Ok(())
    }
}
