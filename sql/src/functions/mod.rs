//! Functions that the engine does not have and analysts reach for: of JSON, for counting, for numbers.
//!
//! Invariants
//! - nothing here makes more of its arguments than they are, so none of these needs a limit of its own; what
//!   is gathered over rows counts against the memory of the session
//! - results do not depend on the order of rows, nor on the number of threads

mod best;
mod counts;
mod json;
mod numbers;
pub(crate) mod path;

use datafusion::prelude::SessionContext;

pub(crate) use numbers::hash;

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    json::functions().chain(numbers::functions()).for_each(|function| context.register_udf(function));
    best::functions().into_iter().chain(counts::functions()).for_each(|function| {
        context.register_udaf(function);
    });
}
