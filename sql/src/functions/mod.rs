//! Functions and operators that the engine does not have, or not as analysts expect them: of JSON, of times,
//! for counting, for numbers.
//!
//! Invariants
//! - nothing here makes more of its arguments than they are, so none of these needs a limit of its own; what
//!   is gathered over rows counts against the memory of the session
//! - results do not depend on the order of rows, nor on the number of threads

mod average;
mod best;
mod casts;
mod counts;
mod dates;
mod json;
mod matches;
mod moments;
mod numbers;
pub(crate) mod path;
mod rounded;
mod substr;
mod sum;
mod whole;

use datafusion::prelude::SessionContext;

pub(crate) use moments::Moments;
pub(crate) use numbers::hash;
pub(crate) use rounded::RoundedCasts;
pub(crate) use whole::Arithmetic;

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    let scalar = json::functions().chain(numbers::functions()).chain([
        dates::function(),
        substr::function(),
        matches::function(),
    ]);
    scalar.for_each(|function| context.register_udf(function));
    let aggregate = best::functions()
        .into_iter()
        .chain(counts::functions())
        .chain([sum::function(), average::function()]);
    aggregate.for_each(|function| context.register_udaf(function));
}
