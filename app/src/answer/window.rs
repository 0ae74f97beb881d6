//! Columns of ranked rows, held for as many rows at a time as memory allows.
//!
//! Invariants
//! - rows are read in ascending order, since those of a ranking are scattered and a page of a sample file is
//!   decoded whole: 1,024 of them touch about as many pages, and many more do not touch many more
//! - what is held takes at most [`BYTES`], unless it is [`CHUNK`] rows

use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use gstore_core::Cancel;
use gstore_query::influence::Scored;
use gstore_store::ReadError;

use super::{AnswerError, CHUNK, Pool};

/// Bytes of the columns that are held.
const BYTES: usize = 64 << 20;
/// Rows that are held at most: each takes 16 bytes more, for its place.
const ROWS: usize = 1024 * CHUNK;
/// Rows that are read first. They say how long rows are.
const FIRST: usize = 16 * CHUNK;

/// Columns of ranked rows, in the order of the ranking.
pub(crate) struct RowWindow<'a> {
    pools: &'a [Pool],
    rows: &'a [Scored],
    /// The names of the columns in each pool; none where it has no such column.
    names: Vec<Vec<Option<&'a str>>>,
    cancel: &'a Cancel,
    /// Bytes of the columns that are held.
    bytes: usize,
    /// Rows to be read next.
    next: usize,
    /// Places of the rows that are held.
    held: Range<usize>,
    /// The batch that has each of them, and its place in there.
    cells: Vec<(u32, u32)>,
    batches: Vec<Vec<Option<ArrayRef>>>,
}

impl<'a> RowWindow<'a> {
    /// Reads nothing yet. `names`: of each column its name in a pool.
    pub(crate) fn new(
        pools: &'a [Pool],
        rows: &'a [Scored],
        names: impl Fn(&'a Pool) -> Vec<Option<&'a str>>,
        cancel: &'a Cancel,
    ) -> Self {
        let names = pools.iter().map(names).collect();
        let (cells, batches) = (Vec::new(), Vec::new());
        Self { pools, rows, names, cancel, bytes: BYTES, next: FIRST, held: 0..0, cells, batches }
    }

    /// Makes sure that some places are held, at most [`CHUNK`] of them; those before them may go.
    ///
    /// # Errors
    /// A row that is not there, damage, and being told to stop.
    pub(crate) fn hold(&mut self, places: &Range<usize>) -> Result<(), AnswerError> {
        if self.held.start <= places.start && places.end <= self.held.end {
            return Ok(());
        }
        let mut rows = self.next.min(self.rows.len() - places.start);
        let bytes = loop {
            match self.read(places.start..places.start + rows)? {
                Some(bytes) => break bytes,
                None => rows = (rows / 2).max(CHUNK),
            }
        };
        // The next rows may be longer.
        let fit = self.bytes / 4 * 3 / bytes.div_ceil(rows).max(1);
        self.next = fit.clamp(CHUNK, ROWS) / CHUNK * CHUNK;
        Ok(())
    }

    /// The values of a column at some places, which are held.
    pub(crate) fn column(&self, column: usize, places: &Range<usize>) -> Vec<Option<ArrayRef>> {
        let value = |(batch, row): (u32, u32)| {
            let column = self.batches.get(batch as usize)?.get(column)?.as_ref()?;
            Some(column.slice(row as usize, 1))
        };
        let held = places.start - self.held.start..places.end - self.held.start;
        self.cells[held].iter().map(|cell| value(*cell)).collect()
    }

    /// Reads the rows at some places, and returns the bytes of them; none if they are too many.
    fn read(&mut self, held: Range<usize>) -> Result<Option<usize>, AnswerError> {
        self.held = 0..0;
        self.batches.clear();
        self.cells.clear();
        self.cells.resize(held.len(), (0, 0));
        let rows = &self.rows[held.clone()];
        let mut bytes = 0;
        for (number, (pool, names)) in self.pools.iter().zip(&self.names).enumerate() {
            let mut places: Vec<usize> =
                (0..rows.len()).filter(|at| rows[*at].pool as usize == number).collect();
            places.sort_unstable_by_key(|at| rows[*at].row);
            let columns: Vec<&str> = names.iter().flatten().copied().collect();
            for part in places.chunks(CHUNK) {
                self.cancel.check()?;
                let part_rows: Vec<u64> = part.iter().map(|at| rows[*at].row).collect();
                let batch = match pool.samples.get(&part_rows, &columns) {
                    // Fewer rows of the ranking may have fewer long ones next to each other.
                    Err(ReadError::TooLarge { .. }) if rows.len() > CHUNK => return Ok(None),
                    batch => batch?,
                };
                bytes += batch.get_array_memory_size();
                if bytes > self.bytes && rows.len() > CHUNK {
                    return Ok(None);
                }
                for (at, place) in part.iter().enumerate() {
                    self.cells[*place] = (self.batches.len() as u32, at as u32);
                }
                let column = |name: &Option<&str>| batch.column_by_name((*name)?).cloned();
                self.batches.push(names.iter().map(column).collect());
            }
        }
        self.held = held;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use gstore_query::influence::NO_SUBTASK;
    use gstore_store::{AppendOptions, ColumnSpec, ColumnType, DatasetName, MetaValue, NewSample, Store};

    use super::*;
    use crate::answer::open_pools;

    /// Rows of each pool.
    const EACH: usize = 3 * CHUNK;

    /// A store with two pools, of which the second alone has a column.
    fn pools(folder: &std::path::Path) -> Vec<Pool> {
        let store = Store::create(folder.join("store")).unwrap();
        for (pool, columns) in [("a", vec![]), ("b", vec![ColumnSpec::inferred("n", ColumnType::Int)])] {
            let name = DatasetName::try_from(pool).unwrap();
            let mut append = store.append(&name, columns.clone(), AppendOptions::default()).unwrap();
            for row in 0..EACH {
                let (id, record) =
                    (format!("{pool}{row}"), format!("{{\"text\":\"{}\"}}", "x".repeat(row % 300)));
                let metadata = columns.iter().map(|_| MetaValue::Int(row as i64)).collect();
                append.push(NewSample { id: &id, record: Some(record.as_bytes()), metadata }).unwrap();
            }
            append.finish().unwrap();
        }
        open_pools(&store.snapshot().unwrap(), &["a".to_owned(), "b".to_owned()]).unwrap()
    }

    fn scored(pool: u32, row: u64) -> Scored {
        Scored { pool, row, pos: None, score: 0.0, subtask: NO_SUBTASK }
    }

    #[test]
    fn rows_come_in_the_order_of_the_ranking_however_many_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let pools = pools(folder.path());
        // 1,009 is prime, so that each row of both pools occurs once; the first occurs twice.
        let all = (0..2 * EACH).map(|at| at * 1009 % (2 * EACH));
        let mut rows: Vec<Scored> = all.map(|at| scored((at / EACH) as u32, (at % EACH) as u64)).collect();
        rows.push(rows[0]);
        let cancel = Cancel::new();
        for bytes in [0, 1 << 19, BYTES] {
            let names = |pool: &Pool| vec![Some("id"), Some("record"), (pool.name == "b").then_some("n")];
            let mut window = RowWindow { bytes, ..RowWindow::new(&pools, &rows, names, &cancel) };
            let mut held = 0;
            for start in (0..rows.len()).step_by(CHUNK) {
                let places = start..rows.len().min(start + CHUNK);
                window.hold(&places).unwrap();
                held = held.max(window.held.len());
                let [ids, records, numbers] = [0, 1, 2].map(|column| window.column(column, &places));
                for (at, row) in rows[places].iter().enumerate() {
                    let (pool, length) = (&pools[row.pool as usize].name, row.row as usize % 300);
                    let id = ids[at].as_ref().unwrap().as_string::<i32>().value(0).to_owned();
                    assert_eq!(id, format!("{pool}{}", row.row));
                    let record = records[at].as_ref().unwrap().as_binary::<i32>().value(0).len();
                    assert_eq!(record, length + r#"{"text":""}"#.len());
                    assert_eq!(numbers[at].is_some(), pool == "b");
                }
            }
            match bytes {
                0 => assert_eq!(held, CHUNK),
                BYTES => assert_eq!(held, rows.len()),
                _ => assert!((CHUNK..rows.len()).contains(&held), "{held}"),
            }
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let pools = pools(folder.path());
        let rows = [scored(0, 1), scored(0, EACH as u64)];
        let cancel = Cancel::new();
        let mut window = RowWindow::new(&pools, &rows, |_| vec![Some("id")], &cancel);
        let error = window.hold(&(0..2)).unwrap_err().to_string();
        assert_eq!(error, format!("dataset \"a\" has no row {EACH}"));
    }
}
