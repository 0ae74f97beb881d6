//! Optimizer states: bare pickles, and pickles in `torch.save` archives.

use super::{KIB, MIB};
use crate::{Target, folder};
use gstore_model::weights::{PickleLimits, PickleValue, TorchArchive, parse_pickle};

/// A pickle.
pub const PICKLE: Target = Target {
    name: "pickle",
    run: pickle,
    // An instruction of one byte creates a value of 96 bytes, twice in vectors that double; even in a short
    // pickle sharing may create 1,024 further values.
    per_byte: 500,
    constant: 256 * KIB,
    words: &[
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"ccollections\nOrderedDict\n",
        b"X\x07\x00\x00\x00storage",
        b"\x94",
        b"h\x00",
        b"r\xff\xff\x00\x00",
        b"j\x00\x00\x00\x00",
        b"](",
        b"}(",
        b")R",
        b"tQ",
        b"\x8a\x09",
    ],
};

fn pickle(data: &[u8]) {
    let limits = PickleLimits::default();
    if let Ok(value) = parse_pickle(data, limits) {
        assert!(depth(&value) <= limits.depth + 1);
    }
}

fn depth(value: &PickleValue) -> usize {
    match value {
        PickleValue::List(items) | PickleValue::Tuple(items) => {
            1 + items.iter().map(depth).max().unwrap_or(0)
        }
        PickleValue::Dict(entries) => {
            1 + entries.iter().map(|(k, v)| depth(k).max(depth(v))).max().unwrap_or(0)
        }
        _ => 1,
    }
}

/// An archive of `torch.save`.
pub const TORCH: Target = Target {
    name: "torch",
    run: torch,
    // The pickle inside may be compressed, up to the length of the archive.
    per_byte: 600,
    constant: MIB,
    words: &[
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b"data.pkl",
        b"byteorder",
        b"data/0",
    ],
};

fn torch(data: &[u8]) {
    let folder = folder::with("torch", &[("optimizer.pt", data)]);
    let Ok(archive) = TorchArchive::open(&folder.join("optimizer.pt")) else { return };
    let mut tensors = 16;
    read(&archive, archive.root(), &mut tensors);
}

fn read(archive: &TorchArchive, value: &PickleValue, left: &mut usize) {
    match value {
        PickleValue::Tensor(tensor) if *left > 0 => {
            *left -= 1;
            if let Ok(values) = archive.read_f32(tensor) {
                assert_eq!(values.len(), tensor.shape.iter().product::<usize>());
            }
        }
        PickleValue::List(items) | PickleValue::Tuple(items) => {
            items.iter().for_each(|v| read(archive, v, left))
        }
        PickleValue::Dict(entries) => entries.iter().for_each(|(_, v)| read(archive, v, left)),
        _ => {}
    }
}
