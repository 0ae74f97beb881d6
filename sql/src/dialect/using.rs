//! Joins of a query: their tables and conditions, and the columns that `USING` merges.

mod joined;
mod key;
mod keys;

pub(crate) use self::joined::constraint;
pub(super) use self::joined::{JoinColumns, Side, TableJoin, column, joins_without_condition, quoted, table};
pub(super) use self::key::MergedColumn;
pub(super) use self::keys::{UsingJoins, joins_by_names};
