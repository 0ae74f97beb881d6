//! Folds of cross-validation, by the ids of rows: neither the order of rows nor other rows' removal from the
//! data moves much, and a row that is labelled later gets the fold that its id says.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The fold of each id: ids in the order of their digests are dealt out in turn, so that sizes differ by at
/// most one.
pub fn folds(ids: &[String], count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> =
        ids.iter().enumerate().map(|(i, id)| (xxh3_64_with_seed(id.as_bytes(), seed), i)).collect();
    order.sort_unstable_by(|a, b| (a.0, &ids[a.1], a.1).cmp(&(b.0, &ids[b.1], b.1)));
    let mut folds = vec![0; ids.len()];
    for (place, (_, i)) in order.into_iter().enumerate() {
        folds[i] = place % count.max(1);
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_follow_ids_and_not_places() {
        let ids: Vec<String> = (0..103).map(|i| format!("row-{i}")).collect();
        let found = folds(&ids, 5, 42);
        for fold in 0..5 {
            let size = found.iter().filter(|f| **f == fold).count();
            assert!((20..=21).contains(&size), "{size}");
        }
        let turned: Vec<String> = ids.iter().rev().cloned().collect();
        let again: Vec<usize> = folds(&turned, 5, 42).into_iter().rev().collect();
        assert_eq!(found, again);
        assert_ne!(found, folds(&ids, 5, 43));
    }
}
