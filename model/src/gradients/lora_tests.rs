//! Multiply-adds of a batch, counted and compared with the table in `docs/scale.md`.

use super::*;
use crate::architectures::LinearKind;
use crate::backend::{ComputePrecision, Objective};
use crate::cpu::{Cpu, counted};
use crate::passes::{ForwardOptions, LastRows, Layout, PackedSample, Reduction, SavedActivations};

const RANK: usize = 8;
const HEADS: u64 = 6;
const HEAD_DIM: u64 = 32;
const LAYERS: u64 = 4;

/// Of a row: maps forward, maps backward, factors.
const ROW: [u64; 3] = [1_204_224, 1_142_784, 69_632];
/// Of a scored row on top: maps of the last layer and the head, forward and backward, and the last layer's
/// factors.
const SCORED: [u64; 3] = [761_856, 761_856, 12_288];

/// Of the sizes of tiny-llama.
fn model() -> Model<Cpu> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": 2, "head_dim": HEAD_DIM,
        "vocab_size": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null,
        "max_position_embeddings": 512, "tie_word_embeddings": false,
    });
    fs_err::write(&path, config.to_string()).unwrap();
    let decoder = Decoder::read(&path).unwrap();
    let mut values = |param: &Param| {
        let len: usize = param.shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| ((i * 37 + 11) % 101) as f32 * 1e-3 - 0.05).collect();
        Ok::<_, ModelError>(values)
    };
    Model::build(&decoder, Cpu::new(ComputePrecision::F32), &mut values).unwrap()
}

/// Factors of the maps of attention, and how many values they have.
fn adapter(model: &Model<Cpu>) -> (LoraFactors<Cpu>, usize) {
    let decoder = model.decoder();
    let maps = [
        ("q_proj", LinearKind::Q),
        ("k_proj", LinearKind::K),
        ("v_proj", LinearKind::V),
        ("o_proj", LinearKind::O),
    ];
    let mut modules = Vec::new();
    for layer in 0..decoder.layers {
        for (name, kind) in maps {
            let [out, input] = decoder.linear_shape(LinearId::Layer { layer, kind });
            let (a, b) = (vec![0.01; RANK * input], vec![0.02; out * RANK]);
            let lora = LoraWeights { a, b, rank: RANK, scaling: 2.0 };
            modules.push(HostModule { name: format!("model.layers.{layer}.self_attn.{name}"), lora });
        }
    }
    let values = modules.iter().map(|module| module.lora.a.len() + module.lora.b.len()).sum();
    (HostFactors::new(modules).upload(decoder, model.backend()).unwrap(), values)
}

/// Attention of a short sequence, a tile of rows and a panel of keys: of each query and head the products
/// with 32 keys forward, again in the backward pass, and of its gradient with 32 values; those of the
/// probabilities with values, and of the gradients of queries, keys and values, at the keys that there are.
fn attention(rows: u64, scored: u64) -> u64 {
    let queries = (LAYERS - 1) * rows + scored;
    queries * HEADS * HEAD_DIM * (3 * 32 + 4 * rows)
}

#[test]
fn a_batch_takes_the_products_of_the_table_and_no_others() {
    let model = model();
    let (factors, values) = adapter(&model);
    // Four rows, the last two of which predict a scored token; and two, since nothing depends on the tokens
    // behind the one that is scored.
    let first = PackedSample::new(&[5, 6, 7, 8, 9], &[false, false, false, true, true]);
    let second = PackedSample::new(&[1, 2, 3, 4, 5, 6], &[false, false, true, false, false, false]);
    let layout = Layout::new(&[first, second], false, Reduction::Mean);
    assert_eq!((layout.rows(), layout.scored_rows.len()), (6, 3));

    let mut rows = model.backend().rows(2, values, None).unwrap();
    let keep_from = model.lowest_wanted(&LoraSink { factors: &factors, out: None, entropies: None });
    assert_eq!(keep_from, Some(0));
    let pass =
        ForwardOptions { last_rows: LastRows::Scored, keep_from, keep: SavedActivations::All, tap: None };
    let before = counted::so_far();
    let forward = model.forward(layout, pass).unwrap();
    let mut sink = LoraSink { factors: &factors, out: Some(&mut rows), entropies: None };
    model.backward(forward, Objective::CrossEntropy { smoothing: 0.0 }, &mut sink).unwrap();
    let counted = counted::so_far() - before;

    let sum = |parts: [u64; 3]| parts.iter().sum::<u64>();
    assert_eq!(counted, 6 * sum(ROW) + 3 * sum(SCORED) + attention(4, 2) + attention(2, 1));
}

/// The table again, from the sizes of the maps.
#[test]
fn the_table_is_that_of_the_sizes() {
    let (hidden, inner, keys, vocab, rank) = (192, 512, 64, 2048, RANK as u64);
    let (square, narrow, mlp) = (hidden * hidden, keys * hidden, 3 * hidden * inner);
    let layer = 2 * square + 2 * narrow + mlp;
    // Keys and values of the last layer are those of all rows; nothing is differentiated below the lowest
    // factors.
    let forward = (LAYERS - 1) * layer + 2 * narrow;
    let backward = (LAYERS - 2) * layer + 2 * narrow + square + mlp;
    // A x, B^T e, and the gradients of both.
    let of = |out: u64| 2 * rank * (hidden + out);
    let (wide, short) = (of(hidden), of(keys));
    let factors = (LAYERS - 1) * 2 * (wide + short) + 2 * short;
    assert_eq!(ROW, [forward, backward, factors]);
    let last = 2 * square + mlp + vocab * hidden;
    assert_eq!(SCORED, [last, last, 2 * wide]);
}
