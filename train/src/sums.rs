//! Sums of gradients over the pieces of a step, and the sink that forms them layer by layer.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gstore_model::architectures::NormId;
use gstore_model::gradients::{GradLayout, SlotOffsets, TensorSlice};
use gstore_model::{Backend, BackendError, LinearFactors, NormFactors, Sink, Slot, TableFactors};

use crate::turns::Turns;

/// Sums that pieces add to in turn. The first piece replaces what the memory held before.
pub(crate) struct GradientSums {
    pub places: Vec<Vec<TensorSlice>>,
    pub tensors: Vec<Mutex<Vec<f32>>>,
    pub turns: Turns,
}

impl GradientSums {
    /// Adds the gradients of a piece to sum `sum` when it is its turn.
    pub fn add(&self, sum: usize, piece: usize, gradient: &[f32]) -> Result<(), BackendError> {
        if !self.turns.wait(sum, piece) {
            return Err(BackendError::new("another part of the batch failed"));
        }
        let mut scratch = Vec::new();
        for TensorSlice { tensor, offset, len, order } in self.places.get(sum).into_iter().flatten() {
            let formed = &gradient[*offset..offset + len];
            let formed = match order {
                Some(order) => {
                    order.apply(formed, &mut scratch);
                    &scratch[..]
                }
                None => formed,
            };
            let mut tensor = self.tensors[*tensor].lock().unwrap_or_else(PoisonError::into_inner);
            if piece == 0 {
                tensor.clear();
                tensor.extend(formed.iter().map(|value| 0.0 + value));
            } else {
                tensor.iter_mut().zip(formed).for_each(|(sum, value)| *sum += value);
            }
        }
        self.turns.done(sum);
        Ok(())
    }

    /// The piece adds nothing.
    pub fn pass(&self, sum: usize, piece: usize) {
        if !self.turns.wait(sum, piece) {
            return;
        }
        if piece == 0 {
            for TensorSlice { tensor, len, .. } in self.places.get(sum).into_iter().flatten() {
                let mut tensor = self.tensors[*tensor].lock().unwrap_or_else(PoisonError::into_inner);
                tensor.clear();
                tensor.resize(*len, 0.0);
            }
        }
        self.turns.done(sum);
    }
}

/// Memory that a thread uses again.
pub(crate) struct GradientBuffers<B: Backend> {
    pub layer: Option<B::Rows>,
    pub loose: Option<B::Rows>,
}

impl<B: Backend> Default for GradientBuffers<B> {
    fn default() -> Self {
        GradientBuffers { layer: None, loose: None }
    }
}

impl<B: Backend> GradientBuffers<B> {
    /// The memory of a group: of a layer, or of the tensors of none.
    fn of(&mut self, group: usize) -> &mut Option<B::Rows> {
        if group == 0 { &mut self.loose } else { &mut self.layer }
    }
}

/// Forms the gradients of a model's own tensors layer by layer, and adds each layer when it is complete and
/// the piece's turn: of a piece only one layer and the tensors of no layer are in memory. All rows of a piece
/// are one sum, whatever their samples.
pub(crate) struct PieceSink<'a, B: Backend> {
    layout: &'a GradLayout,
    piece: usize,
    sums: &'a GradientSums,
    scratch: &'a mut GradientBuffers<B>,
    own: GradientBuffers<B>,
}

impl<'a, B: Backend> PieceSink<'a, B> {
    pub fn new(
        layout: &'a GradLayout,
        piece: usize,
        sums: &'a GradientSums,
        scratch: &'a mut GradientBuffers<B>,
    ) -> PieceSink<'a, B> {
        PieceSink { layout, piece, sums, scratch, own: GradientBuffers::default() }
    }

    fn rows(&mut self, backend: &B, group: usize) -> Result<&mut B::Rows, BackendError> {
        let rows = self.own.of(group);
        if rows.is_none() {
            *rows = Some(backend.rows(1, self.layout.widths[group], self.scratch.of(group).take())?);
        }
        rows.as_mut().ok_or_else(|| BackendError::new("no vectors for gradients"))
    }

    fn target(&self, slot: Slot) -> Option<SlotOffsets> {
        self.layout.targets.get(&slot).copied()
    }
}

impl<B: Backend> Sink<B> for PieceSink<'_, B> {
    fn wants(&self, slot: Slot) -> bool {
        self.layout.targets.contains_key(&slot)
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        for (id, grad) in maps.grads {
            if let Some(target) = self.target(Slot::Linear(*id)) {
                let out = self.rows(backend, target.group)?;
                target.add_linear_sum(backend, maps.x, grad, out)?;
            }
        }
        Ok(())
    }

    fn norm(
        &mut self,
        backend: &B,
        id: NormId,
        factors: &NormFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let Some(target) = self.target(Slot::Norm(id)) else { return Ok(()) };
        let width = self.layout.norm_width(&target);
        let out = self.rows(backend, target.group)?;
        backend.norm_grads(factors, width, spans, out, [target.weight, target.bias])
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let Some(target) = self.target(factors.slot) else { return Ok(()) };
        let Some(offset) = target.weight else { return Ok(()) };
        let out = self.rows(backend, target.group)?;
        backend.table_grads(factors.ids, factors.grad, factors.scale, factors.spans, out, offset)
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        let group = layer.map_or(0, |layer| layer + 1);
        self.rows(backend, group)?;
        let Some(mut rows) = self.own.of(group).take() else { return Ok(()) };
        self.sums.add(group, self.piece, backend.host_rows(&mut rows)?)?;
        *self.scratch.of(group) = Some(rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_replaces_what_the_memory_held() {
        let place = |tensor, offset, len| TensorSlice { tensor, offset, len, order: None };
        let sums = GradientSums {
            places: vec![vec![place(0, 1, 2)], vec![place(1, 0, 1)]],
            tensors: vec![Mutex::new(vec![9.0; 3]), Mutex::new(vec![9.0])],
            turns: Turns::new(2),
        };
        sums.add(0, 0, &[7.0, 1.0, -0.0]).unwrap();
        sums.add(0, 1, &[7.0, 2.0, 3.0]).unwrap();
        sums.pass(1, 0);
        sums.add(1, 1, &[4.0]).unwrap();
        let values = |tensor: usize| sums.tensors[tensor].lock().unwrap().clone();
        assert_eq!((values(0), values(1)), (vec![3.0, 3.0], vec![4.0]));
    }
}
