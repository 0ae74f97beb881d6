//! Squared lengths of whole gradients, by sample and module, to compare with those of their blocks in an
//! eigenbasis.

use std::ops::Range;

use gstore_model::{Backend, BackendError};

/// Squared lengths of the gradients of a batch, by sample and module.
pub(super) struct GradientEnergies {
    modules: usize,
    values: Vec<f64>,
}

impl GradientEnergies {
    pub fn new(samples: usize, modules: usize) -> Self {
        Self { modules, values: vec![0.0; samples * modules] }
    }

    /// Zeros for the same samples and modules.
    pub(crate) fn emptied(&self) -> Self {
        Self { modules: self.modules, values: vec![0.0; self.values.len()] }
    }

    /// Adds the part of a tensor, or of some rows of one.
    pub fn add(&mut self, sample: usize, module: usize, energy: f64) {
        self.values[sample * self.modules + module] += energy;
    }

    /// Adds those of the same samples and modules.
    pub fn extend(&mut self, others: &Self) {
        self.values.iter_mut().zip(&others.values).for_each(|(sum, value)| *sum += value);
    }

    /// Those of a sample, by module.
    pub fn of(&self, sample: usize) -> &[f64] {
        &self.values[sample * self.modules..(sample + 1) * self.modules]
    }

    /// Adds those of the gradients of a linear map, from its factors; with `bias` that of its bias, too.
    pub fn add_linear<B: Backend>(
        &mut self,
        backend: &B,
        (module, bias): (usize, bool),
        (x, grad): (&B::Tensor, &B::Tensor),
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let energies = backend.weight_energies(x, grad, spans)?;
        energies.into_iter().enumerate().for_each(|(sample, energy)| self.add(sample, module, energy));
        if bias {
            let (rows, out) = backend.size(grad);
            let sums = backend.span_sums(grad, &vec![1.0; rows], spans)?;
            for (sample, sums) in sums.chunks_exact(out.max(1)).enumerate() {
                self.add(sample, module, squares(sums));
            }
        }
        Ok(())
    }
}

/// The sum of the squares of values.
pub(super) fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
}

/// Inputs, gradients of outputs, and the rows of each sample.
pub(super) type PieceFactors<T> = (T, T, Vec<Range<usize>>);

/// Factors of a map that come in pieces of a batch, in the order of its rows: a sample's gradient is that of
/// all of its pieces together.
#[derive(Default)]
pub(super) struct HeadPieces {
    inputs: Vec<f32>,
    grads: Vec<f32>,
    rows: usize,
    /// Rows of each sample so far.
    spans: Vec<Range<usize>>,
}

impl HeadPieces {
    /// Adds the next rows. They are copied to the host.
    pub fn push<B: Backend>(
        &mut self,
        backend: &B,
        (x, grad): (&B::Tensor, &B::Tensor),
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        self.inputs.extend(backend.to_host(x)?);
        self.grads.extend(backend.to_host(grad)?);
        self.spans.resize(spans.len(), 0..0);
        for (known, span) in self.spans.iter_mut().zip(spans).filter(|(_, span)| !span.is_empty()) {
            let (start, end) = (self.rows + span.start, self.rows + span.end);
            *known = if known.start == known.end { start..end } else { known.start..end };
        }
        self.rows += backend.size(x).0;
        Ok(())
    }

    /// The factors of all pieces, and the rows of each sample; nothing where none came.
    pub fn whole<B: Backend>(self, backend: &B) -> Result<Option<PieceFactors<B::Tensor>>, BackendError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let tensor = |values: Vec<f32>| {
            let width = values.len() / self.rows;
            backend.tensor(values, self.rows, width)
        };
        Ok(Some((tensor(self.inputs)?, tensor(self.grads)?, self.spans)))
    }
}
