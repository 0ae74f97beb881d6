//! Promise: shards that are computed apart and attached, in any order and any number of times, make the store
//! that one process would have made; whatever does not fit is refused, and then nothing has changed.

mod attach;
mod compute;
mod crash;
mod receipt;
mod refusals;
mod support;
mod together;
