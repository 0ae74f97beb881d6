//! Random plans: the steps for a seed.

use super::content::{DATASETS, FEATURES, label};
use super::ensemble::{self, ENSEMBLE};
use super::state::State;
use super::step::Step;
use crate::Random;
use gstore_store::IfChanged;
use std::collections::BTreeMap;

/// Steps, and the content before and after each of them.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The steps.
    pub steps: Vec<Step>,
    /// `states[i]` is the content before step i; the last entry is that after all steps. Before the first
    /// step there is no store.
    pub states: Vec<State>,
}

/// Generates steps that fit the content so far, endlessly.
#[derive(Debug)]
pub struct Workload {
    random: Random,
    state: State,
    /// Ids ever used in each dataset, and the next version of a content.
    next_id: u64,
    version: u32,
    checkpoint: u8,
    tags: u64,
    /// Whether no other process works on the store: only then are there purges and merges.
    alone: bool,
    /// Jobs that were stopped, by their features, and how far they got.
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
        // Waiting jobs are finished, so that no work is left over.
        for features in std::mem::take(&mut maker.stopped).into_keys() {
            let known =
                |i: &usize| FEATURES.get(*i).is_some_and(|f| maker.state.datasets.contains_key(f.dataset));
            if !features.iter().all(known) {
                continue;
            }
            maker.add(Step::Job { features, upto: u64::MAX, window: 8, stop: None, checkpoint: None });
        }
        maker.plan
    }

    /// The content after that many acknowledged steps.
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
            tags: 0,
            alone: true,
            stopped: BTreeMap::new(),
            plan: Plan { seed, steps: Vec::new(), states: vec![State::default()] },
        }
    }

    /// The next step, after the store exists, and the content after it. The content stays small.
    pub fn next_bounded(&mut self) -> (Step, State) {
        self.plan.steps.clear();
        self.plan.states.clear();
        // Readers hold leases all the time, and a purge refuses to remove what they read; another process
        // merges files.
        self.alone = false;
        let rows = self.state.datasets.values().map(|d| d.rows.len()).sum::<usize>();
        while self.plan.steps.is_empty() {
            match rows {
                _ if self.state.datasets.is_empty() => self.append(0),
                0..200 => self.any(),
                _ => self.delete(70, false),
            }
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
        match self.random.below(31) {
            0..5 => {
                let dataset = self.random.below(DATASETS.len() as u64) as usize;
                self.append(dataset);
            }
            5..7 => self.job(true),
            7..12 => self.job(false),
            12..15 => self.delete(30, false),
            15 => self.delete(20, self.alone),
            16..19 if self.alone => {
                let target = [1 << 10, 6 << 10, 1 << 20];
                let target = target.get(self.random.below(3) as usize).copied().unwrap_or(1 << 20);
                self.add(Step::Compact { target });
            }
            19..21 => {
                let keep = self.random.from(1..4);
                self.add(Step::Collect { keep });
            }
            21 => self.tag(),
            22..25 => self.ensemble(),
            25..27 => self.keep(),
            27..29 if self.alone => self.revert(),
            _ => self.drop_something(),
        }
    }

    fn delete(&mut self, percent: u64, purge: bool) {
        let known: Vec<String> = self.state.datasets.keys().cloned().collect();
        let Some(dataset) = known.get(self.random.below(known.len() as u64) as usize).cloned() else {
            return;
        };
        let live: Vec<u64> =
            self.state.datasets.get(&dataset).map(|d| d.rows.keys().copied().collect()).unwrap_or_default();
        let rows = self.random.some(&live, percent);
        if !rows.is_empty() {
            self.add(Step::Delete { dataset, rows, purge });
        }
    }

    fn tag(&mut self) {
        let old = self.state.tags.iter().next().cloned();
        match old.filter(|_| self.random.chance(40)) {
            Some(name) => self.add(Step::Untag(name)),
            None => {
                self.tags += 1;
                self.add(Step::Tag(format!("tag-{}", self.tags)));
            }
        }
    }

    /// Limit on members.
    const MEMBERS: usize = 4;

    fn ensemble(&mut self) {
        let members = self.state.ensembles.get(ENSEMBLE).map_or(0, Vec::len);
        let has_rows = self.state.datasets.contains_key(ensemble::DATASET);
        match self.random.below(6) {
            0 if members > 0 => self.add(Step::DropEnsemble),
            1..5 if members > 0 && has_rows => {
                let member = self.random.below(members as u64) as usize;
                self.add(Step::Losses(member));
            }
            _ => self.add(Step::Members((members + 1).min(Self::MEMBERS))),
        }
    }

    /// A step about something with a name.
    fn keep(&mut self) {
        let name = format!("kept_{}", self.random.below(2));
        let goes = self.random.chance(30);
        self.version += 1;
        let step = match self.random.chance(50) {
            true if goes && self.state.artifacts.contains_key(&name) => Step::DropArtifact(name),
            true => Step::Artifact { name, content: self.version },
            false if goes && self.state.views.contains_key(&name) => Step::DropView(name),
            false => Step::View { name, sql: format!("SELECT {}", self.version) },
        };
        self.add(step);
    }

    /// Reverts to a tag, or sets one to revert to.
    fn revert(&mut self) {
        let is_known =
            |tag: &&String| self.state.tagged(tag).is_some_and(|then| self.state.can_go_back(&then));
        let tags: Vec<String> = self.state.tags.iter().filter(is_known).cloned().collect();
        match tags.get(self.random.below(tags.len() as u64) as usize).cloned() {
            Some(tag) => self.add(Step::Revert(tag)),
            None => self.tag(),
        }
    }

    fn drop_something(&mut self) {
        let features: Vec<usize> =
            (0..FEATURES.len()).filter(|i| self.state.features.contains_key(&label(*i))).collect();
        let feature = features.get(self.random.below(features.len() as u64) as usize).copied();
        match (self.random.below(5), feature) {
            (0, _) if self.state.datasets.contains_key("side") => self.add(Step::DropDataset("side".into())),
            (1, _) if !self.state.runs.is_empty() => self.add(Step::DropRun),
            (_, Some(feature)) => self.add(Step::DropFeature(feature)),
            _ => {}
        }
    }

    fn append(&mut self, dataset: usize) {
        let dataset = DATASETS.get(dataset).copied().unwrap_or("pool").to_owned();
        let changed = match self.random.below(3) {
            0 => IfChanged::Refuse,
            1 => IfChanged::Keep,
            _ => IfChanged::Replace,
        };
        let mut samples = Vec::new();
        for _ in 0..self.random.from(3..16) {
            samples.push((self.next_id, 0));
            self.next_id += 1;
        }
        if changed != IfChanged::Refuse && self.state.datasets.contains_key(&dataset) {
            self.version += 1;
            let old: Vec<u64> = (0..self.next_id - samples.len() as u64).collect();
            samples.extend(self.random.some(&old, 20).into_iter().map(|id| (id, self.version)));
        }
        let restore = self.random.chance(30);
        self.add(Step::Append { dataset, samples, changed, restore });
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
        let checkpoint = self.random.chance(40).then_some(self.checkpoint + 1);
        self.checkpoint = (self.checkpoint + u8::from(checkpoint.is_some())) % 40;
        self.add(Step::Job { features, upto: part.unwrap_or(u64::MAX), window, stop: None, checkpoint });
    }
}
