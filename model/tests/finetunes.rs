//! Promise: moments of a full fine-tune reach the tensors that they belong to, whatever the optimizer's order
//! and the file's orientation.

use std::path::{Path, PathBuf};

use crate::common::archive::{self, Obj, dict, tensor};
use crate::common::assert_says;
use gstore_model::architectures::Decoder;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{Moments, MomentsFile, TensorSet, TrainedTensor};
use tempfile::TempDir;

fn run(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetunes").join(name)
}

fn trained(name: &str) -> Vec<TrainedTensor> {
    TrainedTensor::all(&Decoder::read(&run(name).join("config.json")).unwrap())
}

fn open(name: &str, wanted: impl Fn(&TensorSpec) -> bool) -> MomentsFile {
    MomentsFile::open(&Moments::find(&run(name)).unwrap(), trained(name), wanted).unwrap()
}

/// What the optimizer held for a tensor, as `[out, input]`.
fn expected(name: &str, tensor: &TrainedTensor, moment: &str) -> Vec<f32> {
    let folder = TempDir::new().unwrap();
    fs_err::copy(run(name).join("expected.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let set = TensorSet::open(folder.path(), "model").unwrap();
    let names = std::iter::once(&tensor.spec.name).chain(&tensor.aliases);
    let key = names.map(|n| format!("{n}.{moment}")).find(|n| set.get(n).is_some()).unwrap();
    let values = set.read_f32(&key).unwrap();
    match tensor.spec.shape[..] {
        [out, input] if tensor.transposed => {
            (0..out * input).map(|i| values[i % input * out + i / input]).collect()
        }
        _ => values,
    }
}

#[test]
fn adam_of_two_groups() {
    for name in ["gpt2-adamw", "qwen2-adamw", "gpt_neox-adamw"] {
        let file = open(name, |_| true);
        let tensors = trained(name);
        assert_eq!(file.specs().len(), tensors.len());
        assert!(file.has_first());
        assert_eq!(file.step().unwrap(), Some(3));
        for (index, tensor) in tensors.iter().enumerate() {
            let moments = file.read(index).unwrap();
            assert_eq!(moments.exp_avg.unwrap(), expected(name, tensor, "first"), "{}", tensor.spec.name);
            assert_eq!(moments.exp_avg_sq, expected(name, tensor, "second"), "{}", tensor.spec.name);
        }
        let whole = file.load(true).unwrap();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"gstore.moments.v1\0");
        hasher.update(&(whole.exp_avg.len() as u64).to_le_bytes());
        for value in whole.exp_avg.iter().chain(&whole.exp_avg_sq) {
            hasher.update(&value.to_le_bytes());
        }
        assert_eq!(file.digest().unwrap(), hasher.finalize().to_hex().to_string());
    }
}

#[test]
fn some_tensors_of_all() {
    let wanted = |spec: &TensorSpec| spec.name.contains("mlp") && spec.name.ends_with("weight");
    let file = open("gpt2-adamw", wanted);
    let tensors: Vec<TrainedTensor> = trained("gpt2-adamw").into_iter().filter(|t| wanted(&t.spec)).collect();
    assert_eq!(file.specs().len(), 2);
    for (index, tensor) in tensors.iter().enumerate() {
        assert_eq!(file.specs()[index], tensor.spec);
        assert_eq!(file.read_second(index).unwrap(), expected("gpt2-adamw", tensor, "second"));
    }
    assert_ne!(file.digest().unwrap(), open("gpt2-adamw", |_| true).digest().unwrap());
}

#[test]
fn adafactor_keeps_factors() {
    let name = "gpt2-adafactor";
    let file = open(name, |_| true);
    assert!(!file.has_first());
    for (index, tensor) in trained(name).iter().enumerate() {
        let moments = file.read(index).unwrap();
        assert_eq!(moments.exp_avg, None);
        let expected = expected(name, tensor, "second");
        assert_eq!(moments.exp_avg_sq.len(), expected.len());
        for (found, expected) in moments.exp_avg_sq.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5 * expected, "{}: {found} {expected}", tensor.spec.name);
        }
    }
    assert_says(&file.load(true).unwrap_err().to_string(), &["no exp_avg of the gradient", "Adam"]);
    assert!(file.load(false).unwrap().exp_avg.is_empty());
    assert_eq!(file.digest().unwrap().len(), 64);
}

/// A state with one value per tensor, which is its number, in groups of these sizes.
fn numbered(trained: &[TrainedTensor], order: &[usize], sizes: &[usize]) -> Obj {
    let states = order.iter().enumerate().map(|(number, at)| {
        let spec = &trained[*at].spec;
        let mut shape = spec.shape.clone();
        if trained[*at].transposed {
            shape.reverse();
        }
        let values = tensor(&shape, vec![number as f32; spec.numel()]);
        (Obj::Int(number as i32), dict([("exp_avg", values.clone()), ("exp_avg_sq", values)]))
    });
    let mut numbers = (0..order.len() as i32).map(Obj::Int);
    let groups =
        sizes.iter().map(|size| dict([("params", Obj::List(numbers.by_ref().take(*size).collect()))]));
    dict([("param_groups", Obj::List(groups.collect())), ("state", Obj::Dict(states.collect()))])
}

#[test]
fn groups_decide_the_order() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("optimizer.pt");
    let tensors = trained("qwen2-adamw");
    let numbers = |order: &[usize], sizes: &[usize]| {
        archive::write(&path, &numbered(&tensors, order, sizes));
        let file = MomentsFile::open(&path, tensors.clone(), |_| true).map_err(|e| e.to_string())?;
        let first = |index| file.read(index).unwrap().exp_avg_sq[0] as usize;
        Ok::<Vec<usize>, String>((0..tensors.len()).map(first).collect())
    };
    let all: Vec<usize> = (0..tensors.len()).collect();
    assert_eq!(numbers(&all, &[all.len()]).unwrap(), all, "one group has the order of the model");
    assert_eq!(numbers(&all, &[all.len(), 0]).unwrap(), all);
    // Older versions decayed RMS norms of some architectures: all of them, or those that
    // are not called layernorm.
    for plain in [&["bias"][..], &["bias", "layernorm"]] {
        let (weights, others): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|i| !plain.iter().any(|part| tensors[**i].spec.name.contains(part)));
        let order = [weights.clone(), others.clone()].concat();
        let found = numbers(&order, &[weights.len(), others.len()]).unwrap();
        assert!(order.iter().enumerate().all(|(number, tensor)| found[*tensor] == number));
    }

    assert_says(&numbers(&all, &[all.len() - 1]).unwrap_err(), &["do not fit", "numbers 13", "14 tensors"]);
    assert_says(&numbers(&all, &[1, all.len() - 1]).unwrap_err(), &["first group has 1", "all but biases"]);
    assert_says(&numbers(&all, &[1, 1, all.len() - 2]).unwrap_err(), &["3 groups"]);
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    assert_says(&numbers(&swapped, &[all.len()]).unwrap_err(), &["has shape", "embed_tokens"]);
}
