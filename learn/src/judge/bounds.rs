//! Confidence level of the bounds on recall, and the sum and the search that they are computed with.

pub(super) const CONFIDENCE: f64 = 0.95;

/// The logarithm of a sum, from those of its terms.
pub(super) fn ln_sum(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln()
}

/// The first number up to `most` for which something holds that holds for all larger ones; `most` where it
/// holds for none before. Looks near 0 first.
pub(super) fn first(most: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, 1);
    while high < most && !holds(high) {
        (low, high) = (high + 1, high.saturating_mul(2));
    }
    high = high.min(most);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_wherever_it_is() {
        for most in 0..40 {
            assert!((0..=most).all(|at| first(most, |x| x >= at) == at), "{most}");
            assert_eq!(first(most, |_| false), most);
        }
    }
}
