//! Canonical tensor names: those of the plain causal-LM state dict, without the prefixes that wrappers add.

/// Parts of names that wrappers put in the middle.
const INSIDE: [&str; 5] =
    ["default", "modules_to_save", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"];

/// Strips what PEFT, `DistributedDataParallel`, FSDP and `torch.compile` put around a name.
pub fn canonical(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = ["module.", "_fsdp_wrapped_module.", "_orig_mod.", "base_model.model."]
        .into_iter()
        .find_map(|prefix| name.strip_prefix(prefix))
    {
        name = rest;
    }
    name.split('.').filter(|part| !INSIDE.contains(part)).collect::<Vec<_>>().join(".")
}
