//! A restricted reader of Python pickles: it builds plain values and never runs anything.
//!
//! Invariants
//! - the only names a pickle may refer to are those of `Global`; any other is an error that names it
//! - depth, number of values and size are bounded, so a hostile file costs bounded time and memory
//! - nothing panics, whatever the bytes

mod machine;
mod value;

pub use machine::{PickleLimits, parse};
pub use value::{PickleValue, ScalarType, StorageRef, TensorRef};

/// Why a pickle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum PickleError {
    #[error("the pickle ends early, at byte {0}")]
    Truncated(usize),
    /// An instruction that plain data never needs.
    #[error("pickle instruction 0x{opcode:02x} at byte {at} is not allowed")]
    Opcode { opcode: u8, at: usize },
    /// The pickle refers to code or to a type outside the allowed list.
    #[error("the pickle refers to `{0}`, which gstore does not load")]
    Global(String),
    /// A tensor whose values its own class keeps.
    #[error(
        "the pickle has a tensor of a subclass (`{0}`), quantised as by torchao or in parts, which gstore does not load: use an optimizer whose state is plain tensors"
    )]
    Subclass(&'static str),
    /// A tensor of a type without a class of storages, such as those of 8 bits.
    #[error(
        "the pickle has a tensor of dtype {0}, as the codes of a quantised optimizer have, which gstore does not load: train with a 32-bit optimizer, such as adamw_torch"
    )]
    Dtype(String),
    #[error("the pickle is malformed at byte {at}: {what}")]
    Malformed { at: usize, what: &'static str },
    #[error("the pickle exceeds the limit of {limit} {what}")]
    Limit { limit: usize, what: &'static str },
}

/// The names that a pickle may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    RebuildTensor,
    RebuildParameter,
    Storage(ScalarType),
    OrderedDict,
}

/// Starts of the names of types without a class of storages.
const NO_STORAGE: [&str; 5] = ["float8_", "float4_", "uint", "bits", "complex32"];

impl Global {
    fn lookup(module: &str, name: &str) -> Result<Global, PickleError> {
        Ok(match (module, name) {
            // The third version is for types without a class of storages: it counts the bytes of a storage,
            // and its last argument is the name of the type, which is refused.
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => Global::RebuildTensor,
            ("torch.storage", "UntypedStorage") => Global::Storage(ScalarType::U8),
            ("torch", dtype) if NO_STORAGE.iter().any(|start| dtype.starts_with(start)) => {
                return Err(PickleError::Dtype(dtype.to_owned()));
            }
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._tensor", "_rebuild_from_type_v2") => {
                return Err(PickleError::Subclass("torch._tensor._rebuild_from_type_v2"));
            }
            ("torch", storage) => match ScalarType::from_storage_class(storage) {
                Some(scalar) => Global::Storage(scalar),
                None => return Err(PickleError::Global(format!("torch.{storage}"))),
            },
            _ => return Err(PickleError::Global(format!("{module}.{name}"))),
        })
    }
}
