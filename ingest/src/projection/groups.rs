//! Module groups: which coordinates of a vector belong to which module.

use gstore_store::ModuleGroup;

/// Name of the single group of a projection that mixes modules.
const ALL: &str = "all";

/// Parts of a parameter's name that say which parameter of the module it is.
const PARAMETER_PARTS: [&str; 7] =
    ["weight", "bias", "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"];

/// The module that a parameter belongs to: `model.layers.0.self_attn.q_proj` for both LoRA
/// factors of that projection.
pub(super) fn module_of(parameter: &str) -> &str {
    let mut module = parameter;
    while let Some((rest, last)) = module.rsplit_once('.') {
        if !PARAMETER_PARTS.contains(&last) {
            break;
        }
        module = rest;
    }
    module
}

pub(super) fn single(dim: u32) -> Vec<ModuleGroup> {
    vec![ModuleGroup { name: ALL.to_owned(), start: 0, len: dim }]
}

/// Neighbouring tensors of one module form a group. `tensors`: name and coordinates of each; the
/// coordinates' sum fits u32.
///
/// A module whose tensors are not neighbours has several groups, named `module`, `module#2`, ...
pub(super) fn by_module<'a>(tensors: impl IntoIterator<Item = (&'a str, u32)>) -> Vec<ModuleGroup> {
    let mut groups: Vec<ModuleGroup> = Vec::new();
    let mut modules: Vec<&str> = Vec::new();
    let mut start = 0;
    for (name, width) in tensors {
        let module = module_of(name);
        match groups.last_mut() {
            Some(group) if modules.last() == Some(&module) => group.len += width,
            _ => {
                let before = modules.iter().filter(|m| **m == module).count();
                let name = if before == 0 { module.to_owned() } else { format!("{module}#{}", before + 1) };
                groups.push(ModuleGroup { name, start, len: width });
                modules.push(module);
            }
        }
        start += width;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_parameters() {
        let q = "model.layers.0.self_attn.q_proj";
        for part in ["weight", "bias", "lora_A.weight", "lora_B.weight", "lora_A", "lora_embedding_B"] {
            assert_eq!(module_of(&format!("{q}.{part}")), q);
        }
        assert_eq!(module_of("weight"), "weight");
        assert_eq!(module_of("model.norm"), "model.norm");
    }

    #[test]
    fn neighbours_join() {
        let groups = by_module([("m.q.lora_A.weight", 3), ("m.q.lora_B.weight", 4), ("m.k.weight", 5)]);
        let got: Vec<_> = groups.iter().map(|g| (g.name.as_str(), g.start, g.len)).collect();
        assert_eq!(got, [("m.q", 0, 7), ("m.k", 7, 5)]);
    }

    #[test]
    fn a_module_in_two_places_has_two_groups() {
        let groups = by_module([("q.weight", 1), ("k.weight", 1), ("q.bias", 1)]);
        let got: Vec<_> = groups.into_iter().map(|g| g.name).collect();
        assert_eq!(got, ["q", "k", "q#2"]);
    }
}
