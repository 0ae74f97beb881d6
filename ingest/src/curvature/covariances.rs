//! The consumer that sums outer products of inputs and of output gradients.

use gstore_curvature::Covariance;
use gstore_model::Backend;

use super::error::{PassError, not_finite};
use super::sink::{Call, Consumer};

/// Rows whose products are summed in f32.
const SUMMED_ROWS: usize = 512;

/// Sums of a module: over its inputs, and over the gradients of its outputs.
pub(super) type Pair = (Covariance, Covariance);

/// Adds to the sums of each module. Inputs that modules have in common are multiplied once.
///
/// Memory: one product.
pub(super) struct CovarianceSums<'a, B: Backend> {
    /// For each module; empty where it is not wanted.
    out: &'a mut [Pair],
    spare: Option<B::Rows>,
}

impl<'a, B: Backend> CovarianceSums<'a, B> {
    pub fn new(out: &'a mut [Pair]) -> Self {
        Self { out, spare: None }
    }

    fn add(
        &mut self,
        call: &Call<'_, B>,
        x: &B::Tensor,
        (what, modules): (&'static str, &[usize]),
        side: fn(&mut Pair) -> &mut Covariance,
    ) -> Result<(), PassError> {
        let (rows, width) = call.backend.size(x);
        for start in (0..rows).step_by(SUMMED_ROWS) {
            let span = start..rows.min(start + SUMMED_ROWS);
            let mut sums = call.backend.rows(1, width * width, self.spare.take())?;
            call.backend.gram(x, std::slice::from_ref(&span), &mut sums, 0)?;
            let values: &[f32] = call.backend.host_rows(&mut sums)?;
            if let Some(value) = not_finite(values) {
                return Err(blame(call, x, what, modules, value));
            }
            for module in modules {
                if let Some(pair) = self.out.get_mut(*module) {
                    side(pair).add(values, span.len() as u64);
                }
            }
            self.spare = Some(sums);
        }
        Ok(())
    }
}

impl<B: Backend> Consumer<B> for CovarianceSums<'_, B> {
    fn every_row(&self) -> bool {
        true
    }

    fn take(&mut self, call: &Call<'_, B>) -> Result<(), PassError> {
        let modules: Vec<usize> = call.parts.iter().map(|part| part.module).collect();
        self.add(call, &call.inputs()?, ("an input", modules.as_slice()), |pair| &mut pair.0)?;
        for part in call.parts {
            let what = ("an output gradient", std::slice::from_ref(&part.module));
            self.add(call, &part.grad, what, |pair| &mut pair.1)?;
        }
        Ok(())
    }
}

/// What made a product `value`.
fn blame<B: Backend>(
    call: &Call<'_, B>,
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
