//! Rows of windows.

use std::ops::Range;

/// Some rows of windows, each by its offset from the first of its window, ascending.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    windows: Vec<(usize, Range<usize>)>,
    offsets: Vec<u32>,
}

impl Chosen {
    /// Adds the rows of a window that `fill` adds to those that are there.
    pub(super) fn add(&mut self, window: usize, fill: impl FnOnce(&mut Vec<u32>)) {
        let start = self.offsets.len();
        fill(&mut self.offsets);
        if self.offsets.len() > start {
            self.windows.push((window, start..self.offsets.len()));
        }
    }

    /// Number of windows, each of which has rows.
    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// The number of a window, and its rows.
    pub(super) fn get(&self, at: usize) -> (usize, &[u32]) {
        let (window, range) = &self.windows[at];
        (*window, &self.offsets[range.clone()])
    }

    /// Windows with their rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u32])> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// What a plane is asked for.
pub(super) enum Asked {
    /// Every row of windows.
    Every(Vec<usize>),
    /// Some.
    Some(Chosen),
}

impl Asked {
    /// Number of windows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Every(windows) => windows.len(),
            Self::Some(chosen) => chosen.len(),
        }
    }

    /// The number of a window, and its rows where those are some.
    pub(super) fn get(&self, at: usize) -> (usize, Option<&[u32]>) {
        match self {
            Self::Every(windows) => (windows[at], None),
            Self::Some(chosen) => {
                let (window, rows) = chosen.get(at);
                (window, Some(rows))
            }
        }
    }

    /// The same of some of the windows.
    pub(super) fn only(&self, places: &[usize]) -> Self {
        match self {
            Self::Every(windows) => Self::Every(places.iter().map(|at| windows[*at]).collect()),
            Self::Some(chosen) => {
                let mut only = Chosen::default();
                for at in places {
                    let (window, rows) = chosen.get(*at);
                    only.add(window, |all| all.extend_from_slice(rows));
                }
                Self::Some(only)
            }
        }
    }
}
