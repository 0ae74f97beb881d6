//! Canonical tensor names: those of the plain causal-LM state dict, without the prefixes that wrappers add.

use super::config::LlamaConfig;

/// The linear layers of a Llama decoder layer, in `named_parameters()` order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearKind {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
}

impl LinearKind {
    /// All kinds, in `named_parameters()` order.
    pub const ALL: [LinearKind; 7] = [
        LinearKind::Q,
        LinearKind::K,
        LinearKind::V,
        LinearKind::O,
        LinearKind::Gate,
        LinearKind::Up,
        LinearKind::Down,
    ];

    /// Path below `model.layers.{i}`.
    pub fn path(self) -> &'static str {
        match self {
            LinearKind::Q => "self_attn.q_proj",
            LinearKind::K => "self_attn.k_proj",
            LinearKind::V => "self_attn.v_proj",
            LinearKind::O => "self_attn.o_proj",
            LinearKind::Gate => "mlp.gate_proj",
            LinearKind::Up => "mlp.up_proj",
            LinearKind::Down => "mlp.down_proj",
        }
    }

    /// Output and input width.
    pub fn shape(self, config: &LlamaConfig) -> [usize; 2] {
        let hidden = config.hidden_size;
        let q = config.heads * config.head_dim;
        let kv = config.kv_heads * config.head_dim;
        match self {
            LinearKind::Q => [q, hidden],
            LinearKind::K | LinearKind::V => [kv, hidden],
            LinearKind::O => [hidden, q],
            LinearKind::Gate | LinearKind::Up => [config.intermediate_size, hidden],
            LinearKind::Down => [hidden, config.intermediate_size],
        }
    }

    /// Whether the layer carries a bias.
    pub fn biased(self, config: &LlamaConfig) -> bool {
        match self {
            LinearKind::Q | LinearKind::K | LinearKind::V | LinearKind::O => config.attention_bias,
            LinearKind::Gate | LinearKind::Up | LinearKind::Down => config.mlp_bias,
        }
    }
}

/// One linear layer of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearId {
    /// A linear layer of decoder layer `layer`.
    Layer {
        /// Index of the decoder layer.
        layer: usize,
        /// Which of its linear layers.
        kind: LinearKind,
    },
    /// The language-model head.
    Head,
}

impl LinearId {
    /// Canonical module name, without `.weight`.
    pub fn module(self) -> String {
        match self {
            LinearId::Layer { layer, kind } => format!("model.layers.{layer}.{}", kind.path()),
            LinearId::Head => "lm_head".to_owned(),
        }
    }

    /// The layer that a canonical module name means.
    pub fn parse(module: &str) -> Option<LinearId> {
        if module == "lm_head" {
            return Some(LinearId::Head);
        }
        let (layer, path) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let kind = LinearKind::ALL.into_iter().find(|k| k.path() == path)?;
        // "007" and "+7" parse as numbers but name no tensor.
        let index: usize = layer.parse().ok().filter(|i: &usize| i.to_string() == layer)?;
        Some(LinearId::Layer { layer: index, kind })
    }
}

/// Strips what PEFT, `DistributedDataParallel`, FSDP and `torch.compile` put around a name.
pub fn canonical(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = ["module.", "_fsdp_wrapped_module.", "_orig_mod.", "base_model.model."]
        .into_iter()
        .find_map(|prefix| name.strip_prefix(prefix))
    {
        name = rest;
    }
    name.split('.')
        .filter(|part| {
            !matches!(
                *part,
                "default"
                    | "modules_to_save"
                    | "_fsdp_wrapped_module"
                    | "_checkpoint_wrapped_module"
                    | "_orig_mod"
            )
        })
        .collect::<Vec<_>>()
        .join(".")
}
