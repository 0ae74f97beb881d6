//! Plain values read from a pickle.

use std::sync::Arc;

/// Element type of a torch storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarType {
    /// `FloatStorage`
    F32,
    /// `DoubleStorage`
    F64,
    /// `HalfStorage`
    F16,
    /// `BFloat16Storage`
    BF16,
    /// `LongStorage`
    I64,
    /// `IntStorage`
    I32,
    /// `ShortStorage`
    I16,
    /// `CharStorage`
    I8,
    /// `ByteStorage`
    U8,
    /// `BoolStorage`
    Bool,
}

impl ScalarType {
    pub(super) fn from_storage_class(name: &str) -> Option<ScalarType> {
        Some(match name {
            "FloatStorage" => ScalarType::F32,
            "DoubleStorage" => ScalarType::F64,
            "HalfStorage" => ScalarType::F16,
            "BFloat16Storage" => ScalarType::BF16,
            "LongStorage" => ScalarType::I64,
            "IntStorage" => ScalarType::I32,
            "ShortStorage" => ScalarType::I16,
            "CharStorage" => ScalarType::I8,
            "ByteStorage" => ScalarType::U8,
            "BoolStorage" => ScalarType::Bool,
            _ => return None,
        })
    }

    /// Torch's name of a type whose values are not floating point.
    pub(crate) fn not_float(self) -> Option<&'static str> {
        Some(match self {
            ScalarType::F32 | ScalarType::F64 | ScalarType::F16 | ScalarType::BF16 => return None,
            ScalarType::I64 => "int64",
            ScalarType::I32 => "int32",
            ScalarType::I16 => "int16",
            ScalarType::I8 => "int8",
            ScalarType::U8 => "uint8",
            ScalarType::Bool => "bool",
        })
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            ScalarType::F64 | ScalarType::I64 => 8,
            ScalarType::F32 | ScalarType::I32 => 4,
            ScalarType::F16 | ScalarType::BF16 | ScalarType::I16 => 2,
            ScalarType::I8 | ScalarType::U8 | ScalarType::Bool => 1,
        }
    }
}

/// A storage: an entry of the archive that holds the elements of one or several tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageRef {
    /// Name of the entry below `data/`.
    pub key: Arc<str>,
    /// Element type.
    pub scalar: ScalarType,
    /// Number of elements.
    pub len: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorRef {
    /// Where the elements are.
    pub storage: StorageRef,
    /// First element.
    pub offset: usize,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Steps in elements, outermost first; as many as sizes.
    pub stride: Vec<usize>,
}

/// A value of a pickle. Shared objects are copied, cyclic ones refused.
#[derive(Debug, Clone, PartialEq)]
pub enum PickleValue {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Vec<PickleValue>),
    /// A tuple.
    Tuple(Vec<PickleValue>),
    /// A dict or an `OrderedDict`, in insertion order; a repeated key keeps its last value.
    Dict(Vec<(PickleValue, PickleValue)>),
    /// A torch tensor.
    Tensor(TensorRef),
    /// A torch storage.
    Storage(StorageRef),
}

impl PickleValue {
    /// The value under a string key of a dict.
    pub fn get(&self, key: &str) -> Option<&PickleValue> {
        self.entries()?.iter().rev().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }

    /// The entries of a dict.
    pub fn entries(&self) -> Option<&[(PickleValue, PickleValue)]> {
        match self {
            PickleValue::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn items(&self) -> Option<&[PickleValue]> {
        match self {
            PickleValue::List(items) | PickleValue::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            PickleValue::Str(s) => Some(s),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            PickleValue::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// A float or an integer.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            PickleValue::Int(v) => Some(*v as f64),
            PickleValue::Float(v) => Some(*v),
            _ => None,
        }
    }
}
