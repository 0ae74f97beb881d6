//! Promise: lookups of the embedding's row of `pad_token_id` have no gradient, as in PyTorch, and all else has
//! its own.

use gstore_model::architectures::{Decoder, Param};
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelError;
use gstore_model::{ComputePrecision, Layout, Model, PackedSample, Reduction};
use serde_json::{Value, json};

use crate::common::embedding::embedding_gradients;
use crate::common::tiny::noise;

const VOCAB: usize = 12;
const HIDDEN: usize = 16;

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
    embedding_gradients(&model, layout)
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
