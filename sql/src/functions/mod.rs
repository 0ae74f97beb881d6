//! Functions and operators that the engine does not have, or not as analysts expect them: of JSON, of times,
//! for counting, for numbers.
//!
//! Invariants
//! - what makes more of its arguments than they are has a limit in [`crate::bounds`], but for a few kilobytes of a
//!   bar; what is gathered over rows counts against the memory of the session
//! - results do not depend on the order of rows, nor on the number of threads

mod average;
mod best;
mod casts;
mod compared;
mod counts;
mod dates;
mod documents;
mod flags;
mod json;
mod kinds;
mod matches;
mod moments;
mod numbers;
mod objects;
mod parts;
pub(crate) mod path;
mod quantiles;
mod rounded;
pub(crate) mod spans;
mod substr;
mod sum;
mod texts;
mod whole;
mod written;

use datafusion::prelude::SessionContext;

pub(crate) use casts::nearest as nearest_whole;
pub(crate) use compared::ComparedSpans;
pub(crate) use flags::Flags;
pub(crate) use kinds::AS_TYPE;
pub(crate) use moments::Moments;
pub(crate) use numbers::hash;
pub(crate) use rounded::RoundedCasts;
pub(crate) use whole::Arithmetic;
pub(crate) use written::as_written;

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    let scalar = json::functions()
        .chain(numbers::functions())
        .chain(texts::functions())
        .chain(objects::functions())
        .chain(documents::functions())
        .chain(matches::functions())
        .chain(kinds::functions())
        .chain([dates::function(), substr::function()]);
    scalar.for_each(|function| context.register_udf(function));
    let aggregate = best::functions()
        .into_iter()
        .chain(counts::functions())
        .chain(quantiles::functions())
        .chain([sum::function(), average::function()]);
    aggregate.for_each(|function| context.register_udaf(function));
}
