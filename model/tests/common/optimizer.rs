//! Optimizer states of a small adapter, in both keyings.

use gstore_model::params::TensorSpec;

use super::archive::{Obj, dict, tensor, text};
use super::tiny::noise;

pub fn specs() -> Vec<TensorSpec> {
    let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.to_vec() };
    vec![
        spec("model.layers.0.self_attn.q_proj.lora_A.weight", &[2, 5]),
        spec("model.layers.0.self_attn.q_proj.lora_B.weight", &[3, 2]),
    ]
}

pub fn state(spec: &TensorSpec, seed: u64) -> Obj {
    let positive = noise(seed + 1, spec.numel(), 1.0).into_iter().map(|v| v * v).collect();
    dict([
        ("step", tensor(&[], vec![112.0])),
        ("exp_avg", tensor(&spec.shape, noise(seed, spec.numel(), 1.0))),
        ("exp_avg_sq", tensor(&spec.shape, positive)),
    ])
}

pub fn index_keyed(states: Vec<Obj>) -> Obj {
    let numbers: Vec<Obj> = (0..states.len() as i32).map(Obj::Int).collect();
    let entries = numbers.iter().cloned().zip(states).collect();
    let group = |params: Vec<Obj>| {
        dict([("lr", Obj::Float(1e-3)), ("initial_lr", Obj::Float(2e-3)), ("params", Obj::List(params))])
    };
    dict([
        ("state", Obj::Dict(entries)),
        ("param_groups", Obj::List(vec![group(numbers), group(Vec::new())])),
    ])
}

pub fn name_keyed(prefix: &str, infix: &str) -> Obj {
    let entries = specs().into_iter().enumerate().map(|(i, s)| {
        let name = s.name.replace(".weight", &format!("{infix}.weight"));
        (text(&format!("{prefix}{name}")), state(&s, i as u64 * 10))
    });
    dict([("state", Obj::Dict(entries.rev().collect()))])
}
