//! The matrices of the sides of a module, as plain data that any backend can take.

/// A matrix of `rows x columns`, and the column of a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct SideMatrix {
    /// Projected values.
    pub rows: usize,
    /// Values that are projected, without the constant one of a bias.
    pub columns: usize,
    /// The entries.
    pub entries: SideEntries,
    /// What each token's constant one adds to the projected values: one value per row, or empty without a
    /// bias.
    pub constant: Vec<f32>,
}

/// The matrices of both sides of a module.
pub struct SideMatrices {
    /// Of the output gradients, or of the one-hot token of an embedding.
    pub out: SideMatrix,
    /// Of the inputs, or of the hidden gradient of an embedding.
    pub input: SideMatrix,
}

/// Entries of a side, every scale factor included.
#[derive(Clone, Debug, PartialEq)]
pub enum SideEntries {
    /// All of them, row-major.
    Dense(Vec<f32>),
    /// Those that are not zero, ascending by source, at most one of each source. A mask has one of
    /// each destination, too.
    Sparse(Vec<SideEntry>),
}

/// A non-zero of a sparse side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SideEntry {
    /// Row.
    pub dest: u32,
    /// Column.
    pub source: u32,
    /// Value.
    pub factor: f32,
}

impl SideMatrix {
    /// Row-major `values` of all columns, of which the last is that of the bias if there is one.
    pub(in crate::projection) fn dense(rows: usize, columns: usize, values: Vec<f32>, bias: bool) -> Self {
        if !bias {
            return Self { rows, columns, entries: SideEntries::Dense(values), constant: Vec::new() };
        }
        let mut constant = Vec::with_capacity(rows);
        let mut inner = Vec::with_capacity(rows * (columns - 1));
        for row in values.chunks_exact(columns) {
            inner.extend_from_slice(&row[..columns - 1]);
            constant.push(row[columns - 1]);
        }
        Self { rows, columns: columns - 1, entries: SideEntries::Dense(inner), constant }
    }

    /// Entries of all columns, ascending by source; the last column is that of the bias if there is one.
    pub(in crate::projection) fn sparse(
        rows: usize,
        columns: usize,
        mut entries: Vec<SideEntry>,
        bias: bool,
    ) -> Self {
        let mut constant = Vec::new();
        if bias {
            constant.resize(rows, 0.0);
            if let Some(last) = entries.pop_if(|e| e.source as usize == columns - 1) {
                constant[last.dest as usize] = last.factor;
            }
        }
        let columns = columns - usize::from(bias);
        Self { rows, columns, entries: SideEntries::Sparse(entries), constant }
    }

    /// The projection of a one at `source` and zeros elsewhere: a token's side of an embedding.
    ///
    /// # Panics
    /// If there is no such column or `out` has not [`Self::rows`] values.
    pub fn column(&self, source: usize, out: &mut [f64]) {
        assert!(source < self.columns && out.len() == self.rows, "column {source} of {}", self.columns);
        out.fill(0.0);
        match &self.entries {
            SideEntries::Dense(entries) => {
                for (out, row) in out.iter_mut().zip(entries.chunks_exact(self.columns)) {
                    *out = f64::from(row[source]);
                }
            }
            SideEntries::Sparse(entries) => {
                if let Ok(at) = entries.binary_search_by_key(&source, |e| e.source as usize) {
                    out[entries[at].dest as usize] = f64::from(entries[at].factor);
                }
            }
        }
    }

    /// Bytes of the entries.
    pub fn bytes(&self) -> usize {
        let entries = match &self.entries {
            SideEntries::Dense(values) => size_of_val(values.as_slice()),
            SideEntries::Sparse(entries) => size_of_val(entries.as_slice()),
        };
        entries + size_of_val(self.constant.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_a_bias_is_kept_apart() {
        let dense = SideMatrix::dense(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], true);
        assert_eq!((dense.columns, dense.constant.as_slice()), (2, [3.0, 6.0].as_slice()));
        assert_eq!(dense.entries, SideEntries::Dense(vec![1.0, 2.0, 4.0, 5.0]));
        let mut out = [0.0; 2];
        dense.column(1, &mut out);
        assert_eq!(out, [2.0, 5.0]);

        let entry = |dest, source, factor| SideEntry { dest, source, factor };
        let sparse = SideMatrix::sparse(2, 3, vec![entry(1, 0, -1.0), entry(0, 2, 2.0)], true);
        assert_eq!((sparse.columns, sparse.constant.as_slice()), (2, [2.0, 0.0].as_slice()));
        assert_eq!(sparse.entries, SideEntries::Sparse(vec![entry(1, 0, -1.0)]));
        sparse.column(1, &mut out);
        assert_eq!(out, [0.0, 0.0]);
        let unsampled = SideMatrix::sparse(1, 3, vec![entry(0, 1, 2.0)], true);
        assert_eq!(unsampled.constant, [0.0]);
    }
}
