//! Quotas: how many rows of an answer may have the same value in a metadata column.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, Float64Array};
use arrow_schema::DataType;
use gstore_core::Cancel;
use gstore_store::{ColumnType, SampleReader};

use super::{Prepared, RowFilter, Scored};
use crate::error::QueryError;
use crate::hint::{did_you_mean, listing, nearest};
use crate::influence::RowMask;

/// The most rows of an answer for each value of a metadata column.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The metadata column, in any case where only one fits; `source` unless set.
    pub column: String,
    /// For a value (as text; `None`: every other value, and rows without one, each by itself) the most rows.
    limits: Vec<(Option<String>, Limit)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Rows(usize),
    /// Of the rows asked for.
    Percent(f64),
}

impl FromStr for Quota {
    type Err = QueryError;

    /// `math=100, code=10%, *=50`: rows, or a share of the rows asked for; `*` is each of the other values. A
    /// value that none names has no quota.
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let refuse = |part: &str, why: &str| QueryError::Spec(format!("quota => '{part}': {why}"));
        let mut limits: Vec<(Option<String>, Limit)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (value, limit) =
                part.rsplit_once('=').ok_or_else(|| refuse(part, "write value=rows or value=share%"))?;
            let (value, limit) = (value.trim(), limit.trim());
            let limit = match limit.strip_suffix('%') {
                Some(share) => match share.trim().parse::<f64>() {
                    Ok(share) if (0.0..=100.0).contains(&share) => Limit::Percent(share),
                    _ => return Err(refuse(part, "a share lies between 0% and 100%")),
                },
                None => Limit::Rows(
                    limit.parse().map_err(|_| refuse(part, "the quota is not a whole number of rows"))?,
                ),
            };
            let value = (value != "*").then(|| value.to_owned());
            if limits.iter().any(|(other, _)| *other == value) {
                return Err(refuse(part, "it is named twice"));
            }
            limits.push((value, limit));
        }
        Ok(Self { column: "source".into(), limits })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.column)?;
        for (i, (value, limit)) in self.limits.iter().enumerate() {
            let comma = if i == 0 { " " } else { ", " };
            let value = value.as_deref().unwrap_or("*");
            match limit {
                Limit::Rows(rows) => write!(f, "{comma}{value}={rows}")?,
                Limit::Percent(share) => write!(f, "{comma}{value}={share}%")?,
            }
        }
        Ok(())
    }
}

impl Quota {
    /// The same for another column.
    pub fn by(self, column: impl Into<String>) -> Self {
        Self { column: column.into(), ..self }
    }

    /// The same, with the column as the pools name it and with the values as their rows have them, and the
    /// type that holds the column's values in all pools. A pool that lacks it has rows without a value.
    ///
    /// # Errors
    /// A column that no pool has, and two limits of one value.
    pub(super) fn of_pools(&self, prepared: &Prepared) -> Result<(Self, ColumnType), QueryError> {
        let column = self.column_of(prepared)?;
        let columns = prepared.pools().iter().flat_map(|side| &side.dataset.columns);
        let types = columns.filter(|own| own.name == column).map(|own| own.ty);
        let ty = types.reduce(ColumnType::joined).unwrap_or(ColumnType::Text);
        let mut limits: Vec<(Option<String>, Limit)> = Vec::new();
        for (value, limit) in &self.limits {
            let value = value.as_deref().map(|value| value_in(ty, value)).transpose()?;
            if limits.iter().any(|(other, _)| *other == value) {
                let value = value.as_deref().unwrap_or("*");
                let why = format!("the quotas name `{value}` of the metadata column `{column}` twice");
                return Err(QueryError::Spec(why));
            }
            limits.push((value, *limit));
        }
        Ok((Self { column, limits }, ty))
    }

    /// The column as the pools name it. One that none of them has is refused.
    fn column_of(&self, prepared: &Prepared) -> Result<String, QueryError> {
        if let Some(column) = prepared.metadata_column(&self.column) {
            return Ok(column.to_owned());
        }
        let columns = prepared.pools().iter().flat_map(|side| &side.dataset.columns);
        let names: BTreeSet<&str> = columns.map(|column| column.name.as_str()).collect();
        let is_slip = nearest(&self.column, names.iter().copied()).is_some();
        match names.first().filter(|_| !is_slip) {
            // The column may be the default, which the question does not name.
            Some(example) => Err(QueryError::Spec(format!(
                "no pool has a metadata column `{}` for quotas; name one of {}, as with `quota_by => '{example}'`",
                self.column,
                listing(names.iter().copied())
            ))),
            None => Err(QueryError::unknown("metadata column", &self.column, names)),
        }
    }

    /// The values that have a limit of their own.
    fn named(&self) -> impl Iterator<Item = &str> {
        self.limits.iter().filter_map(|(value, _)| value.as_deref())
    }

    /// The most rows with a value, of `k` that are asked for.
    fn limit(&self, value: Option<&str>, k: usize) -> usize {
        let named = |wanted: Option<&str>| self.limits.iter().find(|(name, _)| name.as_deref() == wanted);
        let found = value.and_then(|value| named(Some(value))).or_else(|| named(None));
        match found {
            None => usize::MAX,
            Some((_, Limit::Rows(rows))) => *rows,
            Some((_, Limit::Percent(share))) => (share / 100.0 * k as f64) as usize,
        }
    }
}

/// Rows whose sources are read at once, and rows whose sources are kept.
const READ: usize = 1024;
const CACHED: usize = 1 << 16;

/// How many rows each source has so far.
pub(super) struct Sources {
    quota: Quota,
    ty: ColumnType,
    k: usize,
    pools: Vec<(SampleReader, bool)>,
    counts: HashMap<Option<String>, usize>,
    /// The sources of single rows; emptied when it grows long.
    known: HashMap<(u32, u64), Option<String>>,
}

impl Sources {
    pub(super) fn new(prepared: &Prepared, quota: &Quota, k: usize) -> Result<Self, QueryError> {
        let (quota, ty) = quota.of_pools(prepared)?;
        let mut pools = Vec::new();
        for side in prepared.pools() {
            let has = side.dataset.columns.iter().any(|own| own.name == quota.column);
            pools.push((prepared.snapshot().samples(&side.dataset)?, has));
        }
        Ok(Self { quota, ty, k, pools, counts: HashMap::new(), known: HashMap::new() })
    }

    /// Whether a row's source may have one more. `next` are the candidates that may follow.
    pub(super) fn has_room(&mut self, row: &Scored, next: &VecDeque<Scored>) -> Result<bool, QueryError> {
        if !self.known.contains_key(&(row.pool, row.row)) {
            self.read(row, next)?;
        }
        let source = self.known.get(&(row.pool, row.row)).cloned().flatten();
        let count = self.counts.get(&source).copied().unwrap_or(0);
        Ok(count < self.quota.limit(source.as_deref(), self.k))
    }

    /// Counts a row that was taken.
    pub(super) fn take(&mut self, row: &Scored) {
        let source = self.known.get(&(row.pool, row.row)).cloned().flatten();
        *self.counts.entry(source).or_default() += 1;
    }

    /// Reads the sources of a row and of those that may follow it.
    fn read(&mut self, row: &Scored, next: &VecDeque<Scored>) -> Result<(), QueryError> {
        if self.known.len() >= CACHED {
            self.known.clear();
        }
        let Some((pool, has)) = self.pools.get(row.pool as usize) else { return Ok(()) };
        let of_pool = std::iter::once(row).chain(next).filter(|s| s.pool == row.pool).take(READ);
        let rows: Vec<u64> = of_pool.map(|s| s.row).collect();
        if !has {
            self.known.extend(rows.iter().map(|number| ((row.pool, *number), None)));
            return Ok(());
        }
        let batch = pool.get(&rows, &[self.quota.column.as_str()])?;
        for (number, source) in rows.iter().zip(text(batch.column(0), self.ty)?) {
            self.known.insert((row.pool, *number), source);
        }
        Ok(())
    }

    /// Rows that a filter lets through and whose sources are not full; `None` while no source is.
    pub(super) fn open_rows(
        &self,
        filter: Option<&RowFilter>,
        cancel: &Cancel,
    ) -> Result<Option<RowFilter>, QueryError> {
        let full = |source: &Option<String>| {
            let count = self.counts.get(source).copied().unwrap_or(0);
            count >= self.quota.limit(source.as_deref(), self.k)
        };
        if !self.counts.keys().any(full) {
            return Ok(None);
        }
        let mut open = RowFilter::new();
        for (p, (pool, has)) in self.pools.iter().enumerate() {
            let mask = filter.and_then(|filter| filter.pool(p));
            let mut rows = RowMask::new();
            let columns = ["row", self.quota.column.as_str()];
            for batch in pool.scan(if *has { &columns } else { &columns[..1] }, None) {
                cancel.check()?;
                let batch = batch?;
                let numbers = batch.column(0).as_primitive::<UInt64Type>();
                let sources = match has {
                    true => text(batch.column(1), self.ty)?,
                    false => vec![None; batch.num_rows()],
                };
                for (row, source) in numbers.values().iter().zip(sources) {
                    if mask.is_none_or(|mask| mask.contains(*row)) && !full(&source) {
                        rows.insert(*row);
                    }
                }
            }
            open = open.with(p, rows);
        }
        Ok(Some(open))
    }

    /// What a user should know of values that have a quota and that no row of the pools has. Reads the column
    /// where that is not known yet.
    pub(super) fn notes(&self, cancel: &Cancel) -> Result<Vec<String>, QueryError> {
        let seen = |value: &str| {
            let is = |source: &Option<String>| source.as_deref() == Some(value);
            self.counts.keys().any(is) || self.known.values().any(is)
        };
        // Each with the value there is that is most like it.
        let mut absent: Vec<(&str, Option<String>)> =
            self.quota.named().filter(|value| !seen(value)).map(|value| (value, None)).collect();
        for (pool, _) in self.pools.iter().filter(|(_, has)| *has) {
            for batch in pool.scan(&[self.quota.column.as_str()], None) {
                if absent.is_empty() {
                    return Ok(Vec::new());
                }
                cancel.check()?;
                let values: BTreeSet<String> =
                    text(batch?.column(0), self.ty)?.into_iter().flatten().collect();
                absent.retain(|(value, _)| !values.contains(*value));
                for (value, best) in &mut absent {
                    let near = best.as_deref().into_iter().chain(values.iter().map(String::as_str));
                    *best = gstore_store::nearest(value, near).map(str::to_owned);
                }
            }
        }
        let note = |(value, best): (&str, Option<String>)| {
            let hint = best.map_or_else(String::new, |best| format!("; {}", did_you_mean(&best)));
            format!(
                "the quota of `{value}` has no effect: no row of the pools has it as its {}{hint}",
                self.quota.column
            )
        };
        Ok(absent.into_iter().map(note).collect())
    }
}

/// The values of a pool's column as text, as a column of the type that holds those of all pools shows them.
fn text(column: &ArrayRef, ty: ColumnType) -> Result<Vec<Option<String>>, QueryError> {
    let column = arrow_cast::cast(&arrow_cast::cast(column, &ty.arrow_type())?, &DataType::Utf8)?;
    let column = column.as_string::<i32>();
    // There is one zero.
    let shown = |value| if ty == ColumnType::Float && value == "-0.0" { "0.0" } else { value };
    Ok(column.iter().map(|value| value.map(|value| shown(value).to_owned())).collect())
}

/// A value that was written down, as [`text`] gives it: of floats `1` is `1.0`.
fn value_in(ty: ColumnType, written: &str) -> Result<String, QueryError> {
    let Some(number) = written.parse::<f64>().ok().filter(|_| ty == ColumnType::Float) else {
        return Ok(written.to_owned());
    };
    let column: ArrayRef = Arc::new(Float64Array::from(vec![number]));
    Ok(text(&column, ty)?.pop().flatten().unwrap_or_else(|| written.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rows_or_shares() {
        let quota: Quota = "math=100, a=b=5 ,code = 29%,*=50".parse().unwrap();
        assert_eq!(quota.column, "source");
        assert_eq!(quota.limit(Some("math"), 1000), 100);
        assert_eq!(quota.limit(Some("a=b"), 1000), 5);
        assert_eq!(quota.limit(Some("code"), 100), 28, "as `--top 29%` counts");
        assert_eq!((quota.limit(Some("other"), 9), quota.limit(None, 9)), (50, 50));
        let open: Quota = "math=0".parse().unwrap();
        assert_eq!((open.limit(Some("math"), 9), open.limit(Some("x"), 9)), (0, usize::MAX));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "math", "math=", "math=-1", "math=1.5", "math=101%", "math=nan%", "a=1,a=2", "*=1,*=2"]
        {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }

    #[test]
    fn there_is_one_zero_among_floats_and_none_among_texts() {
        assert_eq!(value_in(ColumnType::Float, "-0").unwrap(), "0.0");
        assert_eq!(value_in(ColumnType::Text, "-0.0").unwrap(), "-0.0");
    }
}
