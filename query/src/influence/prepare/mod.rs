//! What answers need beyond the catalog: open readers and the query side, loaded once.

pub(super) mod encoder;
pub(super) mod overlap;
pub(super) mod target_rows;
pub(super) mod target_samples;
pub(super) mod target_vectors;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError};

use gstore_store::{FeatureReader, RowSet, StoredRow};

use self::encoder::{EncodeFeature, EncodeRequest, Given, given};
use self::target_rows::{Members, TargetRow, members};
use self::target_vectors::{Shape, TargetLoader, TargetSource, TargetVectors};
use crate::error::QueryError;
use crate::influence::plan::InfluencePlan;
use crate::influence::rank::cascade::{Sides, SketchSide, sides};
use crate::influence::rank::shortlist::Parts;
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::pruning;
use crate::influence::scan::values::groups;
use crate::influence::scan::{ScanPool, query_count};
use crate::influence::spec::mode::Mode;
use crate::influence::spec::modules;
use crate::influence::spec::{GIVEN, Sim};
use crate::kernel::Queries;
use crate::sketch::{Sketch, files};

/// What answers need beyond the catalog.
pub(super) struct Ready {
    pub(super) pools: Vec<ScanPool>,
    pub(super) target: TargetVectors,
    pub(super) weights: Vec<f64>,
    /// Sketches, where the mode asks for them.
    sides: Option<LazySides>,
    /// What shortlists need.
    pub(super) shortlist: Parts,
    /// Live rows that are no candidates because they occur in the target.
    pub(super) in_target: u64,
}

/// Sketches that are opened by the first ranking that reads them.
#[derive(Default)]
struct LazySides {
    opened: OnceLock<Sides>,
    /// Why they are not read any more.
    given_up: OnceLock<String>,
}

impl Ready {
    /// Number of query vectors per checkpoint.
    pub(super) fn queries(&self) -> usize {
        query_count(&self.pools)
    }

    /// Number of rows that a filter lets through; of a pool that it restricts, those that it names.
    pub(super) fn rows(&self, filter: Option<&RowFilter>) -> u64 {
        let count = |(p, pool): (usize, &ScanPool)| match filter.and_then(|filter| filter.pool(p)) {
            Some(mask) => mask.len(),
            None => pool.live.len(),
        };
        self.pools.iter().enumerate().map(count).sum()
    }
}

impl InfluencePlan {
    /// The samples that are given with the question, computed at the first call.
    pub(super) fn given_samples(&self, cancel: &AtomicBool) -> Result<Arc<Given>, QueryError> {
        let mut slot = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let features: Vec<EncodeFeature<'_>> = self
            .checkpoints()
            .iter()
            .enumerate()
            .filter_map(|(c, checkpoint)| {
                Some(EncodeFeature {
                    checkpoint: &checkpoint.name,
                    run: self.run(),
                    pool: self.pools().first()?.features.get(c)?,
                    kind: self.target_kind(),
                })
            })
            .collect();
        let request =
            EncodeRequest { snapshot: self.snapshot(), samples: &self.spec().given, features: &features };
        let computed = Arc::new(given(self.encoder.as_ref(), &request, cancel)?);
        *slot = Some(computed.clone());
        Ok(computed)
    }

    /// Where the target's vectors are: by checkpoint, then by target.
    pub(super) fn target_sources(&self, cancel: &AtomicBool) -> Result<Vec<Vec<TargetSource>>, QueryError> {
        if !self.spec().given.is_empty() {
            let samples = self.given_samples(cancel)?;
            let pool = self.pools().first().map(|pool| &pool.features[..]).unwrap_or_default();
            let source = |(c, part): (usize, &Arc<_>)| {
                vec![TargetSource::Given { part: Arc::clone(part), samples: samples.clone(), checkpoint: c }]
            };
            return Ok(pool.iter().enumerate().map(source).collect());
        }
        let mut readers = Vec::new();
        for c in 0..self.checkpoints().len() {
            let mut at = Vec::new();
            for side in self.targets() {
                at.push(TargetSource::Stored(self.snapshot().open_feature_shared(&side.features[c])?));
            }
            readers.push(at);
        }
        Ok(readers)
    }

    /// The vector of one target row as it is stored, or would be.
    pub(super) fn target_row(
        &self,
        checkpoint: usize,
        row: &TargetRow,
    ) -> Result<Option<StoredRow>, QueryError> {
        if !self.spec().given.is_empty() {
            let given = self.given_samples(&AtomicBool::new(false))?;
            return Ok(given.vectors.get(checkpoint).and_then(|all| all.get(row.row as usize)).cloned());
        }
        let feature = self.targets().get(row.target as usize).and_then(|side| side.features.get(checkpoint));
        let Some(feature) = feature else { return Ok(None) };
        Ok(self.snapshot().open_feature_shared(feature)?.row(row.row)?)
    }

    /// Tokens and scored tokens of the samples that are given with the question, in their order.
    pub fn given_tokens(&self, cancel: &AtomicBool) -> Result<Vec<(u32, u32)>, QueryError> {
        if self.spec().given.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.given_samples(cancel)?.tokens.clone())
    }

    /// The target rows that the question is about.
    pub(super) fn members(&self) -> Result<Members, QueryError> {
        let mut members = match self.spec().given.len() {
            0 => members(self.snapshot(), &self.target_rows, self.spec().by)?,
            n => given_members(n as u64),
        };
        if let Some(only) = &self.only {
            members.rows.retain(|row| only.binary_search(&(row.target, row.row)).is_ok());
        }
        Ok(members)
    }

    /// Who reads the target vectors from where they are.
    pub(super) fn target_loader<'a>(
        &'a self,
        readers: &'a [Vec<TargetSource>],
        cancel: &'a AtomicBool,
    ) -> TargetLoader<'a> {
        TargetLoader { spec: self.spec(), checkpoints: self.checkpoints(), readers, cancel }
    }

    /// Reads the target vectors.
    pub(super) fn load_targets(
        &self,
        shape: Shape,
        cancel: &AtomicBool,
    ) -> Result<TargetVectors, QueryError> {
        let members = self.members()?;
        let readers = self.target_sources(cancel)?;
        let loader = self.target_loader(&readers, cancel);
        loader.load(members, shape)
    }

    /// The rows of each pool that may be scored.
    pub(super) fn candidates(&self, cancel: &AtomicBool) -> Result<Vec<Arc<RowSet>>, QueryError> {
        let mut slot = self.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let mut found = Vec::new();
        for (pool, side) in self.pools().iter().enumerate() {
            let mut live = self.snapshot().live_rows(&side.dataset)?;
            if let Some((_, row)) = self.left_out.filter(|(of, _)| *of == pool) {
                live = Arc::new(live.difference(&RowSet::from_rows([row])));
            }
            found.push(match self.spec().exclude_target {
                false => live,
                true => Arc::new(live.difference(&self.rows_in_target(pool, cancel)?)),
            });
        }
        *slot = Some(found.clone());
        Ok(found)
    }

    /// The readers of the pools at some checkpoints, with queries packed for them. `vectors[c]` are the query vectors of
    /// checkpoint `checkpoints.start + c`.
    pub(super) fn open_pools(
        &self,
        checkpoints: Range<usize>,
        vectors: &[Vec<f32>],
        cancel: &AtomicBool,
    ) -> Result<Vec<ScanPool>, QueryError> {
        let mut pools: Vec<ScanPool> = Vec::new();
        for (side, candidates) in self.pools().iter().zip(self.candidates(cancel)?) {
            let mut pool = ScanPool {
                granularity: self.spec().granularity(),
                live: candidates,
                readers: Vec::new(),
                queries: Vec::new(),
                modules: Vec::new(),
                lengths: Vec::new(),
            };
            for (c, feature) in side.features[checkpoints.clone()].iter().enumerate() {
                let reader = self.snapshot().open_feature_shared(feature)?;
                // Pools whose module groups agree share the packed queries.
                let shared = pools.iter().find(|other| {
                    other.readers.get(c).is_some_and(|r| r.part().attrs.groups == feature.attrs.groups)
                });
                let queries: Arc<Queries> = match shared {
                    Some(other) => other.queries[c].clone(),
                    None => {
                        Arc::new(Queries::new(&vectors[c], feature.desc.dim() as usize, &groups(feature)))
                    }
                };
                pool.modules.push(modules::weights(self.spec().modules.as_ref(), feature));
                pool.lengths.push(match self.spec().sim {
                    Sim::Dot => {
                        skip::query_lengths(&vectors[c], feature.desc.dim() as usize, &groups(feature))
                    }
                    Sim::Cosine => Vec::new(),
                });
                pool.readers.push(reader);
                pool.queries.push(queries);
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    /// The sketch of a feature: one that was given, or that of its files.
    fn find_sketch(&self, reader: &FeatureReader) -> Result<Arc<Sketch>, String> {
        match self.sketches.get(&reader.part().number) {
            Some(given) => Ok(given.clone()),
            None => Ok(Arc::new(files::open(reader)?)),
        }
    }

    /// The sketches of the pools, or why they cannot be used; the first call opens them.
    pub(super) fn sides<'a>(&self, ready: &'a Ready) -> Result<&'a [Vec<SketchSide>], &'a str> {
        let Some(lazy) = &ready.sides else { return Err("") };
        if let Some(why) = lazy.given_up.get() {
            return Err(why);
        }
        let opened = lazy.opened.get_or_init(|| {
            let queries = ready.pools.first().map(|pool| &pool.queries[..]).unwrap_or_default();
            let vectors: Vec<Vec<f32>> = queries.iter().map(|queries| queries.vectors()).collect();
            sides(self.spec(), &ready.pools, &vectors, |reader| self.find_sketch(reader))
        });
        opened.as_deref().map_err(String::as_str)
    }

    /// The answer of `work`; where a sketch turns out to be damaged on the way, that of a second attempt, for which there are no sketches.
    pub(super) fn despite_sketches<T>(
        &self,
        ready: &Ready,
        work: impl Fn() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        match (work(), &ready.sides) {
            (Err(QueryError::Sketch(why)), Some(lazy)) => {
                // Another thread may have said it.
                lazy.given_up.get_or_init(|| why);
                work()
            }
            (answer, _) => answer,
        }
    }

    /// The pools and a target, whose vectors they hold packed.
    pub(super) fn open(&self, mut target: TargetVectors, cancel: &AtomicBool) -> Result<Ready, QueryError> {
        let vectors = std::mem::take(&mut target.vectors);
        let pools = self.open_pools(0..self.checkpoints().len(), &vectors, cancel)?;
        let candidates: u64 = pools.iter().map(|pool| pool.live.len()).sum();
        let in_target = (self.live() - candidates).saturating_sub(self.left_out.map_or(0, |_| 1));
        Ok(Ready {
            pools,
            target,
            weights: self.checkpoints().iter().map(|c| c.weight).collect(),
            sides: matches!(self.spec().mode, Mode::Sketch(_)).then(LazySides::default),
            shortlist: Parts::default(),
            in_target,
        })
    }

    /// The loaded plan; the first call loads it.
    pub(super) fn ready(&self, cancel: &AtomicBool) -> Result<Arc<Ready>, QueryError> {
        let mut slot = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = &*slot {
            return Ok(ready.clone());
        }
        let target = self.load_targets(Shape::Terms, cancel)?;
        let ready = Arc::new(self.open(target, cancel)?);
        *slot = Some(ready.clone());
        Ok(ready)
    }
}

/// Given samples are one subtask.
fn given_members(samples: u64) -> Members {
    let row = |row| TargetRow { target: 0, row, subtask: 0 };
    let names = || vec![GIVEN.to_owned()];
    Members { rows: (0..samples).map(row).collect(), subtasks: names(), asked: names() }
}
