//! Promise: lookups of the embedding's row of `pad_token_id` have no gradient, as in PyTorch, and all else has
//! its own.

use gstore_model::architectures::{Decoder, Param};
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelError;
use gstore_model::{
    Backend, BackendError, ComputePrecision, ForwardOptions, LastRows, Layout, LinearFactors, Model,
    Objective, PackedSample, Reduction, SavedActivations, Sink, Slot, TableFactors,
};
use serde_json::{Value, json};

use crate::common::tiny::noise;

const VOCAB: usize = 12;
const HIDDEN: usize = 16;

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

fn decoder(padding: Value) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "max_position_embeddings": 32, "pad_token_id": padding,
    });
    fs_err::write(&path, config.to_string()).unwrap();
    Decoder::read(&path).unwrap()
}

/// The gradients of the embedding of three samples, the second of which is nothing but token 7.
fn gradients(padding: Value) -> Vec<f32> {
    let mut seed = 0;
    let mut values = |param: &Param| {
        seed += 1;
        Ok::<_, ModelError>(noise(seed, param.shape.iter().product(), 0.5))
    };
    let decoder = decoder(padding);
    let model = Model::build(&decoder, Cpu::new(ComputePrecision::F32), &mut values).unwrap();
    let ids: [&[u32]; 3] = [&[5, 7, 6, 7, 2], &[7, 7, 7], &[7, 3, 4]];
    let samples = ids.map(|ids| PackedSample::new(ids, &[true; 5][..ids.len()]));
    let layout = Layout::new(&samples, false, Reduction::Mean);
    let mut rows = model.backend().rows(samples.len(), VOCAB * HIDDEN, None).unwrap();
    let keep_from = model.lowest_wanted(&EmbeddingSink(&mut rows));
    let pass =
        ForwardOptions { last_rows: LastRows::Scored, keep_from, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    model.backward(forward, objective, &mut EmbeddingSink(&mut rows)).unwrap();
    model.backend().host_rows(&mut rows).unwrap().to_vec()
}

#[test]
fn the_row_of_the_padding_token_is_not_trained() {
    let all = gradients(Value::Null);
    let of_token =
        |sample: usize, id: usize| (sample * VOCAB + id) * HIDDEN..(sample * VOCAB + id + 1) * HIDDEN;
    assert!((0..3).all(|sample| all[of_token(sample, 7)].iter().any(|v| *v != 0.0)));
    let mut without = all.clone();
    (0..3).for_each(|sample| without[of_token(sample, 7)].fill(0.0));
    assert_eq!(gradients(json!(7)), without);
    // Counted from the end, as in PyTorch.
    assert_eq!(gradients(json!(-5)), without);
    // No row of the table, and one that no sample has.
    assert_eq!(gradients(json!(VOCAB)), all);
    assert_eq!(gradients(json!(11)), all);
}

#[test]
fn what_is_no_token_id_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCAB,
        "pad_token_id": "<pad>",
    });
    fs_err::write(&path, config.to_string()).unwrap();
    let error = Decoder::read(&path).unwrap_err().to_string();
    assert!(error.contains("pad_token_id"), "{error}");
}
