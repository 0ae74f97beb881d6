//! Sums of gradients over the pieces of a step.

use std::sync::Mutex;

use gstore_core::locked;
use gstore_model::BackendError;
use gstore_model::gradients::TensorSlice;

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
            let mut tensor = locked(&self.tensors[*tensor]);
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
                let mut tensor = locked(&self.tensors[*tensor]);
                tensor.clear();
                tensor.resize(*len, 0.0);
            }
        }
        self.turns.done(sum);
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
