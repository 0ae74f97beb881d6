//! The steps that follow from a seed.

use super::content::{DATASETS, FEATURES};
use super::state::State;
use super::step::{Mode, Step};
use crate::Random;
use std::collections::BTreeMap;

/// Steps, and the content before and after each of them.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it follows from.
    pub seed: u64,
    /// The steps.
    pub steps: Vec<Step>,
    /// `states[i]` is the content before step i; the last one that after all steps. Before the first there is no store.
    pub states: Vec<State>,
}

/// Makes steps that fit the content so far, without end.
#[derive(Debug)]
pub struct Workload {
    random: Random,
    state: State,
    /// Ids of each dataset that were ever used, and the next version of a content.
    next_id: u64,
    version: u32,
    checkpoint: u8,
    /// Jobs that were stopped, by their features, and how far they went.
    stopped: BTreeMap<Vec<usize>, u64>,
    plan: Plan,
}

impl Plan {
    /// A sequence of `length` steps, or a few more.
    pub fn new(seed: u64, length: usize) -> Plan {
        let mut maker = Workload::new(seed);
        maker.add(Step::Create);
        maker.append(0);
        maker.job(false);
        while maker.plan.steps.len() < length {
            maker.any();
        }
        // Jobs that wait are finished, so that nothing of the workload is left in the air.
        for features in std::mem::take(&mut maker.stopped).into_keys() {
            maker.add(Step::Job { features, upto: u64::MAX, window: 8, stop: None, checkpoint: None });
        }
        maker.plan
    }

    /// The content after so many acknowledged steps.
    pub fn state(&self, acknowledged: usize) -> Option<&State> {
        self.states.get(acknowledged)
    }
}

impl Workload {
    /// The workload of a seed, before its first step.
    pub fn new(seed: u64) -> Self {
        Workload {
            random: Random::of(&[seed, 1]),
            state: State::default(),
            next_id: 0,
            version: 0,
            checkpoint: 0,
            stopped: BTreeMap::new(),
            plan: Plan { seed, steps: Vec::new(), states: vec![State::default()] },
        }
    }

    /// The next step, after the store was made, and the content after it. The content stays small.
    pub fn next_bounded(&mut self) -> (Step, State) {
        self.plan.steps.clear();
        self.plan.states.clear();
        while self.plan.steps.is_empty() {
            if self.state.datasets.is_empty() { self.append(0) } else { self.any() }
        }
        let step = self.plan.steps.remove(0);
        (step, self.state.clone())
    }

    fn add(&mut self, step: Step) {
        step.apply(&mut self.state);
        self.plan.steps.push(step);
        self.plan.states.push(self.state.clone());
    }

    fn any(&mut self) {
        match self.random.below(10) {
            0..3 => {
                let dataset = self.random.below(DATASETS.len() as u64) as usize;
                self.append(dataset);
            }
            3..5 => self.job(true),
            _ => self.job(false),
        }
    }

    fn append(&mut self, dataset: usize) {
        let dataset = DATASETS.get(dataset).copied().unwrap_or("pool").to_owned();
        let mode = if self.random.chance(50) { Mode::Refuse } else { Mode::Keep };
        let mut samples = Vec::new();
        for _ in 0..self.random.from(3..16) {
            samples.push((self.next_id, 0));
            self.next_id += 1;
        }
        if mode == Mode::Keep && self.state.datasets.contains_key(&dataset) {
            self.version += 1;
            let old: Vec<u64> = (0..self.next_id - samples.len() as u64).collect();
            samples.extend(self.random.some(&old, 20).into_iter().map(|id| (id, self.version)));
        }
        self.add(Step::Append { dataset, samples, mode });
    }

    fn job(&mut self, stop: bool) {
        let known: Vec<&str> =
            DATASETS.into_iter().filter(|d| self.state.datasets.contains_key(*d)).collect();
        let Some(dataset) = known.get(self.random.below(known.len() as u64) as usize).copied() else {
            return;
        };
        let all: Vec<usize> =
            (0..FEATURES.len()).filter(|i| FEATURES.get(*i).is_some_and(|f| f.dataset == dataset)).collect();
        let features = self.random.some(&all, 40);
        let next_row = self.state.datasets.get(dataset).map_or(0, |d| d.next_row);
        let window = self.random.from(4..12);
        if stop {
            self.stopped.insert(features.clone(), next_row);
            let stop = Some(self.random.from(1..3));
            return self.add(Step::Job { features, upto: u64::MAX, window, stop, checkpoint: None });
        }
        // What a stopped job has sealed is published with the rest, so the rest must not end before it.
        let least = self.stopped.remove(&features).unwrap_or(0);
        let part = self.random.chance(30).then(|| self.random.from(1..next_row + 1).max(least));
        let checkpoint = self.random.chance(40).then_some(self.checkpoint % 40 + 1);
        self.checkpoint += u8::from(checkpoint.is_some());
        self.add(Step::Job { features, upto: part.unwrap_or(u64::MAX), window, stop: None, checkpoint });
    }
}
