//! Operands of packed attention.

use super::{AttentionDropout, AttentionForm, AttentionPlan, BackendError, check};

/// The inputs of an attention.
pub struct Attention<'a, T> {
    /// Queries, a row for each query of the plan.
    pub q: &'a T,
    /// Keys.
    pub k: &'a T,
    /// Values, as many as keys.
    pub v: &'a T,
    /// How scores become weights.
    pub form: AttentionForm,
    /// Which query sees which keys.
    pub plan: &'a AttentionPlan,
    /// What is dropped of the weights; none: nothing.
    pub dropout: Option<AttentionDropout<'a>>,
}

impl<T> Attention<'_, T> {
    /// An error unless the sizes fit the form and the plan.
    pub fn check(&self, size: impl Fn(&T) -> (usize, usize)) -> Result<(), BackendError> {
        let Attention { form, plan, dropout, .. } = self;
        let heads = form.heads;
        form.check()?;
        dropout.map_or(Ok(()), |dropout| dropout.check(plan.positions.len()))?;
        let [q, k, v] = [self.q, self.k, self.v].map(size);
        let wide = |heads_of: usize| heads_of.saturating_mul(heads.dim);
        let fit = q == (plan.positions.len(), wide(heads.query)) && k.1 == wide(heads.kv) && k == v;
        check(fit, || {
            format!("attention with {heads:?} over {q:?}, {k:?} and {v:?} queries, keys and values")
        })?;
        for span in &plan.spans {
            let keys_fit = span.keys.start <= span.keys.end && span.keys.end <= k.0;
            let queries_fit = span.queries.start <= span.queries.end && span.queries.end <= q.0;
            let positions = plan.positions.get(span.queries.clone()).unwrap_or_default();
            let seen = positions.last().is_none_or(|last| (*last as usize) < span.keys.len());
            check(keys_fit && queries_fit && positions.is_sorted() && seen, || {
                format!("attention over {span:?} of {} keys and {} queries", k.0, q.0)
            })?;
        }
        Ok(())
    }

    /// An error unless tangents of q, k and v, and what the forward returned, fit; nothing may be dropped.
    pub fn check_tangents(
        &self,
        tangents: [&T; 3],
        log_sum: &T,
        size: impl Fn(&T) -> (usize, usize),
    ) -> Result<(), BackendError> {
        self.check(&size)?;
        check(self.dropout.is_none(), || "attention with dropout has no tangent".to_owned())?;
        let fit = tangents.into_iter().zip([self.q, self.k, self.v]).all(|(dx, x)| size(dx) == size(x));
        let sums = (size(self.q).0, self.form.heads.query);
        check(fit && size(log_sum) == sums, || {
            let [dq, dk, dv] = tangents.map(&size);
            format!(
                "tangents of {dq:?}, {dk:?} and {dv:?} queries, keys and values, and {:?} log-sums",
                size(log_sum)
            )
        })
    }
}
