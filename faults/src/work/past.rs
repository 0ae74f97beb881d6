//! State of a store that no reader shows and later steps depend on: numbers of datasets, contents of tags.

use super::state::State;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers of datasets and contents of tags. They are not compared: later steps show whether the store knows
/// them.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Datasets that ever existed.
    made: u64,
    /// Which of them has a name.
    numbers: BTreeMap<String, u64>,
    /// The next rows of dropped ones.
    dropped: BTreeMap<u64, u64>,
    /// The last change of each, including what no reader shows, such as its files.
    changed: BTreeMap<u64, u64>,
    /// Dataset changes so far.
    changes: u64,
    /// Collections so far.
    pub(super) collections: u64,
    /// The content that each tag keeps.
    tagged: BTreeMap<String, Arc<State>>,
}

impl State {
    /// Records that a dataset with a name exists.
    pub(super) fn number(&mut self, dataset: &str) {
        let Past { made, numbers, .. } = &mut self.past;
        numbers.entry(dataset.to_owned()).or_insert_with(|| {
            *made += 1;
            *made
        });
    }

    /// Records a change of a dataset.
    pub(super) fn touch(&mut self, dataset: &str) {
        let Past { numbers, changed, changes, .. } = &mut self.past;
        if let Some(number) = numbers.get(dataset) {
            *changes += 1;
            changed.insert(*number, *changes);
        }
    }

    /// Records that the dataset with a name is removed.
    pub(super) fn forget(&mut self, dataset: &str) {
        let next = self.datasets.get(dataset).map_or(0, |part| part.next_row);
        if let Some(number) = self.past.numbers.remove(dataset) {
            let last = self.past.dropped.entry(number).or_default();
            *last = next.max(*last);
        }
    }

    /// Records that a tag points to this content.
    pub(super) fn keep(&mut self, tag: &str) {
        let mut content = self.clone();
        content.past.tagged.clear();
        self.past.tagged.insert(tag.to_owned(), Arc::new(content));
    }

    /// Records that a tag, or all of them, are removed.
    pub(super) fn let_go(&mut self, tag: Option<&str>) {
        self.past.tagged.retain(|name, _| tag.is_some_and(|tag| name != tag));
    }

    /// The content that a tag keeps.
    pub fn tagged(&self, tag: &str) -> Option<Arc<State>> {
        self.past.tagged.get(tag).cloned()
    }

    /// Whether it is known which rows come next after reverting to an earlier content. It is not if a dataset
    /// was changed only in ways that no reader shows, such as merged files, nor if one is gone whose last
    /// snapshot may be collected.
    pub(super) fn can_go_back(&self, then: &State) -> bool {
        then.datasets.iter().all(|(name, old)| match self.same_dataset(then, name) {
            Some((now, unchanged)) => unchanged || now.rows != old.rows || now.counts != old.counts,
            None => self.past.collections == then.past.collections,
        })
    }

    /// The dataset with a name in an earlier content, as it is now, and whether it is unchanged.
    fn same_dataset(&self, then: &State, name: &str) -> Option<(&super::Samples, bool)> {
        let number = then.past.numbers.get(name)?;
        let now = self.datasets.get(name).filter(|_| self.past.numbers.get(name) == Some(number))?;
        Some((now, self.past.changed.get(number) == then.past.changed.get(number)))
    }

    /// Reverts to an earlier content. Row numbers continue: one is skipped where a dataset has changed since.
    pub fn go_back(&mut self, then: &State) {
        let mut datasets = then.datasets.clone();
        for (name, part) in &mut datasets {
            let number = then.past.numbers.get(name);
            let dropped = number.and_then(|number| self.past.dropped.get(number)).copied().unwrap_or(0);
            part.next_row = match self.same_dataset(then, name) {
                Some((now, true)) => now.next_row,
                Some((now, false)) => part.next_row.max(now.next_row).max(dropped) + 1,
                None => part.next_row.max(dropped) + 1,
            };
        }
        let names: Vec<String> = self.datasets.keys().cloned().collect();
        names.iter().for_each(|name| self.forget(name));
        self.past.numbers = then.past.numbers.clone();
        for number in then.past.numbers.values() {
            match then.past.changed.get(number) {
                Some(change) => self.past.changed.insert(*number, *change),
                None => self.past.changed.remove(number),
            };
        }
        self.datasets = datasets;
        self.features = then.features.clone();
        self.runs = then.runs.clone();
        self.ensembles = then.ensembles.clone();
        self.artifacts = then.artifacts.clone();
        self.views = then.views.clone();
        self.deleted = then.deleted.clone();
    }
}
