//! Tensors of the reference data.

#![allow(dead_code, reason = "the tests of each crate use a part")]

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Shape and values of each tensor, by name.
pub type Tensors = HashMap<String, (Vec<usize>, Vec<f64>)>;

/// The tensors of a file.
pub fn read(path: &Path) -> Tensors {
    let bytes = fs_err::read(path).expect("the tensors");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let named = file.tensors().into_iter().map(|(name, tensor)| {
        let values = values(&name, &tensor);
        (name, (tensor.shape().to_vec(), values))
    });
    named.collect()
}

/// The values of a tensor of any type of numbers: which one a file has says nothing of what they are.
pub fn values(name: &str, tensor: &TensorView<'_>) -> Vec<f64> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::U8 | Dtype::BOOL => widened(data, |bytes| f64::from(u8::from_le_bytes(bytes))),
        Dtype::I8 => widened(data, |bytes| f64::from(i8::from_le_bytes(bytes))),
        Dtype::U16 => widened(data, |bytes| f64::from(u16::from_le_bytes(bytes))),
        Dtype::U32 => widened(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
        Dtype::U64 => widened(data, |bytes| u64::from_le_bytes(bytes) as f64),
        Dtype::I16 => widened(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Dtype::I32 => widened(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::I64 => widened(data, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::F16 => widened(data, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => {
            widened(data, |bytes| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)))
        }
        Dtype::F32 => widened(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F64 => widened(data, f64::from_le_bytes),
        other => panic!("{name} has values of type {other:?}"),
    }
}

fn widened<const BYTES: usize>(data: &[u8], value: impl Fn([u8; BYTES]) -> f64) -> Vec<f64> {
    data.as_chunks::<BYTES>().0.iter().map(|bytes| value(*bytes)).collect()
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}
