//! Training data: files, records, metadata columns, templates and tokens.
//!
//! The way of a sample: a [`RecordSource`] gives its JSON text, whatever the format of the file
//! ([`JsonlReader`]: the exact bytes of a line), [`FieldNames::read`] or [`parse_record`] its id,
//! content and metadata, [`Schema`] the metadata in column order, [`TextEncoder`] the token ids and
//! which of them count for the loss, as [`TextOptions`] say. [`SampleSource`] reads all of a source at once.

#![forbid(unsafe_code)]

mod cut;
mod encode;
mod encode_error;
mod field;
mod fields;
mod ids;
mod json;
mod jsonl;
mod layout;
mod nested;
mod numpy;
mod options;
mod record;
mod samples;
mod schema;
mod settings;
mod source;
mod special;
mod template;
mod tokenizer;
mod tuned;

pub use cut::{CutError, cut_records};
pub use encode::{Encoded, TextEncoder};
pub use encode_error::EncodeError;
pub use field::Field;
pub use fields::{ExpectedType, FieldError, FieldNames};
pub use gstore_core::content::{Content, Message, Role};
pub use ids::{Duplicates, IdAllocator};
pub use jsonl::{JsonLine, JsonlReader, ReadError};
pub use layout::{Layout, LayoutError};
pub use numpy::NumpyArray;
pub use options::TextOptions;
pub use record::{KeysOf, Record, RecordError, parse_object, parse_record};
pub use samples::{
    Reading, SampleError, SampleSource, TextSample, check_block, check_system, encode_each, in_blocks,
};
pub use schema::{ColumnOverride, FixedBy, ObservedType, Schema, SchemaBuilder, SchemaError};
pub use source::{
    DataError, DataFile, Place, RawRecord, RecordSource, Unit, conversion_hint, find, parquet_batches,
    parquet_metadata,
};
pub use template::TemplateKind;
