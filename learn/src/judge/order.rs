//! Orders and ranks of values.

/// Places by value, largest first, equal ones by place.
pub fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Adding 0 makes -0 equal to 0.
    order.sort_unstable_by(|a, b| (values[*b] + 0.0).total_cmp(&(values[*a] + 0.0)).then(a.cmp(b)));
    order
}

/// Ranks from the lowest as shares of all, in (0, 1]; equal values have their mean rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let order = order(values);
    let n = values.len() as f64;
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let same = order[at..].iter().take_while(|i| values[**i] == values[order[at]]).count().max(1);
        // Places from the top are at .. at + same; ranks from the bottom count from 1.
        let rank = n - at as f64 - (same as f64 - 1.0) / 2.0;
        order[at..at + same].iter().for_each(|i| ranks[*i] = rank / n);
        at += same;
    }
    ranks
}

/// How many of `n` rows a share is, rounded down.
pub fn kept_rows(share: f64, n: usize) -> usize {
    // A share of ten is ten of a hundred, whatever its last bit says.
    ((share * n as f64 + 1e-9).floor() as usize).min(n)
}

/// Which values are the `k` largest.
pub fn top_k(values: &[f64], k: usize) -> Vec<bool> {
    let mut top = vec![false; values.len()];
    order(values).into_iter().take(k).for_each(|i| top[i] = true);
    top
}

/// Which values are in the largest share; at least one is.
pub fn top(values: &[f64], share: f64) -> Vec<bool> {
    top_k(values, kept_rows(share, values.len()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_ranks_and_go_by_place() {
        let values = [2.0, -0.0, 5.0, 0.0, 2.0];
        assert_eq!(order(&values), [2, 0, 4, 1, 3]);
        assert_eq!(ranks(&values), [0.7, 0.3, 1.0, 0.3, 0.7]);
        assert_eq!(top_k(&values, 2), [true, false, true, false, false]);
        assert_eq!(top(&values, 0.01), [false, false, true, false, false]);
        assert_eq!((kept_rows(0.7, 1500), kept_rows(0.29, 100), kept_rows(2.0, 3)), (1050, 29, 3));
        assert!(ranks(&[]).is_empty());
    }
}
