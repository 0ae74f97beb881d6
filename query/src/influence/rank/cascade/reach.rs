//! Which of many values reach a limit, where few do.

use crate::influence::spec::Order;

/// Values that are compared at a time.
const STRETCH: usize = 16;

/// A limit from one side.
#[derive(Clone)]
pub(super) struct Reach {
    sign: f32,
    limit: f32,
    /// Of each stretch whether a value in it reaches the limit.
    hits: Vec<u8>,
}

impl Reach {
    /// Values reach `limit` that are as good in an order.
    pub(super) fn new(order: Order, limit: f32) -> Self {
        let sign = order.sign();
        Self { sign, limit: sign * limit, hits: Vec::new() }
    }

    /// Whether a value reaches the limit.
    pub(super) fn is_reached(&self, value: f32) -> bool {
        self.sign * value >= self.limit
    }

    /// Hands out the places of values that reach the limit, ascending; returns the best of the others.
    pub(super) fn places(&mut self, values: &[f32], mut take: impl FnMut(usize)) -> Option<f32> {
        let Self { sign, limit, hits } = self;
        hits.clear();
        hits.resize(values.len().div_ceil(STRETCH), 0);
        let best = pulp::Arch::new().dispatch(Compare { values, sign: *sign, limit: *limit, hits });
        for (at, stretch) in values.chunks(STRETCH).enumerate().filter(|(at, _)| hits[*at] != 0) {
            // Without a choice for each value: which of them reach the limit cannot be foreseen.
            let (mut found, mut count) = ([0u8; STRETCH], 0);
            for (i, value) in stretch.iter().enumerate() {
                found[count] = i as u8;
                count += usize::from(*sign * *value >= *limit);
            }
            found[..count].iter().for_each(|i| take(at * STRETCH + usize::from(*i)));
        }
        (best > f32::NEG_INFINITY).then_some(*sign * best)
    }
}

/// Whether a value of each stretch reaches the limit, and the best of those that do not, times the sign. Without a way out in the middle, so
/// that many are compared at a time.
struct Compare<'a> {
    values: &'a [f32],
    sign: f32,
    limit: f32,
    hits: &'a mut [u8],
}

impl pulp::WithSimd for Compare<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> f32 {
        let Self { values, sign, limit, hits } = self;
        let mut best = [f32::NEG_INFINITY; STRETCH];
        let (stretches, rest) = values.as_chunks::<STRETCH>();
        let (of_stretches, of_rest) = hits.split_at_mut(stretches.len());
        for (hit, stretch) in of_stretches.iter_mut().zip(stretches) {
            let mut any = 0;
            for (value, best) in stretch.iter().zip(&mut best) {
                let value = sign * value;
                let is_reached = value >= limit;
                any |= u32::from(is_reached);
                let other = if is_reached { f32::NEG_INFINITY } else { value };
                *best = if other > *best { other } else { *best };
            }
            *hit = any as u8;
        }
        for (value, best) in rest.iter().zip(&mut best) {
            match sign * value >= limit {
                true => of_rest[0] = 1,
                false => *best = best.max(sign * value),
            }
        }
        best.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_values_that_are_as_good() {
        for (count, step) in [(0, 1), (1, 1), (15, 3), (16, 5), (17, 16), (100, 7), (1000, 37)] {
            let values: Vec<f32> = (0..count).map(|i| ((i * step) % 101) as f32 - 50.0).collect();
            for limit in [-60.0, -50.0, 0.0, 49.0, 50.0, 51.0, f32::INFINITY, f32::NEG_INFINITY] {
                for (order, good) in [
                    (Order::Best, (|value, limit| value >= limit) as fn(f32, f32) -> bool),
                    (Order::Worst, |value, limit| value <= limit),
                ] {
                    let mut found = Vec::new();
                    let mut reach = Reach::new(order, limit);
                    let best = reach.places(&values, |at| found.push(at));
                    let wanted: Vec<usize> = (0..count).filter(|i| good(values[*i], limit)).collect();
                    assert_eq!(found, wanted, "{count} {order:?} {limit}");
                    assert!(wanted.iter().all(|i| reach.is_reached(values[*i])));
                    let others = values.iter().copied().filter(|value| !good(*value, limit));
                    let wanted = match order {
                        Order::Best => others.reduce(f32::max),
                        Order::Worst => others.reduce(f32::min),
                    };
                    assert_eq!(best, wanted, "{count} {order:?} {limit}");
                }
            }
        }
    }
}
