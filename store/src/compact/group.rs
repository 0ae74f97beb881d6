//! Groups of neighbouring files that are merged into one each, and forecasts of the result.

use super::options::{CompactOptions, CompactedPart};
use crate::segment::TAIL_LIMIT;

/// Most bytes of the tails of segments that become one, which is refused where its own would be longer than
/// readers take. The new tail may be longer than they are together: it has bounds of the blocks, which those
/// of older segments lack.
const MERGED_TAILS: u64 = TAIL_LIMIT / 4;

/// When files are merged.
pub(super) struct Limits {
    target: u64,
    dead_share: f64,
}

impl Limits {
    pub(super) fn new(options: &CompactOptions, most: u64) -> Limits {
        Limits { target: options.target_bytes.clamp(1, most), dead_share: options.max_dead_share }
    }
}

/// A file that may be merged with the one before it.
pub(super) struct Candidate<T> {
    file: T,
    len: u64,
    /// How much of that the file of a segment has as its tail.
    tail: u64,
    rows: u64,
    dead: u64,
    dead_share: f64,
    /// Whether it may be in one file with the one before it.
    joins: bool,
}

impl<T> Candidate<T> {
    pub(super) fn new(file: T, (len, tail): (u64, u64), rows: u64, dead: u64, joins: bool) -> Self {
        let dead_share = dead as f64 / rows.max(1) as f64;
        Candidate { file, len, tail, rows, dead, dead_share, joins }
    }

    /// What is left of bytes that belong to its rows, about.
    fn left_of(&self, bytes: u64) -> u64 {
        (bytes as f64 * (1.0 - self.dead_share)) as u64
    }
}

/// Files that become one.
pub(super) struct Merge<T>(Vec<Candidate<T>>);

impl<T> Merge<T> {
    /// What becomes of them, as far as that is known before. `fixed` says how many bytes of a file belong to no
    /// row: the new file has them once. It is asked of the smallest file, in which the fewest of them come with
    /// the rows.
    pub fn expected(&self, fixed: impl FnOnce(&T) -> u64) -> CompactedPart {
        let group = &self.0;
        let smallest = group.iter().min_by_key(|c| c.len);
        let fixed = smallest.map_or(0, |c| fixed(&c.file).min(c.len));
        let of_rows: u64 = group.iter().map(|c| c.left_of(c.len - fixed)).sum();
        let files_after = u64::from(group.iter().any(|c| c.rows > c.dead));
        CompactedPart {
            files_before: group.len() as u64,
            files_after,
            bytes_before: self.bytes(),
            bytes_after: files_after * fixed + of_rows,
            rows_dropped: group.iter().map(|c| c.dead).sum(),
            ..CompactedPart::default()
        }
    }

    pub fn files(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|c| &c.file)
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|c| c.len).sum()
    }
}

/// Merges small neighbours, and takes files with too many dead rows by themselves.
pub(super) fn grouped<T>(
    candidates: impl IntoIterator<Item = Candidate<T>>,
    limits: &Limits,
) -> Vec<Merge<T>> {
    let mut out = Vec::new();
    let mut open: Vec<Candidate<T>> = Vec::new();
    let (mut bytes, mut tails) = (0u64, 0u64);
    let mut close = |open: &mut Vec<Candidate<T>>| {
        let group = std::mem::take(open);
        if group.len() > 1 || group.iter().any(|c| c.dead_share > limits.dead_share) {
            out.push(Merge(group));
        }
    };
    for c in candidates {
        let alone = c.len >= limits.target.div_ceil(2) && c.dead_share <= limits.dead_share;
        let live = c.left_of(c.len);
        let is_full =
            bytes.saturating_add(live) > limits.target || tails.saturating_add(c.tail) > MERGED_TAILS;
        if alone || !c.joins || is_full {
            close(&mut open);
            (bytes, tails) = (0, 0);
        }
        if !alone {
            bytes += live;
            tails += c.tail;
            open.push(c);
        }
    }
    close(&mut open);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(files: &[(u64, u64)]) -> Vec<Vec<usize>> {
        let candidate =
            |(i, (len, dead)): (usize, &(u64, u64))| Candidate::new(i, (*len, 0), 100, *dead, true);
        let limits = Limits { target: 100, dead_share: 0.2 };
        let merges = grouped(files.iter().enumerate().map(candidate), &limits);
        merges.iter().map(|merge| merge.files().copied().collect()).collect()
    }

    #[test]
    fn small_neighbours_are_merged_and_large_files_left_alone() {
        assert_eq!(run(&[(30, 0), (30, 0), (30, 0), (30, 0), (30, 0)]), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(run(&[(30, 0), (60, 0), (30, 0)]), Vec::<Vec<usize>>::new());
        assert_eq!(run(&[(60, 21), (60, 20), (400, 50)]), [vec![0], vec![2]]);
        assert_eq!(run(&[(40, 10), (10, 0), (90, 100)]), [vec![0, 1, 2]]);
        assert_eq!(run(&[(10, 10)]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn segments_are_merged_while_their_tails_fit_a_reader() {
        let merged = |files: &[(u64, u64)]| -> Vec<Vec<usize>> {
            let candidate =
                |(i, (len, mib)): (usize, &(u64, u64))| Candidate::new(i, (*len, *mib << 20), 100, 0, true);
            let limits = Limits { target: 100, dead_share: 0.2 };
            let merges = grouped(files.iter().enumerate().map(candidate), &limits);
            merges.iter().map(|merge| merge.files().copied().collect()).collect()
        };
        let tails = [30, 30, 5, 30, 34, 1, 300, 1, 1].map(|mib| (1, mib));
        assert_eq!(merged(&tails), [[0, 1], [2, 3], [4, 5], [7, 8]]);
        // What is not merged does not count.
        assert_eq!(merged(&[(1, 40), (60, 40), (1, 30), (1, 30)]), [[2, 3]]);
    }

    #[test]
    fn what_is_left_is_known_before() {
        let limits = Limits { target: 100, dead_share: 0.2 };
        let expected = |files: &[(u64, u64)], fixed: u64| {
            let merges = grouped(
                files.iter().map(|(len, dead)| Candidate::new(*len, (*len, 0), 100, *dead, true)),
                &limits,
            );
            let [one] = merges.as_slice() else { panic!("{} merges", merges.len()) };
            let smallest = files.iter().map(|(len, _)| *len).min();
            one.expected(|file| {
                assert_eq!(Some(*file), smallest);
                fixed
            })
        };
        let one = expected(&[(50, 0), (40, 100), (1, 100)], 0);
        assert_eq!((one.files_before, one.files_after), (2, 0));
        assert_eq!((one.bytes_before, one.bytes_after, one.rows_dropped), (41, 0, 200));
        // What belongs to no row is there once, and not where no row stays.
        assert_eq!(expected(&[(50, 0), (40, 100), (1, 100)], 5).bytes_after, 0);
        assert_eq!(expected(&[(30, 0), (12, 0), (20, 50)], 10).bytes_after, 10 + 20 + 2 + 5);
        assert_eq!(expected(&[(30, 0), (12, 0)], 99).bytes_after, 12 + 18);
    }
}
