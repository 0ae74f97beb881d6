//! Joins of a query: the tables of its `FROM`, and the columns that its `USING` joins them by.

mod joined;
mod key;
mod keys;

pub(super) use self::joined::{By, Joined, Side, column, constraint, joins_without_condition, quoted, table};
pub(super) use self::key::Key;
pub(super) use self::keys::{Merged, joins_by_names};
