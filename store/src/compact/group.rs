//! Groups of neighbouring files that are merged into one each, and forecasts of the result.

use super::options::{CompactOptions, CompactedPart};

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
    rows: u64,
    dead: u64,
    /// Bytes that will be left of it, about.
    live: u64,
    dead_share: f64,
    /// Whether it may be in one file with the one before it.
    joins: bool,
}

impl<T> Candidate<T> {
    pub(super) fn new(file: T, len: u64, rows: u64, dead: u64, joins: bool) -> Self {
        let dead_share = dead as f64 / rows.max(1) as f64;
        let live = (len as f64 * (1.0 - dead_share)) as u64;
        Candidate { file, len, rows, dead, live, dead_share, joins }
    }
}

/// Files that become one.
pub(super) struct Merge<T> {
    pub files: Vec<T>,
    /// What becomes of them, as far as that is known before: the bytes are about those of the rows that stay.
    pub expected: CompactedPart,
}

impl<T> Merge<T> {
    fn of(group: Vec<Candidate<T>>) -> Self {
        let expected = CompactedPart {
            files_before: group.len() as u64,
            files_after: u64::from(group.iter().any(|c| c.rows > c.dead)),
            bytes_before: group.iter().map(|c| c.len).sum(),
            bytes_after: group.iter().map(|c| c.live).sum(),
            rows_dropped: group.iter().map(|c| c.dead).sum(),
            ..CompactedPart::default()
        };
        Self { files: group.into_iter().map(|c| c.file).collect(), expected }
    }
}

/// Merges small neighbours, and takes files with too many dead rows by themselves.
pub(super) fn grouped<T>(
    candidates: impl IntoIterator<Item = Candidate<T>>,
    limits: &Limits,
) -> Vec<Merge<T>> {
    let mut out = Vec::new();
    let mut open: Vec<Candidate<T>> = Vec::new();
    let mut bytes = 0u64;
    let mut close = |open: &mut Vec<Candidate<T>>| {
        let group = std::mem::take(open);
        if group.len() > 1 || group.iter().any(|c| c.dead_share > limits.dead_share) {
            out.push(Merge::of(group));
        }
    };
    for c in candidates {
        let alone = c.len >= limits.target.div_ceil(2) && c.dead_share <= limits.dead_share;
        if alone || !c.joins || bytes.saturating_add(c.live) > limits.target {
            close(&mut open);
            bytes = 0;
        }
        if !alone {
            bytes += c.live;
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
        let candidate = |(i, (len, dead)): (usize, &(u64, u64))| Candidate::new(i, *len, 100, *dead, true);
        let limits = Limits { target: 100, dead_share: 0.2 };
        let merges = grouped(files.iter().enumerate().map(candidate), &limits);
        merges.into_iter().map(|merge| merge.files).collect()
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
    fn what_is_left_is_known_before() {
        let files = [(0, 50, 0), (1, 40, 100), (2, 1, 100)];
        let all = files.map(|(i, len, dead)| Candidate::new(i, len, 100, dead, true));
        let limits = Limits { target: 100, dead_share: 0.2 };
        let merges = grouped(all, &limits);
        let expected: Vec<_> = merges.iter().map(|merge| &merge.expected).collect();
        let [one] = expected.as_slice() else { panic!("{expected:?}") };
        assert_eq!((one.files_before, one.files_after), (2, 0));
        assert_eq!((one.bytes_before, one.bytes_after, one.rows_dropped), (41, 0, 200));
    }
}
