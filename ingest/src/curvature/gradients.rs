//! The consumer that forms the gradients of samples, one module at a time.

use std::collections::BTreeMap;

use gstore_model::Backend;

use super::bases::ModuleBases;
use super::error::PassError;
use super::sink::{FactorConsumer, ModuleFactorRows, OutputGradients};

/// Takes the number of a module and the gradients of a batch's samples, one after the other, `[out, input]`
/// each.
pub(super) type GradientVisitor<'a> = &'a mut dyn FnMut(usize, &[f32]) -> Result<(), PassError>;

/// Adds up gradients, and hands on those of a module when all its maps have come, whether finite or not.
///
/// Memory: a gradient of one module for each sample; in the last layer, where fused maps come apart, of a
/// second.
pub(super) struct GradientRows<'a, B: Backend> {
    samples: usize,
    /// Whether the batch counts as one sample: a gradient is then the sum of those of all.
    summed: bool,
    /// What gradients are turned into, if they are.
    bases: Option<&'a ModuleBases<B>>,
    each: GradientVisitor<'a>,
    /// Gradients of modules of which some maps have come, and how many.
    open: BTreeMap<usize, (B::Rows, usize)>,
    spare: Option<B::Rows>,
}

impl<'a, B: Backend> GradientRows<'a, B> {
    pub fn new(samples: usize, bases: Option<&'a ModuleBases<B>>, each: GradientVisitor<'a>) -> Self {
        Self { samples, summed: false, bases, each, open: BTreeMap::new(), spare: None }
    }

    /// Sums over the samples of a batch.
    pub fn summed(each: GradientVisitor<'a>) -> Self {
        Self { summed: true, ..Self::new(1, None, each) }
    }

    fn add(
        &mut self,
        call: &ModuleFactorRows<'_, B>,
        part: &OutputGradients<B>,
        [x, grad]: [&B::Tensor; 2],
    ) -> Result<(), PassError> {
        let module = &call.modules.list[part.module];
        let (mut rows, seen) = match self.open.remove(&part.module) {
            Some(open) => open,
            None => (call.backend.rows(self.samples, module.len(), self.spare.take())?, 0),
        };
        let whole = [0..call.backend.size(x).0];
        let spans = if self.summed { &whole[..] } else { call.spans };
        call.backend.weight_grads(x, grad, spans, &mut rows, 0)?;
        let seen = seen + part.pieces;
        if seen < call.modules.pieces[part.module] {
            self.open.insert(part.module, (rows, seen));
            return Ok(());
        }
        (self.each)(part.module, call.backend.host_rows(&mut rows)?)?;
        self.spare = Some(rows);
        Ok(())
    }
}

impl<B: Backend> FactorConsumer<B> for GradientRows<'_, B> {
    fn every_row(&self) -> bool {
        false
    }

    fn take(&mut self, call: &ModuleFactorRows<'_, B>) -> Result<(), PassError> {
        let Some(bases) = self.bases else {
            let x = call.inputs()?;
            return call.parts.iter().try_for_each(|part| self.add(call, part, [&x, &part.grad]));
        };
        let mut turned: Vec<(usize, B::Tensor)> = Vec::new();
        for part in call.parts {
            let basis = bases.of(&call.modules.list[part.module], part.module)?;
            let x = match turned.iter().find(|(input, _)| *input == basis.input) {
                Some((_, x)) => x.clone(),
                None => {
                    let x = bases.inputs(call.backend, basis.input, call.x)?;
                    turned.push((basis.input, x.clone()));
                    x
                }
            };
            self.add(call, part, [&x, &basis.gradients(call.backend, &part.grad)?])?;
        }
        Ok(())
    }
}
