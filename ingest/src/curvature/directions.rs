//! Products of the Gauss-Newton matrix with directions of the weights.
//!
//! With J the Jacobian of the logits of a scored token and p their softmax, the matrix of a sample is the sum
//! over its scored tokens of `J' (diag p - p p') J`. That is the mean of `G G'` over labels that are drawn
//! from p: the curvature that factors of the true Fisher matrix approximate, with the blocks between modules
//! as well.

use gstore_model::architectures::LinearId;
use gstore_model::{Backend, Direction, Sink, Slot};

use super::batch::{CurvatureBatch, TargetSample};
use super::error::{PassError, not_finite};
use super::gradients::GradientRows;
use super::head::HeadRows;
use super::pass::BatchRunner;
use super::sink::ModuleSink;

/// Directions of an engine's weights. Calls may run side by side from any number of threads.
pub trait Directions: Send + Sync {
    /// Adds the products of each direction with the matrix of a batch, the sum of those of its samples, to
    /// `out[direction]`, which is laid out as the direction. All directions share the forward pass. Products
    /// are in the precision of the backend, and a direction's have the same bits whatever the others are.
    ///
    /// # Errors
    /// Samples that the model cannot compute, and values that are not finite.
    fn products(&self, batch: &[TargetSample<'_>], out: &mut [Vec<f64>]) -> Result<(), PassError>;
}

pub(super) struct PackedDirections<'a, B: Backend> {
    runner: &'a BatchRunner<B>,
    packed: Vec<Direction<B>>,
    /// Where the values of each module begin.
    starts: Vec<usize>,
}

impl<'a, B: Backend> PackedDirections<'a, B> {
    pub fn new(runner: &'a BatchRunner<B>, values: &[&[f64]]) -> Result<Self, PassError> {
        let backend = runner.model.backend();
        let packed = values.iter().map(|values| Direction::new(backend, runner.modules.maps(values)));
        Ok(Self { runner, packed: packed.collect::<Result<_, _>>()?, starts: runner.modules.starts() })
    }
}

impl<B: Backend> Directions for PackedDirections<'_, B> {
    fn products(&self, batch: &[TargetSample<'_>], out: &mut [Vec<f64>]) -> Result<(), PassError> {
        let BatchRunner { model, modules, .. } = self.runner;
        let wanted: Vec<usize> = (0..modules.list.len()).collect();
        let batch = CurvatureBatch::new(batch, &wanted, wanted.len());
        if self.packed.is_empty() || !batch.has_tokens() {
            return Ok(());
        }
        let mut none = |_: usize, _: &[f32]| Ok(());
        let asked = ModuleSink::new(modules, &batch.wanted, GradientRows::<B>::summed(&mut none));
        let forward = self.runner.forward(&batch, &asked, false)?;
        for (direction, out) in self.packed.iter().zip(out) {
            let mut add = |module: usize, values: &[f32]| {
                if let Some(value) = not_finite(values) {
                    let module = modules.list[module].name.clone();
                    return Err(PassError::Overflow { module, what: "curvature and a direction", value });
                }
                let sums = &mut out[self.starts[module]..];
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
                Ok(())
            };
            let mut sink = ModuleSink::new(modules, &batch.wanted, GradientRows::summed(&mut add));
            if sink.wants(Slot::Linear(LinearId::Head)) {
                sink.head = Some(HeadRows::new(model, &forward)?);
            }
            let passed = model.gauss_newton(forward.clone(), direction, &mut sink);
            match sink.failed {
                Some(error) => return Err(error),
                None => passed?,
            };
        }
        Ok(())
    }
}
