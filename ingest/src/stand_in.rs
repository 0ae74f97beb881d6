//! Stand-ins for types of gstore-store until its branch exports them.
use gstore_store::ColumnType;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// Absent.
    Null,
    /// Boolean.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Float.
    Float(f64),
    /// Text.
    Text(String),
}
impl MetaValue {
    /// The type of column that holds it; a null fits every column.
    pub fn column_type(&self) -> Option<ColumnType> {
        match self {
            MetaValue::Null => None,
            MetaValue::Bool(_) => Some(ColumnType::Bool),
            MetaValue::Int(_) => Some(ColumnType::Int),
            MetaValue::Float(_) => Some(ColumnType::Float),
            MetaValue::Text(_) => Some(ColumnType::Text),
        }
    }
}
/// A metadata column of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Key in the records.
    pub key: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether the user asked for this type.
    pub declared: bool,
}
