//! Promise: the head of GPT-NeoX, which has one name in transformers and another in weight files, has its
//! factors and scores under the one name in a store and under the other in Kronfluence's files, and is
//! imported under either.

use std::collections::BTreeSet;
use std::path::Path;

use gstore_model::architectures::Decoder;
use gstore_tests::made::Numbers;
use gstore_tests::place::Place;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::factors::{assert_near, scores};
use crate::findings_reading::WORDS;

/// A model of one layer and three words.
fn write_model(place: &Place) {
    let config = json!({
        "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": 3, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 32, "tie_word_embeddings": false,
    });
    place.write("model/config.json", config.to_string());
    place.write("model/tokenizer.json", WORDS);
    place.write("model/tokenizer_config.json", r#"{"eos_token": "there"}"#);
    let decoder = Decoder::read(&place.path("model/config.json")).expect("a model");
    let mut numbers = Numbers(1);
    let mut bytes = |shape: &[usize]| -> Vec<u8> {
        let values = numbers.vector(shape.iter().product::<usize>() as u32);
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    };
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = decoder
        .params
        .iter()
        .map(|param| (param.name.as_str(), param.file_shape(), bytes(&param.file_shape())))
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    place.write("model/model.safetensors", safetensors::serialize(views, None).expect("a file"));
}

/// Names of the tensors of all files of a folder, each of which has the same.
fn names(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in fs_err::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let bytes = fs_err::read(&path).expect("read");
            let file = SafeTensors::deserialize(&bytes).expect("tensors");
            let names: BTreeSet<String> = file.names().into_iter().map(str::to_owned).collect();
            assert!(found.is_empty() || found == names, "{}: {names:?}", path.display());
            found = names;
        }
    }
    found
}

#[test]
fn the_head_of_gpt_neox_is_known_by_both_of_its_names() {
    let place = Place::with_store();
    let texts = ["hello there hello", "there there hello there", "hello other hello there", "there other"];
    let lines: String = texts.iter().map(|text| format!("{}\n", json!({ "text": text }))).collect();
    place.write("pool.jsonl", &lines);
    place.write("q.jsonl", &lines);
    place.add("pool");
    place.add("q");
    write_model(&place);
    let down = "gpt_neox.layers.0.mlp.dense_4h_to_h";
    let ours = BTreeSet::from(["embed_out".to_owned(), down.to_owned()]);
    let theirs = BTreeSet::from(["lm_head".to_owned(), down.to_owned()]);
    let of = |factors: &str| {
        let asked = ["--factors", factors, "--model", "model", "--target", "q", "--per-module"];
        scores(&place, &[&asked[..], &["--damping", "1e-2"]].concat())
    };
    // Of one block each, whose files are copied, and of two of the head, whose matrices are written whole.
    for (name, block) in [("whole", "64"), ("cut", "2")] {
        let fit = ["factors", "fit", name, "--dataset", "pool", "--model", "model", "--folder", "kept"];
        let more = ["--modules", "embed_out,*.dense_4h_to_h", "--max-block", block];
        place.ok(&[&fit[..], &more].concat());
        assert_eq!(names(&place.path(&format!("kept/factors_{name}"))), ours);
        let fitted = of(name);
        assert!(fitted.keys().any(|key| key.contains(&"embed_out".to_owned())), "{fitted:?}");

        let [out, copy, given] = ["out", "copy", "given"].map(|what| format!("{name}-{what}"));
        place.ok(&["factors", "export", name, &out]);
        assert_eq!(names(&place.path(&out)), theirs);
        place.ok(&["factors", "import", &out, &copy]);
        // As Kronfluence leaves it.
        fs_err::remove_file(place.path(&out).join("gstore.json")).expect("removed");
        place.ok(&["factors", "import", &out, &given, "--model", "model"]);
        for factors in [&copy, &given] {
            assert_near(&of(factors), &fitted, 1e-6);
        }
    }
    // Of an older transformers.
    fs_err::remove_file(place.path("kept/factors_whole/gstore.json")).expect("removed");
    place.ok(&["factors", "import", "kept/factors_whole", "older", "--model", "model"]);
    assert_near(&of("older"), &of("whole"), 1e-6);
    // What is none of Kronfluence's files goes along, whatever is in it.
    place.write("kept/factors_whole/mine.safetensors", "no tensors");
    place.ok(&["factors", "import", "kept/factors_whole", "more", "--model", "model"]);
    place.ok(&["factors", "export", "more", "more-out"]);
    assert_eq!(place.read("more-out/mine.safetensors"), "no tensors");

    for (target, folder) in [(&["--target", "q"][..], "pairwise"), (&["--self"], "own")] {
        let score =
            ["score", "--factors", "whole", "--pool", "pool", "--per-module", "--kronfluence", folder];
        place.ok(&[&score[..], target].concat());
        assert_eq!(names(&place.path(folder)), theirs);
    }
}
