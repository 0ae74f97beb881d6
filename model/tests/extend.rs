//! Promise: fed in parts over kept keys and values, a sequence has the logits of one pass over all of it, in
//! every family and together with any others; on the CPU backend the same bits.

use crate::common::zoo::folders;
use gstore_model::architectures::PositionEncoding;
use gstore_model::candle::Candle;
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelFolder;
use gstore_model::{
    Backend, ComputePrecision, ForwardOptions, LastRows, Layout, Model, NextTokens, PackedSample, Reduction,
    SavedActivations,
};
use serde_json::json;

/// Sequences of a vocabulary; the lengths reach beyond a panel of keys and beyond the zoo's windows.
fn sequences(vocab: usize, most: usize) -> Vec<Vec<u32>> {
    let of = |(seed, len): (usize, usize)| {
        (0..len.min(most)).map(|i| ((seed * 7919 + i * 104_729 + i * i * 31) % vocab) as u32).collect()
    };
    [5, 33, 64, 1, 41].into_iter().enumerate().map(of).collect()
}

/// Logits behind every token, by one pass.
fn at_once<B: Backend>(model: &Model<B>, ids: &[u32]) -> Vec<f32> {
    let scored = vec![true; ids.len()];
    let layout = Layout::new(&[PackedSample::new(ids, &scored)], true, Reduction::Sum);
    let pass =
        ForwardOptions { last_rows: LastRows::All, keep_from: None, keep: SavedActivations::All, tap: None };
    let forward = model.forward(layout, pass).unwrap();
    model.logits(&forward.hidden).unwrap()
}

/// Logits behind the last token of each part, with the number of that token: prompts in two parts, then token
/// by token, all sequences at a time, the second in a slot that another sequence was in.
fn in_parts<B: Backend>(model: &Model<B>, sequences: &[Vec<u32>]) -> Vec<Vec<(usize, Vec<f32>)>> {
    let vocab = model.decoder().vocab_size;
    let mut cache = model.key_values();
    model
        .extend(&mut cache, &[NextTokens { slot: 1, ids: &sequences[0], length: 5, wanted: false }])
        .unwrap();
    model.forget(&mut cache, 1);
    let mut found = vec![Vec::new(); sequences.len()];
    let mut fed = vec![0; sequences.len()];
    loop {
        let part = |slot: usize| match (sequences[slot].len() - fed[slot], fed[slot]) {
            (left, 0) => left.min(1 + left / 3),
            (left, at) if at < sequences[slot].len() / 2 => left.min(1 + left / 4),
            (left, _) => left.min(1),
        };
        let parts: Vec<(usize, usize)> =
            (0..sequences.len()).map(|slot| (slot, part(slot))).filter(|(_, part)| *part > 0).collect();
        if parts.is_empty() {
            return found;
        }
        // Of some parts no logits are asked for.
        let wanted = |slot: usize| (fed[slot] + slot) % 5 != 1 || fed[slot] + 1 == sequences[slot].len();
        let feed = |(slot, part): &(usize, usize)| NextTokens {
            slot: *slot,
            ids: &sequences[*slot][fed[*slot]..fed[*slot] + part],
            length: sequences[*slot].len(),
            wanted: wanted(*slot),
        };
        let feeds: Vec<NextTokens<'_>> = parts.iter().map(feed).collect();
        let logits = model.extend(&mut cache, &feeds).unwrap();
        let mut logits = logits.chunks_exact(vocab);
        let asked: Vec<bool> = feeds.iter().map(|feed| feed.wanted).collect();
        for ((slot, part), asked) in parts.iter().zip(asked) {
            fed[*slot] += part;
            if asked {
                found[*slot].push((fed[*slot] - 1, logits.next().unwrap().to_vec()));
            }
            assert_eq!(cache.tokens(*slot), fed[*slot]);
        }
        assert!(logits.next().is_none());
    }
}

fn check<B: Backend>(folder: &ModelFolder, backend: B, tolerance: Option<f32>) {
    let model = Model::load(folder, backend).unwrap();
    let vocab = model.decoder().vocab_size;
    let most = match model.decoder().positions {
        PositionEncoding::Learned => model.decoder().max_positions,
        PositionEncoding::Rotary { .. } => usize::MAX,
    };
    let sequences = sequences(vocab, most);
    for (ids, found) in sequences.iter().zip(in_parts(&model, &sequences)) {
        let expected = at_once(&model, ids);
        assert!(!found.is_empty());
        for (token, logits) in found {
            let expected = &expected[token * vocab..][..vocab];
            let about = format!("{} token {token} of {}", folder.path().display(), ids.len());
            match tolerance {
                None => {
                    assert!(logits.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{about}")
                }
                Some(tolerance) => {
                    let most = expected.iter().fold(0f32, |most, z| most.max(z.abs()));
                    let off = logits.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
                    assert!(off <= tolerance * most.max(1.0), "{about}: {off}");
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn every_family_is_the_same_in_parts_and_at_once() {
    let folders = folders();
    for path in folders {
        let folder = ModelFolder::open(&path).unwrap();
        check(&folder, Cpu::new(ComputePrecision::F32), None);
        check(&folder, Cpu::new(ComputePrecision::Bf16), None);
        check(&folder, Candle::cpu(), Some(1e-4));
    }
}

#[test]
fn positions_that_are_scaled_by_length_are_the_same_in_parts_and_at_once() {
    let folder = tempfile::TempDir::new().unwrap();
    for scaling in [
        json!({"type": "dynamic", "factor": 4.0}),
        json!({"type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.1, 1.2],
            "long_factor": [1.5, 2.0, 4.0]}),
    ] {
        let mut tiny = crate::common::tiny::Tiny::new();
        tiny.config["max_position_embeddings"] = json!(16);
        tiny.config["rope_scaling"] = scaling;
        let model = ModelFolder::open(&tiny.write(folder.path())).unwrap();
        check(&model, Cpu::new(ComputePrecision::F32), None);
        check(&model, Candle::cpu(), Some(1e-4));
    }
}

#[test]
fn a_step_that_cannot_be_taken_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = crate::common::tiny::Tiny::new().write(folder.path());
    let model = Model::load(&ModelFolder::open(&path).unwrap(), Cpu::new(ComputePrecision::F32));
    let model = model.unwrap();
    let refused = |feeds: &[NextTokens<'_>]| model.extend(&mut model.key_values(), feeds).is_err();
    fn feed(slot: usize, ids: &[u32]) -> NextTokens<'_> {
        NextTokens { slot, ids, length: ids.len(), wanted: true }
    }
    assert!(!refused(&[feed(0, &[1, 2]), feed(3, &[4])]));
    assert!(refused(&[]));
    assert!(refused(&[feed(0, &[])]));
    assert!(refused(&[feed(0, &[crate::common::tiny::VOCAB as u32])]));
    assert!(refused(&[feed(1, &[1]), feed(0, &[2])]));
}
