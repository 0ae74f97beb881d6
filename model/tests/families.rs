//! Promise: every supported architecture is described as transformers builds it, and what is not
//! implemented is refused by name.

use crate::common::assert_says;
use crate::common::zoo::{config, fixture, folders, read};
use gstore_model::architectures::{
    Decoder, LinearId, LinearKind, Mlp, NormPlace, Param, PositionEncoding, QkNorm, Residual, RopeScaling,
    RowRuns, TensorRole,
};
use gstore_model::weights::{ModelFolder, TrainedTensor, WeightDecay};
use serde_json::{Value, json};

#[test]
fn parameters_are_those_of_transformers_in_order() {
    for (name, family) in fixture("families.json").as_object().unwrap() {
        let decoder = read(&family["config"]).unwrap();
        let describe = |(param, trained): (&Param, &TrainedTensor)| {
            let group = if trained.decay == WeightDecay::Yes { "decayed" } else { "plain" };
            let order = if param.transposed { "input-out" } else { "as-is" };
            let sizes: Vec<String> = param.file_shape().iter().map(usize::to_string).collect();
            format!("{} {group} {order} {}", param.name, sizes.join(" "))
        };
        let found: Vec<String> =
            decoder.params.iter().zip(&TrainedTensor::all(&decoder)).map(describe).collect();
        let lines = family["parameters"].as_array().unwrap();
        let expected: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn parameters_of_the_zoo_are_in_its_files() {
    let folders = folders();
    for path in folders {
        let folder = ModelFolder::open(&path).unwrap();
        for param in &folder.decoder().params {
            let values = folder.read(param).unwrap();
            assert_eq!(values.len(), param.shape.iter().product::<usize>());
        }
    }
}

#[test]
fn padding_rows_are_those_of_transformers() {
    for (name, row) in
        [("gemma2", Some(0)), ("olmo2", Some(1)), ("phi3", Some(1)), ("llama", None), ("gpt2", None)]
    {
        assert_eq!(read(&config(name)).unwrap().padding_row, row, "{name}");
    }
}

/// Every linear map is one piece, the pieces of a weight cover it once, and a bias has the pieces of its
/// weight.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn pieces_cover_their_weights() {
    let folders = folders();
    for folder in folders {
        let decoder = Decoder::read(&folder.join("config.json")).unwrap();
        let mut maps = Vec::new();
        for param in &decoder.params {
            let (TensorRole::Weight(pieces) | TensorRole::Bias(pieces)) = &param.role else { continue };
            let mut rows: Vec<usize> = pieces.iter().flat_map(|piece| piece.rows.iter()).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..param.shape[0]).collect::<Vec<_>>(), "{}", param.name);
            for piece in pieces {
                let [out, input] = decoder.linear_shape(piece.linear);
                assert_eq!(piece.rows.len(), out, "{}", param.name);
                assert!(param.shape.len() == 1 || param.shape[1] == input, "{}", param.name);
            }
            if matches!(param.role, TensorRole::Weight(_)) {
                maps.extend(pieces.iter().map(|piece| piece.linear));
            }
        }
        let gated = matches!(decoder.mlp, Mlp::Gated(_));
        let kinds = LinearKind::ALL.into_iter().filter(|kind| gated || *kind != LinearKind::Gate);
        let mut expected: Vec<LinearId> = kinds
            .flat_map(|kind| (0..decoder.layers).map(move |layer| LinearId::Layer { layer, kind }))
            .collect();
        expected.extend((!decoder.tied).then_some(LinearId::Head));
        maps.sort_unstable();
        expected.sort_unstable();
        assert_eq!(maps, expected, "{}", decoder.architecture);
    }
}

#[test]
fn forms_follow_the_configuration() {
    let of = |name: &str| read(&config(name)).unwrap();
    let with = |name: &str, changes: Value| {
        let mut config = config(name);
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        read(&config).unwrap()
    };
    let without = |name: &str, key: &str| {
        let mut config = config(name);
        config.as_object_mut().unwrap().remove(key);
        read(&config).unwrap()
    };

    assert_eq!(of("mistral").windows, [Some(8); 2]);
    assert_eq!(without("mistral", "sliding_window").windows, [Some(4096); 2], "the default");
    assert_eq!(with("mistral", json!({"sliding_window": null})).windows, [None; 2]);
    let gemma = of("gemma2");
    assert_eq!(gemma.windows, [Some(8), None]);
    assert_eq!(without("gemma2", "layer_types").windows, [Some(8), None], "every other layer slides");
    assert_eq!((gemma.attention_softcap, gemma.logit_softcap), (Some(50.0), Some(30.0)));
    assert_eq!(with("gemma2", json!({"final_logit_softcapping": null})).logit_softcap, None);
    assert_eq!(without("gemma2", "final_logit_softcapping").logit_softcap, Some(30.0));
    assert_eq!((gemma.attention_scale, gemma.norm_offset), (1.0 / 16.0, 1.0));
    assert_eq!(gemma.embedding_scale, 48f32.sqrt());
    assert!(without("gemma2", "tie_word_embeddings").tied && without("gpt2", "tie_word_embeddings").tied);
    assert!(!without("llama", "tie_word_embeddings").tied);
    assert_eq!(of("qwen2").windows, [None; 2]);
    let sliding =
        json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1, "layer_types": null});
    assert_eq!(with("qwen2", sliding.clone()).windows, [None, Some(5)]);
    assert_eq!(with("qwen3", sliding).windows, [None, Some(5)]);
    assert_eq!(without("qwen3", "head_dim").heads.dim, 128, "the default of the family");
    assert_eq!((of("qwen3").head_norm, of("olmo2").head_norm), (QkNorm::Each, QkNorm::Whole));
    assert_eq!(of("olmo2").norms, [NormPlace::AfterAttention, NormPlace::AfterMlp]);
    let neox = of("gpt_neox");
    assert_eq!(neox.residual, Residual::Parallel);
    assert_eq!(with("gpt_neox", json!({"use_parallel_residual": false})).residual, Residual::Sequential);
    let plain = PositionEncoding::Rotary { theta: 1e4, scaling: RopeScaling::Default, dims: 3 };
    assert_eq!(neox.positions, plain, "a quarter of 12, rounded as transformers does");
    let old = json!({"rope_parameters": null, "rotary_pct": 0.5, "rotary_emb_base": 500.0});
    let turned = PositionEncoding::Rotary { theta: 500.0, scaling: RopeScaling::Default, dims: 6 };
    assert_eq!(with("gpt_neox", old).positions, turned);
    let TensorRole::Weight(qkv) = &neox.params[5].role else { panic!("{:?}", neox.params[5]) };
    assert_eq!(qkv[1].rows, RowRuns { start: 12, run: 12, stride: 36, count: 4 });
    assert_eq!(qkv[1].rows.iter().skip(11).take(2).collect::<Vec<_>>(), [23, 48]);
    let half = json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}});
    let PositionEncoding::Rotary { dims, .. } = with("phi3", half).positions else { panic!() };
    assert_eq!(dims, 6);
    assert_eq!(with("gpt2", json!({"n_inner": 70})).intermediate_size, 70);
    assert_eq!(of("gpt2").intermediate_size, 4 * 48);
    assert_eq!(with("gpt2", json!({"scale_attn_weights": false})).attention_scale, 1.0);
    let by_layer = with("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}));
    assert_eq!(by_layer.attention_scale_of(1), by_layer.attention_scale / 2.0);
    assert_eq!(with("mistral", json!({"architectures": null})).architecture, "MistralForCausalLM");
}

#[test]
fn sizes_of_gpt2_may_have_the_names_of_other_families() {
    let plain = config("gpt2");
    let mut generic = plain.clone();
    for (key, alias) in [
        ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads"),
        ("n_layer", "num_hidden_layers"),
        ("n_positions", "max_position_embeddings"),
    ] {
        generic[alias] = generic[key].take();
        assert_eq!(read(&generic).unwrap(), read(&plain).unwrap(), "{alias}");
    }
    generic["hidden_size"] = json!(50);
    assert_says(&read(&generic).unwrap_err(), &["hidden_size 50 is not a multiple of num_attention_heads 4"]);
    generic["hidden_size"] = Value::Null;
    assert_says(&read(&generic).unwrap_err(), &["n_embd is missing"]);
}

#[test]
fn settings_that_change_nothing_are_accepted() {
    let rope = json!({"rope_type": "default", "rope_theta": 1e4, "attention_factor": 2.0});
    for (name, changes) in [
        ("gpt2", json!({"reorder_and_upcast_attn": true})),
        ("llama", json!({ "rope_parameters": rope })),
        ("mistral", json!({"use_sliding_window": true})),
        ("gemma2", json!({"use_sliding_window": true})),
    ] {
        let mut config = config(name);
        let plain = read(&config).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        assert_eq!(read(&config).unwrap(), plain, "{name} {changes}");
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let cases: Vec<(&str, Value, &[&str])> = vec![
        (
            "llama",
            json!({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8}),
            &[
                "MixtralForCausalLM",
                "not supported yet (what is missing: a description",
                "mixture-of-experts",
                "supported: LlamaForCausalLM",
                "Olmo2ForCausalLM",
            ],
        ),
        (
            "llama",
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            &["LlamaForSequenceClassification", "a language-model head"],
        ),
        ("llama", json!({"architectures": null, "model_type": "mamba"}), &["model_type mamba"]),
        ("llama", json!({"model_type": "mistral"}), &["LlamaForCausalLM", "\"mistral\"", "\"llama\""]),
        ("llama", json!({"quantization_config": {"bits": 4}}), &["quantised", "quantization_config"]),
        (
            "llama",
            json!({"hidden_act": "quick_gelu"}),
            &["hidden_act \"quick_gelu\"", "silu, swish, gelu, gelu_python, ", "python_tanh and relu are"],
        ),
        (
            "llama",
            json!({"sliding_window": 64}),
            &["sliding_window 64", "LlamaForCausalLM is implemented without"],
        ),
        ("llama", json!({"num_hidden_layers": 2_000_000}), &["num_hidden_layers 2000000", "1024"]),
        ("llama", json!({"layer_types": ["full_attention"]}), &["layer_types lists 1 layers of 2"]),
        (
            "llama",
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
            &["layer_types", "same attention in every layer"],
        ),
        ("llama", json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor 0.5"]),
        ("llama", json!({"is_causal": false}), &["is_causal false"]),
        ("llama", json!({"is_causal": null}), &["is_causal null is not supported; only causal attention is"]),
        ("llama", json!({"is_causal": 0}), &["is_causal 0"]),
        ("gpt2", json!({"is_causal": {}}), &["is_causal {}"]),
        (
            "llama",
            json!({"transformers_weights": "other.safetensors"}),
            &["transformers_weights \"other.safetensors\"", "model.safetensors"],
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "proportional", "factor": 2.0}}),
            &["\"proportional\"", "\"linear\", \"llama3\""],
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
            &["partial_rotary_factor 0.5", "all of a head turns"],
        ),
        (
            "llama",
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            &["full_attention", "rope parameters"],
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
            &["rope_parameters and rope_scaling"],
        ),
        ("llama", json!({"use_sliding_window": true}), &["use_sliding_window true"]),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "mrope_section": [2, 4]}}),
            &["mrope_section [2,4] of the rope parameters is not supported; rope_type, type", "factor are"],
        ),
        ("mistral", json!({"attention_bias": true}), &["attention_bias true"]),
        ("mistral", json!({"layer_types": ["full_attention", "sliding_attention"]}), &["layer_types"]),
        ("qwen2", json!({"use_mrope": true}), &["use_mrope true"]),
        (
            "qwen2",
            json!({"layer_types": ["full_attention", "linear_attention"]}),
            &["layer_types \"linear_attention\""],
        ),
        (
            "qwen2",
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
            &["need a sliding_window"],
        ),
        ("gpt2", json!({"num_attention_heads": 2}), &["num_attention_heads 2 contradicts n_head"]),
        (
            "llama",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            &["scale_attn_by_inverse_layer_idx true"],
        ),
        ("llama", json!({"reorder_and_upcast_attn": true}), &["reorder_and_upcast_attn true"]),
        ("gpt2", json!({"add_cross_attention": true}), &["add_cross_attention true"]),
        ("gpt2", json!({"activation_function": "tanh"}), &["activation_function \"tanh\""]),
        ("gpt2", json!({"n_embd": 50}), &["n_embd 50 is not a multiple of n_head 4"]),
        ("gpt_neox", json!({"head_dim": 16}), &["hidden_size 48", "width 16"]),
        ("gpt_neox", json!({"rope_theta": 500.0}), &["rope_theta 500 contradicts"]),
        ("gemma2", json!({"use_bidirectional_attention": true}), &["use_bidirectional_attention true"]),
        ("gemma2", json!({"sliding_window": null}), &["need a sliding_window"]),
        ("gemma2", json!({"attn_logit_softcapping": -1.0}), &["attn_logit_softcapping", "positive"]),
        ("olmo2", json!({"clip_qkv": 8.0}), &["clip_qkv 8"]),
    ];
    for (name, changes, parts) in cases {
        let mut config = config(name);
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        assert_says(&read(&config).unwrap_err(), &[&["config.json"], parts].concat());
    }
}
