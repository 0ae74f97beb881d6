//! Joins of a query: the tables of its `FROM`, and the columns that its `USING` joins them by.

mod joined;
mod key;
mod keys;

pub(crate) use self::joined::constraint;
pub(super) use self::joined::{JoinColumns, Side, TableJoin, column, joins_without_condition, quoted, table};
pub(super) use self::key::MergedColumn;
pub(super) use self::keys::{UsingJoins, joins_by_names};
