//! Gradients of the embedding.

use gstore_model::cpu::Cpu;
use gstore_model::{
    Backend, BackendError, ForwardOptions, LastRows, Layout, LinearFactors, Model, Objective,
    SavedActivations, Sink, Slot, TableFactors,
};

/// Forms the gradients of the embedding, a vector for each sample.
struct EmbeddingSink<'a>(&'a mut <Cpu as Backend>::Rows);

impl Sink<Cpu> for EmbeddingSink<'_> {
    fn wants(&self, slot: Slot) -> bool {
        slot == Slot::Embedding
    }

    fn linear(
        &mut self,
        _: &Cpu,
        _: &LinearFactors<'_, <Cpu as Backend>::Tensor>,
    ) -> Result<(), BackendError> {
        Ok(())
    }

    fn table(
        &mut self,
        backend: &Cpu,
        factors: &TableFactors<'_, <Cpu as Backend>::Tensor>,
    ) -> Result<(), BackendError> {
        backend.table_grads(factors.ids, factors.grad, factors.scale, factors.spans, self.0, 0)
    }
}

/// The gradient of each sample's loss for the embedding, one after the other.
pub fn embedding_gradients(model: &Model<Cpu>, layout: Layout) -> Vec<f32> {
    let width = model.decoder().vocab_size * model.decoder().hidden_size;
    let mut rows = model.backend().rows(layout.spans.len(), width, None).unwrap();
    let keep_from = model.lowest_wanted(&EmbeddingSink(&mut rows));
    let pass =
        ForwardOptions { last_rows: LastRows::Scored, keep_from, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    model.backward(forward, objective, &mut EmbeddingSink(&mut rows)).unwrap();
    model.backend().host_rows(&mut rows).unwrap().to_vec()
}
