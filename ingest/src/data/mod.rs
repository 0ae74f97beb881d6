//! Training data: lines, records, metadata columns, templates and tokens.
//!
//! The way of a sample: [`JsonlReader`] gives the exact bytes of a line, [`parse_record`] its id, content and metadata,
//! [`Schema`] the metadata in column order, [`TextEncoder`] the token ids and which of them count for the loss.

mod encode;
mod ids;
mod json;
mod jsonl;
mod record;
mod schema;
mod special;
mod template;

pub use encode::{EncodeError, Encoded, TextEncoder};
pub use ids::IdAllocator;
pub use jsonl::{JsonlReader, LINE_LIMIT, Line, ReadError};
pub use record::{Content, Message, Record, RecordError, Role, parse_record};
pub use schema::{ColumnOverride, FixedBy, Schema, SchemaBuilder, SchemaError};
pub use template::TemplateKind;
