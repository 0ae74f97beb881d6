//! Kernel jobs: the operands of a product.

use gstore_store::Signs;

use super::Queries;

/// Rows against queries over some module groups.
#[derive(Clone, Copy)]
pub(super) struct Job<'a, T> {
    /// Whole vectors of `queries.dim()` values.
    pub(super) values: &'a [T],
    pub(super) queries: &'a Queries,
    /// Module groups, in the order in which their products are added up.
    pub(super) groups: &'a [usize],
    /// Rows x groups of the queries: by which a product is multiplied before it is added to the row's sum.
    pub(super) factors: &'a [f32],
}

impl<T> Job<'_, T> {
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.queries.dim()
    }

    /// Adds the products of a row and a group with queries `from..from + products.len()`.
    #[inline(always)]
    pub(super) fn put(&self, out: &mut [f32], row: usize, group: usize, from: usize, products: &[f32]) {
        let out = &mut out[row * self.queries.len() + from..][..products.len()];
        let factor = self.factors[row * self.queries.groups() + group];
        out.iter_mut().zip(products).for_each(|(out, product)| *out += product * factor);
    }

    /// What the implementations rely on when they form pointers.
    pub(super) fn check(&self, out: &[f32]) {
        let rows = self.rows();
        assert!(rows * self.queries.dim() == self.values.len() && out.len() == rows * self.queries.len());
        assert!(self.groups.iter().all(|group| self.queries.span(*group).end <= self.queries.dim()));
        assert!(self.factors.len() == rows * self.queries.groups());
    }

    /// What is relied on where the rows at `chosen` alone are multiplied, which factors and sums belong to.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn check_at(&self, chosen: &[usize], out: &[f32]) {
        let rows = self.rows();
        assert!(chosen.iter().all(|row| *row < rows) && out.len() == chosen.len() * self.queries.len());
        assert!(self.groups.iter().all(|group| self.queries.span(*group).end <= self.queries.dim()));
        assert!(self.factors.len() == chosen.len() * self.queries.groups());
    }
}

/// Rows of signs against queries over some module groups; fields as in [`Job`].
#[derive(Clone, Copy)]
pub(super) struct SignJob<'a> {
    pub(super) rows: Signs<'a>,
    /// The rows that are multiplied, if not all are: what follows has places among them.
    pub(super) chosen: Option<&'a [usize]>,
    pub(super) queries: &'a Queries,
    pub(super) groups: &'a [usize],
    pub(super) factors: &'a [f32],
}

impl<'a> SignJob<'a> {
    /// Number of rows that are multiplied.
    pub(super) fn count(&self) -> usize {
        self.chosen.map_or(self.rows.vectors(), <[usize]>::len)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn words(&self, place: usize) -> &'a [u64] {
        words(self.rows, self.chosen, place)
    }

    /// Adds the product of one of them and a group with the only query.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn put(&self, out: &mut [f32], place: usize, group: usize, product: f32) {
        let job =
            Job { values: &[0i8; 0], queries: self.queries, groups: self.groups, factors: self.factors };
        job.put(out, place, group, 0, &[product]);
    }
}

/// The words of one of the rows, or of those chosen.
#[inline(always)]
pub(super) fn words<'a>(rows: Signs<'a>, chosen: Option<&[usize]>, place: usize) -> &'a [u64] {
    let row = chosen.map_or(place, |chosen| chosen[place]);
    &rows.words()[row * rows.each()..][..rows.each()]
}
