//! Dropout of attention's weights, and the random numbers of all dropout.

use gstore_core::{MIX_STEP, mix};

use super::forms::{BackendError, check};

/// Dropout of the weights of an attention: some become zero, the others are scaled up. Which ones depends on
/// the query's key, the head and the place of the key in its sequence alone.
#[derive(Debug, Clone, Copy)]
pub struct AttentionDropout<'a> {
    /// Share of the weights that are dropped, in [0, 1).
    pub rate: f32,
    /// A key for each query of the plan.
    pub keys: &'a [u64],
}

impl AttentionDropout<'_> {
    /// An error unless the rate is a share, and there is a key for each of the queries.
    pub(super) fn check(&self, queries: usize) -> Result<(), BackendError> {
        check((0.0..1.0).contains(&self.rate), || format!("attention with a dropout of {}", self.rate))?;
        check(self.keys.len() == queries, || {
            format!("{} keys of dropout for {queries} queries", self.keys.len())
        })
    }

    /// The share as numbers are compared with it: those of 32 bits below the first are dropped, what stays is
    /// multiplied by the second.
    pub fn limit_and_scale(&self) -> (u64, f32) {
        limit_and_scale(self.rate)
    }

    /// Drops values that belong to weights of a query in a head: to those of the keys from place `first` of
    /// the sequence on.
    pub(crate) fn apply(&self, values: &mut [f32], query: usize, head: usize, first: usize) {
        let key = mixed(self.keys[query] ^ mixed(head as u64));
        drop_values(values, self.rate, key.wrapping_add(first as u64));
    }
}

/// Sets a share of values to zero and scales the others up, as the numbers at the counters from `key` on say.
pub(crate) fn drop_values(values: &mut [f32], rate: f32, key: u64) {
    let (limit, scale) = limit_and_scale(rate);
    for (counter, value) in (0u64..).zip(values) {
        let is_dropped = (mixed(key.wrapping_add(counter)) >> 32) < limit;
        *value = if is_dropped { 0.0 } else { *value * scale };
    }
}

fn limit_and_scale(rate: f32) -> (u64, f32) {
    let rate = f64::from(rate);
    ((rate * 2f64.powi(32)) as u64, (1.0 / (1.0 - rate)) as f32)
}

/// The number of SplitMix64, seeded with 0, at a counter.
pub(crate) fn mixed(counter: u64) -> u64 {
    mix(counter.wrapping_add(1).wrapping_mul(MIX_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_weights_is_dropped_wherever_a_block_is_cut() {
        let keys: Vec<u64> = (0..40).collect();
        let dropout = AttentionDropout { rate: 0.25, keys: &keys };
        let row = |query, head, first, count| {
            let mut values = vec![1.0; count];
            dropout.apply(&mut values, query, head, first);
            values
        };
        let all: Vec<f32> = (0..40).flat_map(|query| row(query, 1, 0, 100)).collect();
        let zeros = all.iter().filter(|v| **v == 0.0).count() as f64 / all.len() as f64;
        assert!((zeros - 0.25).abs() < 0.03, "{zeros}");
        assert!(all.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(row(7, 1, 30, 70), all[730..800]);
        assert_ne!(row(7, 2, 0, 100), all[700..800]);
        assert!(dropout.check(40).is_ok() && dropout.check(39).is_err());
        assert!(AttentionDropout { rate: 1.0, keys: &keys }.check(40).is_err());
    }
}
