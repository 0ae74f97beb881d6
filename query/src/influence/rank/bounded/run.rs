//! The loop of a search: batches of windows, their candidates, and what becomes of them.

use std::ops::Range;

use super::candidates::{Candidate, Candidates, ScoreCut};
use super::exact::ScoredRows;
use super::findings::Findings;
use super::pass::RequestedRows;
use super::sources::EstimateSource;
use super::{
    BATCH_PAIRS, JUDGED_ROWS, MOST_LEFT, PROVEN_PAIRS, Plan, Search, SearchOutcome, TRIAL_ROWS,
    TRIAL_ROWS_EACH, TRIAL_SHARE, Way,
};
use crate::error::QueryError;
use crate::influence::rank::collect::Collector;
use crate::influence::rank::lists::score_windows;
use crate::influence::result::PlaneSummary;
use crate::influence::scan::Totals;
use crate::influence::scan::windows::Window;

pub(super) struct Run<'a> {
    of: &'a Search<'a>,
    plan: &'a Plan<'a>,
    windows: &'a [Window],
    found: SearchOutcome,
    /// The way that is gone now, and what its sources did.
    way: usize,
    stages: Vec<Stage>,
    /// Whether it was worth it.
    tried: Tried,
    /// The windows whose candidates wait to be scored.
    waiting: Range<usize>,
    /// What the first source said of the windows that wait.
    pass: Findings,
}

fn row_count(windows: &[Window]) -> u64 {
    windows.iter().map(|window| window.rows.end - window.rows.start).sum()
}

/// For how many batches a way was worth it.
#[derive(Clone, Copy)]
enum Tried {
    Not,
    Once,
    Enough,
}

#[derive(Clone, Copy, Default)]
struct Stage {
    rows: u64,
    excluded: u64,
    bytes: u64,
}

/// What became of windows that wait.
struct RefinedWindows {
    stages: Vec<Stage>,
    /// Where the cuts are in the end, by ranking.
    limits: Vec<f32>,
    totals: Totals,
}

impl<'a> Run<'a> {
    /// Before the first window.
    pub(super) fn new(of: &'a Search<'a>, plan: &'a Plan<'a>, windows: &'a [Window]) -> Self {
        let found = SearchOutcome {
            tops: of.collectors(),
            totals: Totals::default(),
            planes: Vec::new(),
            tolerance: of.tolerance,
        };
        let stages = vec![Stage::default(); plan.ways.first().map_or(0, |way| way.sources.len())];
        let pass = Findings::default();
        // A device has little to do for an estimate, and more to begin: it is not tried on a few rows.
        let by_device =
            plan.ways.first().is_some_and(|way| way.sources.iter().all(EstimateSource::is_of_scores));
        let tried = if plan.chosen || by_device { Tried::Enough } else { Tried::Not };
        let mut run = Self { of, plan, windows, found, way: 0, stages, tried, waiting: 0..0, pass };
        run.start(0);
        run
    }

    pub(super) fn into_outcome(mut self) -> SearchOutcome {
        self.end_way();
        self.found
    }

    /// Pairs of a row and a ranking of the next batch.
    pub(super) fn most_pairs(&self) -> usize {
        if self.plan.chosen {
            return BATCH_PAIRS / 4;
        }
        // What a way is worth shows on fewer: enough that those that rank are a small part, and no more than
        // a part of all, which would be lost.
        let lists = self.of.lists.len();
        let rows = TRIAL_ROWS_EACH.saturating_mul(self.of.k).max(TRIAL_ROWS);
        let trial = rows.saturating_mul(lists).clamp(BATCH_PAIRS / 4, BATCH_PAIRS);
        let all = (row_count(self.windows) as f64 * self.of.counted) as usize;
        match self.tried {
            Tried::Not => trial.min((all / TRIAL_SHARE).saturating_mul(lists)),
            Tried::Once => BATCH_PAIRS,
            Tried::Enough => PROVEN_PAIRS,
        }
    }

    /// Goes on with the way that reads more; false where there is none.
    pub(super) fn next_way(&mut self) -> bool {
        self.end_way();
        self.way += 1;
        self.tried = Tried::Not;
        let way = self.plan.ways.get(self.way);
        self.stages = vec![Stage::default(); way.map_or(0, |way| way.sources.len())];
        self.start(self.waiting.end);
        way.is_some()
    }

    /// Codes that were tried and left nothing out decided nothing.
    fn end_way(&mut self) {
        let Some(way) = self.plan.ways.get(self.way) else { return };
        for (source, stage) in way.sources.iter().zip(std::mem::take(&mut self.stages)) {
            let Stage { rows, excluded, bytes } = stage;
            if let Some(plane) = source.plane().filter(|_| rows > 0 || self.plan.chosen) {
                self.found.planes.push(PlaneSummary { plane, rows, excluded, bytes_read: bytes });
            }
        }
    }

    /// Nothing waits before a window.
    fn start(&mut self, window: usize) {
        let mut cuts = self.known();
        if let ([cut], Some(expected)) = (&mut cuts[..], self.plan.expected)
            && cut.moves()
        {
            *cut = ScoreCut::fixed(self.of.limit_of(expected));
        }
        self.pass = Findings::new(self.of.k, &cuts);
        self.waiting = window..window;
    }

    /// Cuts that are certain: the k-th scores so far. One that is known of a whole plan need not be moved by
    /// bounds.
    fn known(&mut self) -> Vec<ScoreCut> {
        let (of, chosen) = (self.of, self.plan.chosen);
        let cut = |top: &mut Collector| {
            let limit = of.limit(top);
            match chosen && limit > f32::NEG_INFINITY {
                true => ScoreCut::fixed(limit),
                false => ScoreCut::moving(limit),
            }
        };
        self.found.tops.iter_mut().map(cut).collect()
    }

    /// Finds the candidates of a batch; false where too many of its rows are, which then are not among them.
    pub(super) fn take(&mut self, batch: Range<usize>) -> Result<bool, QueryError> {
        let of = self.of;
        let Some(Way { most_left, .. }) = self.plan.ways.get(self.way) else { return Ok(false) };
        let cuts: Vec<ScoreCut> = self.pass.lists.iter().map(|list| list.cut().clone()).collect();
        let (end, ranking) = (batch.end, self.ranking(&batch));
        let pass = self.first_pass(batch, &cuts)?;
        let rows = pass.totals.eligible + pass.unbounded.len() as u64;
        let most = (most_left * (rows * cuts.len() as u64) as f64) as u64;
        let dense = pass.candidates() as u64 > most && pass.likely(ranking) as u64 > most;
        // Few rows are worth no decision: most are candidates, since so many are wanted.
        let few = JUDGED_ROWS.saturating_mul(of.k) as u64;
        let unbounded = pass.unbounded.len() as f64 > MOST_LEFT * rows as f64;
        let fails = dense && rows > few || unbounded;
        if fails && !self.plan.chosen {
            self.found.totals.bytes_read += pass.totals.bytes_read;
            return Ok(false);
        }
        self.tried = match self.tried {
            Tried::Not => Tried::Once,
            Tried::Once | Tried::Enough => Tried::Enough,
        };
        self.waiting.end = end;
        self.pass.merge(pass);
        self.pass.lists.iter_mut().for_each(Candidates::shrink);
        // A score that is known cuts better than what bounds say of it, which is little where the first
        // source is coarse.
        if self.plan.chosen || self.pass.candidates() + self.pass.unbounded.len() > BATCH_PAIRS {
            self.finish()?;
        }
        Ok(true)
    }

    /// How many rows of a ranking a batch has, if it has as many as others.
    fn ranking(&self, batch: &Range<usize>) -> usize {
        let share = row_count(&self.windows[batch.clone()]) as f64 / row_count(self.windows).max(1) as f64;
        ((share * self.of.k as f64).round() as usize).max(1)
    }

    fn first_pass(&self, windows: Range<usize>, cuts: &[ScoreCut]) -> Result<Findings, QueryError> {
        let first = self.plan.ways.get(self.way).map_or(&[][..], |way| &way.sources[..1]);
        let found = self.of.read(self.windows, first, &RequestedRows::Every(windows), cuts)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    pub(super) fn finish(&mut self) -> Result<(), QueryError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Some(Way { sources: way, .. }) = self.plan.ways.get(self.way) else { return Ok(()) };
        let mut pass = std::mem::take(&mut self.pass);
        let guessed = self.plan.expected.is_some() || !way.iter().all(|source| source.is_certain());
        let before = guessed.then(|| self.found.tops.clone());
        let mut again = false;
        let mut asked: Vec<f32> = pass.lists.iter().map(|list| list.cut().limit).collect();
        loop {
            let refined = self.refine(pass)?;
            let known = self.known();
            let held = refined.limits.iter().zip(&known).all(|(limit, known)| *limit <= known.limit);
            let Some(before) = before.as_ref().filter(|_| !held) else {
                self.count(&refined);
                break;
            };
            // A cut that was not reached left out rows that may rank: the same again, with what is
            // known by now. From the second time on cuts only fall, so that there is a last time also
            // where bounds fail.
            self.found.totals.bytes_read += refined.totals.bytes_read;
            self.stages.iter_mut().zip(&refined.stages).for_each(|(all, stage)| all.bytes += stage.bytes);
            self.found.tops.clone_from(before);
            let cut = |(cut, asked): (ScoreCut, &f32)| {
                let limit = if again { cut.limit.min(*asked) } else { cut.limit };
                match again || limit > f32::NEG_INFINITY {
                    true => ScoreCut::fixed(limit),
                    false => ScoreCut::moving(limit),
                }
            };
            let cuts: Vec<ScoreCut> = known.into_iter().zip(&asked).map(cut).collect();
            again = true;
            pass = self.first_pass(self.waiting.clone(), &cuts)?;
            asked = pass.lists.iter().map(|list| list.cut().limit).collect();
        }
        self.start(self.waiting.end);
        Ok(())
    }

    /// Takes what the first source left through the others, and scores it.
    fn refine(&mut self, mut pass: Findings) -> Result<RefinedWindows, QueryError> {
        let Self { of, plan, windows, found, way, waiting, .. } = self;
        let way = &plan.ways[*way].sources;
        let mut seen = ScoredRows::new(windows, waiting.clone());
        let mut totals = pass.totals;
        totals.bytes_read = 0;
        let mut stages = Vec::new();
        let mut limits = Vec::new();
        for (at, source) in way.iter().enumerate() {
            let bounded = pass.totals.eligible;
            let mut stage = Stage {
                rows: bounded + pass.unbounded.len() as u64,
                excluded: bounded,
                bytes: pass.totals.bytes_read,
            };
            totals.bytes_read += stage.bytes;
            // The rows themselves are read once.
            let counted = u64::from(source.plane().is_some());
            let odd = of.score_rows(windows, &pass.take_unbounded(), &mut found.tops)?;
            totals.bytes_read += counted * odd.bytes_read;
            totals.scored += odd.eligible;
            if at == 0 {
                // What the first source could bound is among the totals.
                let Totals { scanned, eligible, excluded, .. } = odd;
                totals.merge(&Totals { scanned, eligible, excluded, ..Totals::default() });
            }
            let mut score = |candidates: &[Vec<Candidate>], tops: &mut [Collector]| {
                let scored = of.score(&mut seen, candidates, tops)?;
                stage.excluded = stage.excluded.saturating_sub(scored.scored);
                totals.bytes_read += counted * scored.bytes_read;
                totals.scored += scored.scored;
                // Values that are finite may add up to a score that is not.
                totals.eligible = totals.eligible.saturating_sub(scored.excluded.total());
                totals.excluded.merge(&scored.excluded);
                Ok::<_, QueryError>(())
            };
            // Those that seem to rank first tell how well a row has to score.
            let first: Vec<_> = pass.lists.iter_mut().map(Candidates::take_first).collect();
            score(&first, &mut found.tops)?;
            for (list, top) in pass.lists.iter_mut().zip(&mut found.tops) {
                list.raise(of.limit(top));
            }
            limits = pass.lists.iter().map(|list| list.cut().limit).collect();
            let rest: Vec<_> = pass.lists.into_iter().map(Candidates::into_entries).collect();
            if let Some(next) = way.get(at + 1..at + 2) {
                let picked = seen.new_rows(&rest);
                let left = picked.iter().map(|(_, rows)| rows.len() as u64).sum();
                stage.excluded = stage.excluded.saturating_sub(left);
                let cuts: Vec<ScoreCut> = limits.iter().copied().map(ScoreCut::fixed).collect();
                let found = of.read(windows, next, &RequestedRows::Picked(&picked), &cuts)?;
                pass = found.into_iter().next().unwrap_or_default();
            } else {
                score(&rest, &mut found.tops)?;
                pass = Findings::default();
            }
            stages.push(stage);
        }
        if way.iter().all(|source| source.plane().is_none()) {
            totals.scored = totals.eligible;
        }
        Ok(RefinedWindows { stages, limits, totals })
    }

    fn count(&mut self, refined: &RefinedWindows) {
        for (all, stage) in self.stages.iter_mut().zip(&refined.stages) {
            all.rows += stage.rows;
            all.excluded += stage.excluded;
            all.bytes += stage.bytes;
        }
        self.found.totals.merge(&refined.totals);
    }

    pub(super) fn score_all(&mut self, windows: Range<usize>) -> Result<(), QueryError> {
        let Search { scan, lists, threads, .. } = self.of;
        let tops = &mut self.found.tops;
        let totals = score_windows(scan, lists, &self.windows[windows], *threads, tops)?;
        self.found.totals.merge(&totals);
        Ok(())
    }
}
