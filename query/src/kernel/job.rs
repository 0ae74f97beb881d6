//! Kernel job: the operands of a product.

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
    /// Without them the products of the only group are handed out as they are.
    pub(super) factors: Option<&'a [f32]>,
}

impl<T> Job<'_, T> {
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.queries.dim()
    }

    /// Hands out the products of a row and a group with queries `from..from + products.len()`.
    #[inline(always)]
    pub(super) fn put(&self, out: &mut [f32], row: usize, group: usize, from: usize, products: &[f32]) {
        let out = &mut out[row * self.queries.len() + from..][..products.len()];
        match self.factors {
            None => out.copy_from_slice(products),
            Some(factors) => {
                let factor = factors[row * self.queries.groups() + group];
                out.iter_mut().zip(products).for_each(|(out, product)| *out += product * factor);
            }
        }
    }

    /// What the implementations rely on when they form pointers.
    pub(super) fn check(&self, out: &[f32]) {
        let rows = self.rows();
        assert!(rows * self.queries.dim() == self.values.len() && out.len() == rows * self.queries.len());
        assert!(self.groups.iter().all(|group| self.queries.span(*group).end <= self.queries.dim()));
        assert!(self.factors.is_some() || self.groups.len() == 1);
        assert!(self.factors.is_none_or(|factors| factors.len() == rows * self.queries.groups()));
    }

    /// What is relied on where the rows at `chosen` alone are multiplied, which factors and sums belong to.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn check_at(&self, chosen: &[usize], out: &[f32]) {
        let rows = self.rows();
        assert!(chosen.iter().all(|row| *row < rows) && out.len() == chosen.len() * self.queries.len());
        assert!(self.groups.iter().all(|group| self.queries.span(*group).end <= self.queries.dim()));
        assert!(self.factors.is_some_and(|factors| factors.len() == chosen.len() * self.queries.groups()));
    }
}
