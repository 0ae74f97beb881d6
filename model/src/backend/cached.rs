//! Operands of attention over a key-value cache that a backend keeps.

use super::forms::{AttentionForm, BackendError, CacheSpan, check};

/// The inputs of an attention over a cache.
pub struct CachedAttention<'a, T> {
    /// Queries.
    pub q: &'a T,
    /// New keys.
    pub k: &'a T,
    /// New values, as many as keys.
    pub v: &'a T,
    /// How scores become weights; the same in every call with a cache.
    pub form: AttentionForm,
    /// New rows of each sequence, ascending by slot.
    pub spans: &'a [CacheSpan],
}

impl<T> CachedAttention<'_, T> {
    /// An error unless the sizes fit the form and the spans.
    pub fn check(&self, size: impl Fn(&T) -> (usize, usize)) -> Result<(), BackendError> {
        self.form.check()?;
        let heads = self.form.heads;
        let [q, k, v] = [self.q, self.k, self.v].map(size);
        let wide = |heads_of: usize| heads_of.saturating_mul(heads.dim);
        check(q.1 == wide(heads.query) && k.1 == wide(heads.kv) && k == v, || {
            format!("attention with {heads:?} over {q:?}, {k:?} and {v:?} queries, keys and values")
        })?;
        for span in self.spans {
            let CacheSpan { keys, queries, .. } = span;
            let inside = keys.start < keys.end && keys.end <= k.0;
            let few = queries.start <= queries.end && queries.end <= q.0 && queries.len() <= keys.len();
            check(inside && few, || {
                format!("attention over {span:?} of {} new keys and {} queries", k.0, q.0)
            })?;
        }
        check(self.spans.is_sorted_by(|a, b| a.slot < b.slot), || {
            "spans of a cache that are not in the order of its slots".to_owned()
        })
    }
}
