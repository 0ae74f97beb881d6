//! What analysts write for DuckDB or PostgreSQL, put into what the engine understands.
//!
//! Forms that the parser does not know are changed in the token stream, where each token keeps its place in the
//! text; the rest in the parsed statement, before it is planned. What has no meaning here is refused in one line
//! that says how to write it.

mod aliases;
mod arrows;
mod by_all;
mod calls;
mod casts;
mod chained;
mod columns;
mod compared;
mod differs;
mod first;
mod forms;
mod free;
mod given;
mod headings;
mod hidden;
mod lists;
mod merged;
mod named;
mod nulls;
mod operators;
mod ordered;
mod otherwise;
mod planned;
mod refused;
mod rows;
mod sample;
mod summarize;
mod tokens;
mod twice;
mod types;

pub(crate) use calls::{known, resolve};
pub(crate) use columns::expand as expand_columns;
pub(crate) use differs::put as put_comparisons;
pub(crate) use forms::full_time;
pub(crate) use free::is_taken;
pub(crate) use given::names_itself;
pub(crate) use headings::{Headings, renamed};
pub(crate) use merged::merge;
pub(crate) use named::{call_of, calls as own_calls, renamed as renamed_functions};
pub(crate) use otherwise::{nearly_written_otherwise, written_otherwise};
pub(crate) use planned::planned;
pub(crate) use sample::sampled;
pub(crate) use summarize::expand as expand_summary;
pub(crate) use tokens::statements;

use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use super::error::SqlError;

/// The tokens of a statement as the parser understands them.
pub(crate) fn understood(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlError> {
    refused::check(&tokens)?;
    let tokens = tokens::usual(tokens::plain(nulls::tokens(differs::tokens(free::tokens(tokens)))));
    Ok(summarize::tokens(sample::tokens(first::tokens(tokens))?))
}
