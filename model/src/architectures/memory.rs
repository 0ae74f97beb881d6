//! Sizes in memory that follow from a decoder, for forecasts.

use super::decoder::{Decoder, LinearId, LinearKind, Mlp, Param, QkNorm, TensorRole};
use crate::backend::ComputePrecision;
use crate::device::Device;

impl Decoder {
    /// Bytes of the weights as one device of a backend holds them. An embedding that is also the head is there
    /// as both.
    pub fn weight_bytes(&self, device: Device, compute: ComputePrecision) -> u64 {
        let of_layer = device.bytes_per_weight(compute);
        let of_head = device.bytes_per_weight(compute.product_precision());
        let of_param = |param: &Param| {
            let of_value = match param.role {
                TensorRole::Weight(_) if param.is_map_of_layer() => of_layer,
                TensorRole::Weight(_) => of_head,
                TensorRole::Embedding if self.tied => 4 + of_head,
                _ => 4,
            };
            param.shape.iter().fold(of_value, |bytes, size| bytes.saturating_mul(*size as u64))
        };
        self.params.iter().map(of_param).fold(0, u64::saturating_add)
    }

    /// Values of a token that a layer keeps and that only operations inside it read, in the precision of factors
    /// of products: [`Backend::linear_inside`](crate::Backend::linear_inside). Maps with factors of an `adapted`
    /// kind next to them give none.
    pub fn values_inside_layer(&self, adapted: &[LinearKind]) -> u64 {
        // What an activation makes is as precise as what it is made of.
        let mut maps = match self.mlp {
            Mlp::Gated(_) => vec![LinearKind::Gate, LinearKind::Gate, LinearKind::Up],
            Mlp::Plain(_) => vec![LinearKind::Up, LinearKind::Up],
        };
        // Norms read f32, and so does attention with heads of other widths.
        if self.heads.dim.is_multiple_of(8) {
            maps.push(LinearKind::V);
            if self.head_norm == QkNorm::None {
                maps.extend([LinearKind::Q, LinearKind::K]);
            }
        }
        maps.retain(|kind| !adapted.contains(kind));
        let width = |kind| self.linear_shape(LinearId::Layer { layer: 0, kind })[0] as u64;
        maps.into_iter().map(width).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder with a layer of its own number of heads and width of a head.
    fn decoder(change: &[(&str, serde_json::Value)]) -> Decoder {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "vocab_size": 37, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
            "max_position_embeddings": 64, "tie_word_embeddings": false
        });
        change.iter().for_each(|(key, value)| config[*key] = value.clone());
        fs_err::write(&path, config.to_string()).unwrap();
        Decoder::read(&path).unwrap()
    }

    #[test]
    fn embeddings_and_norms_are_in_f32_and_a_tied_head_is_there_twice() {
        let (own, tied) = (decoder(&[]), decoder(&[("tie_word_embeddings", true.into())]));
        let (maps, table, norms) = (2 * (16 * (32 + 16 + 16 + 32) + 3 * 16 * 24), 37 * 16, 5 * 16);
        for (device, compute, of_layer, of_head) in [
            (Device::Cpu, ComputePrecision::F32, 8, 8),
            (Device::Cuda(0), ComputePrecision::F32, 4, 4),
            (Device::Cuda(0), ComputePrecision::Bf16, 2, 2),
            (Device::Cuda(0), ComputePrecision::I8, 1, 2),
        ] {
            let all = of_layer * maps + (of_head + 4) * table + 4 * norms;
            assert_eq!([&own, &tied].map(|decoder| decoder.weight_bytes(device, compute)), [all; 2]);
        }
    }

    #[test]
    fn values_inside_layers_are_those_that_neither_norms_nor_adapters_nor_attention_in_f32_need() {
        use LinearKind::{Down, Gate, K, O, Q, Up, V};
        let (plain, of_mlp) = (decoder(&[]), 3 * 24);
        assert_eq!(plain.values_inside_layer(&[]), of_mlp + 32 + 2 * 16);
        assert_eq!(plain.values_inside_layer(&[Q, K, V, O, Down]), of_mlp);
        // The product has the type of the gate.
        assert_eq!(plain.values_inside_layer(&[Q, K, V, Gate]), 24);
        assert_eq!(plain.values_inside_layer(&[Q, K, V, Up]), 2 * 24);
        assert_eq!(decoder(&[("head_dim", 6.into())]).values_inside_layer(&[]), of_mlp);
        let normed = Decoder { head_norm: QkNorm::Each, ..plain };
        assert_eq!(normed.values_inside_layer(&[]), of_mlp + 16);
    }
}
