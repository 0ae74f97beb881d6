//! A selection of modules has the gradients of the whole.

use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineOptions, ModuleSelection, SelectionError, tensor_specs,
};
use gstore_model::ComputePrecision;
use gstore_model::architectures::{Decoder, NormId, TensorRole};
use gstore_model::cpu::Cpu;

use super::each_model;
use crate::common::autograd::{gradients, raw_features};
use crate::common::reference::shared;
use crate::common::{assert_says, packed};

/// Gradients of a selection are those parts of the whole gradient.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_selection_has_the_gradients_of_the_whole() {
    each_model(|model, samples| {
        let batch = packed(samples);
        let backend = Cpu::new(ComputePrecision::F32);
        let decoder = Decoder::read(&model.source.model.join("config.json")).unwrap();
        let whole = gradients(&model.raw(backend.clone()), &batch);
        let named = |wanted: &dyn Fn(&TensorRole) -> bool| -> Vec<String> {
            decoder.params.iter().filter(|p| wanted(&p.role)).map(|p| p.module().to_owned()).collect()
        };
        let last = decoder.layers - 1;
        let norms = named(
            &|role| matches!(role, TensorRole::NormWeight(NormId::Layer { layer, .. }) if *layer == last),
        );
        let final_norm = named(&|role| *role == TensorRole::NormWeight(NormId::Final));
        let tables = named(&|role| matches!(role, TensorRole::Embedding | TensorRole::Positions));
        let head = decoder.params.last().unwrap().module().to_owned();
        for (patterns, biases) in [
            (vec![], false),
            (vec![], true),
            (vec!["*mlp*".to_owned()], true),
            (vec![format!("*.{last}.mlp.*")], false),
            (norms, false),
            (final_norm, true),
            (tables, false),
            (vec![head], false),
        ] {
            let selection = ModuleSelection { patterns: patterns.clone(), biases };
            let tracked = match selection.resolve(&decoder) {
                Ok(tracked) => tracked,
                Err(error) => panic!("{}: {patterns:?}: {error}", model.name),
            };
            assert!(!tracked.is_empty() && tracked.is_sorted());
            let tensors = tensor_specs(&decoder, &tracked);
            let source = CheckpointSource { tracked: tracked.clone(), ..model.source.clone() };
            let engine = Engine::load(
                &source,
                backend.clone(),
                EngineOptions::default(),
                Some(raw_features(&tensors)),
            );
            for (found, whole) in gradients(&engine.unwrap(), &batch).iter().zip(&whole) {
                let mut expected = Vec::with_capacity(found.len());
                let mut start = 0;
                for (index, tensor) in model.tensors.iter().enumerate() {
                    if tracked.contains(&index) {
                        expected.extend_from_slice(&whole[start..start + tensor.numel()]);
                    }
                    start += tensor.numel();
                }
                assert!(*found == expected, "{}: {patterns:?}", model.name);
            }
        }
    });
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn selections_choose_by_module() {
    each_model(|model, _| {
        let decoder = Decoder::read(&model.source.model.join("config.json")).unwrap();
        let resolve = |patterns: &[&str], biases: bool| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            ModuleSelection { patterns, biases }.resolve(&decoder)
        };
        let names = |patterns: &[&str], biases: bool| -> Vec<String> {
            resolve(patterns, biases).unwrap().into_iter().map(|i| decoder.params[i].name.clone()).collect()
        };
        let layer = |name: &str| (0..decoder.layers).any(|layer| name.contains(&format!(".{layer}.")));
        let linear = names(&[], false);
        assert!(linear.iter().all(|name| layer(name) && name.ends_with("weight") && !name.contains("norm")));
        let with_biases = names(&[], true);
        let biased = decoder.params.iter().filter(|p| matches!(p.role, TensorRole::Bias(_))).count();
        assert_eq!(with_biases.len(), linear.len() + biased, "{}", model.name);
        assert!(!with_biases.iter().any(|name| name.contains("ln_") || name.contains("layernorm.bias")));
        assert_eq!(names(&["*"], true).len(), decoder.params.len());
        assert_eq!(names(&["*.mlp.*", "*.mlp.*"], false), names(&["*.mlp.*"], false));

        let embedding = decoder.params.iter().find(|p| p.role == TensorRole::Embedding).unwrap();
        match resolve(&["lm_head"], false) {
            Err(SelectionError::TiedHead { embedding: module }) => {
                assert!(decoder.tied);
                assert_eq!(module, embedding.module());
                assert_eq!(names(&[module.as_str()], false), [embedding.name.as_str()]);
            }
            Err(SelectionError::NoMatch { .. }) => {
                assert_eq!(names(&["embed_out"], false), ["embed_out.weight"])
            }
            found => assert_eq!(found.unwrap(), [decoder.params.len() - 1]),
        }
        let error = resolve(&["*.mlp.*", "*.Mlp.*"], false).unwrap_err();
        assert!(matches!(&error, SelectionError::NoMatch { pattern, .. } if pattern == "*.Mlp.*"));
        assert_says(&error.to_string(), &["*.Mlp.*", decoder.architecture, embedding.module()]);
        assert_says(&resolve(&["a[", "*"], false).unwrap_err().to_string(), &["modules=a[:"]);
    });
}

/// A glob of the head that is more than its name.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_tied_head_is_named() {
    let shared = shared();
    let decoders = shared.zoo().into_iter().map(|path| Decoder::read(&path.join("config.json")).unwrap());
    let tied: Vec<Decoder> = decoders.filter(|decoder| decoder.tied).collect();
    assert!(!tied.is_empty(), "no model of the zoo has a tied head");
    for decoder in tied {
        let embedding = decoder.params.iter().find(|param| param.role == TensorRole::Embedding).unwrap();
        for pattern in ["lm_head", "lm_*", "lm_head.weight"] {
            let selection = ModuleSelection { patterns: vec![pattern.into()], biases: false };
            assert_says(&selection.resolve(&decoder).unwrap_err().to_string(), &[embedding.module()]);
        }
    }
}
