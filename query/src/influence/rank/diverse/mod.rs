//! Diverse rankings: quotas by a metadata column, no near-duplicates, subtasks or targets in turn.
//!
//! Each is a rule of one greedy pass: the candidates come in the order of the exact ranking (or of one
//! ranking for each subtask or target, in turn), and each is taken unless a rule forbids it beside
//! those taken before.
//!
//! Invariants
//! - what is taken depends on the ranking alone, not on how many candidates are fetched at a time
//! - memory is bounded by k and the page, not by the number of candidates that are passed over: a page begins
//!   after the last candidate of the one before. Where there are several rankings it also has a bit for each row
//!   of the pools, and the tokens that are taken
//! - no rule looks at a row twice

mod distinct;
mod quota;
mod seen;

use std::collections::VecDeque;

use gstore_core::Cancel;
use serde::Serialize;

use self::distinct::TakenRows;
pub use self::quota::Quota;
use self::quota::Sources;
use self::seen::SeenRows;
use super::each::{self, Page, Ranked};
use super::lists::Lists;
use super::{Ask, summary};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::result::{Ranking, Scored};
use crate::influence::scan::Totals;
use crate::influence::scan::filter::RowFilter;
use crate::influence::spec::values::{OptionError, Options};
use crate::influence::spec::{Each, Order};

/// Candidates of a page at first; those of all rankings' pages at most, and of one ranking's at least.
const FIRST_PAGE: usize = 1024;
const MOST_PAGES: usize = 1 << 16;
const LEAST_PAGE: usize = 32;

/// The longest page of each of some rankings.
fn most_page(rankings: usize) -> usize {
    (MOST_PAGES / rankings.max(1)).max(LEAST_PAGE)
}

/// The rules of a spread out ranking; without any it is the plain one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diversity {
    /// How many rows each source may have.
    pub quota: Option<Quota>,
    /// A row is passed over where its cosine with a row taken before is above this: the mean over the
    /// checkpoints, by their weights, of the cosines of the stored vectors of both. From 0.99999 on it counts
    /// as 1, and a limit of 1 passes over such copies.
    pub distinct: Option<f64>,
    /// Subtasks (in the order of their names), targets (as they are named) or target samples (by subtask,
    /// then target and row) take rows in turn, each the first of its own ranking that the others left and the
    /// rules allow. One that has no row left is passed over.
    pub round_robin: Option<Each>,
}

impl Diversity {
    /// The rules that options name.
    ///
    /// # Errors
    /// Values that say nothing, and terms that rankings in turn would not make use of.
    pub fn from_options(options: &Options) -> Result<Self, OptionError> {
        let column = options.text("quota_by")?;
        let quota = match options.texts("quota")? {
            Some(limits) => {
                let quota = limits.join(",").parse::<Quota>();
                let quota = quota.map_err(|error| OptionError::of("quota", &error))?;
                Some(match column {
                    Some(column) => quota.by(column),
                    None => quota,
                })
            }
            None if column.is_some() => {
                let why = "`quota_by` says what `quota` counts by, and no `quota` is given";
                return Err(OptionError::new("quota_by", why));
            }
            None => None,
        };
        let round_robin = options.each("round_robin")?;
        let distinct = match options.numbers("distinct")?.as_deref() {
            None => None,
            Some([limit]) if (-1.0..=1.0).contains(limit) => Some(*limit),
            Some(_) => {
                return Err(OptionError::new("distinct", "`distinct` must be one cosine, between -1 and 1"));
            }
        };
        Ok(Self { quota, distinct, round_robin })
    }
}

/// What [`Prepared::select`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest<'a> {
    /// Which end of the ranking.
    pub order: Order,
    /// Rows to take.
    pub k: usize,
    /// Which rows may be taken.
    pub filter: Option<&'a RowFilter>,
    /// The rules.
    pub diversity: &'a Diversity,
    /// Threads; 0 means one per core. The bits of the result do not depend on it.
    pub threads: usize,
    /// Bytes that the vectors of rows taken before may take, where near-duplicates are passed over.
    pub memory: usize,
}

/// A ranking under rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// The rows in the order in which they were taken; where subtasks or targets take turns, each with the
    /// score and subtask of the turn.
    pub ranking: Ranking,
    /// Candidates before the last row taken that a full source kept out, each row counted once.
    pub over_quota: u64,
    /// Those that were too much like a row taken before.
    pub near_duplicates: u64,
    /// Passes over the pools.
    pub passes: u64,
}

/// One ranking that is consumed from the front, page by page.
#[derive(Default)]
struct List {
    waiting: VecDeque<Scored>,
    last: Option<Scored>,
    done: bool,
}

struct Candidates<'a> {
    prepared: &'a Prepared,
    operands: &'a Operands,
    lists: Lists,
    all: Vec<List>,
    /// What none of several rankings has to hand out again.
    seen: SeenRows,
    page: usize,
    /// Of the first pass.
    totals: Option<Totals>,
    passes: u64,
}

impl Prepared {
    /// Refuses rules that cannot be applied to the pools, from the catalog.
    ///
    /// # Errors
    /// Quotas by a metadata column that no pool has, and two quotas of one value.
    pub fn check_rules(&self, rules: &Diversity) -> Result<(), QueryError> {
        if self.plan().models().is_some() && *rules != Diversity::default() {
            return Err(QueryError::Spec(
                "quota, distinct and round_robin are rules of rankings by vectors; leave them out with the method daunce".into(),
            ));
        }
        rules.quota.as_ref().map_or(Ok(()), |quota| quota.of_pools(self).map(drop))
    }

    /// The k best or worst rows that the rules allow.
    ///
    /// # Errors
    /// Also where the vectors of k rows are more than `memory` and near-duplicates are to be passed over, and
    /// for a column that a pool does not have.
    pub fn select(&self, request: &SelectRequest<'_>, cancel: &Cancel) -> Result<Selection, QueryError> {
        let rules = request.diversity;
        self.make_inverses(request.threads, cancel)?;
        let operands = match rules.round_robin {
            Some(Each::Sample) => self.operands_by_sample(cancel)?,
            _ => self.operands(cancel)?,
        };
        let lists = match rules.round_robin {
            None => Lists::Whole,
            Some(each) => each::lists(self, &operands.target, each),
        };
        let k = request.k.min(self.most_results());
        let count = lists.len();
        let mut candidates = Candidates::new(self, operands, lists, k);
        let mut sources =
            rules.quota.as_ref().map(|quota| Sources::new(self, quota, request.k)).transpose()?;
        let taken = rules.distinct.map(|limit| TakenRows::new(self, operands, limit, k, request.memory));
        let mut taken = taken.transpose()?;
        let mut rows: Vec<Scored> = Vec::new();
        let (mut over_quota, mut near_duplicates) = (0, 0);
        let none = VecDeque::new();
        let (mut turn, mut empty) = (0, 0);
        while rows.len() < k && empty < count {
            cancel.check()?;
            let Some(next) = candidates.next(turn, request, sources.as_ref(), cancel)? else {
                empty += 1;
                turn = (turn + 1) % count;
                continue;
            };
            if let Some(sources) = &mut sources
                && !sources.has_room(&next, &candidates.all[turn].waiting)?
            {
                over_quota += 1;
                continue;
            }
            if let Some(taken) = &mut taken
                && !taken.take(&next, if count == 1 { &candidates.all[turn].waiting } else { &none })?
            {
                near_duplicates += 1;
                continue;
            }
            if let Some(sources) = &mut sources {
                sources.take(&next);
            }
            if count > 1 {
                candidates.seen.take(&next);
            }
            rows.push(next);
            empty = 0;
            turn = (turn + 1) % count;
        }
        let totals = match candidates.totals {
            Some(totals) => totals,
            // Nothing was fetched: the counts are still owed.
            None => candidates.fetch(request, &[], None, cancel)?,
        };
        let passes = candidates.passes;
        let mut summary = summary::of_scan(self, operands, &totals);
        if let Some(sources) = &sources {
            summary.notes.extend(sources.notes(cancel)?);
        }
        let ranking = Ranking { rows, subtasks: operands.target.subtasks.clone(), summary };
        Ok(Selection { ranking, over_quota, near_duplicates, passes })
    }
}

impl<'a> Candidates<'a> {
    /// The candidates of some rankings for `k` rows, none of them fetched yet.
    fn new(prepared: &'a Prepared, operands: &'a Operands, lists: Lists, k: usize) -> Self {
        let count = lists.len();
        let page =
            k.saturating_mul(2).max(FIRST_PAGE).div_ceil(count.max(1)).clamp(LEAST_PAGE, most_page(count));
        let all = (0..count).map(|_| List::default()).collect();
        let seen = SeenRows::new(operands);
        Self { prepared, operands, lists, all, seen, page, totals: None, passes: 0 }
    }

    /// The next candidate of a ranking that none of the others has had.
    fn next(
        &mut self,
        list: usize,
        request: &SelectRequest<'_>,
        sources: Option<&Sources>,
        cancel: &Cancel,
    ) -> Result<Option<Scored>, QueryError> {
        loop {
            if self.all[list].waiting.is_empty() && !self.all[list].done {
                if self.totals.is_some() {
                    self.page = self.page.saturating_mul(2).min(most_page(self.all.len()));
                }
                // The others that are nearly empty are filled by the same pass.
                let low = |l: &List| !l.done && l.waiting.len() * 2 <= self.page;
                let wanted: Vec<usize> = (0..self.all.len()).filter(|i| low(&self.all[*i])).collect();
                let totals = self.fetch(request, &wanted, sources, cancel)?;
                self.totals.get_or_insert(totals);
            }
            let next = self.all[list].waiting.pop_front();
            // Where there is one ranking no row comes twice.
            if next.is_none_or(|row| self.all.len() == 1 || self.seen.is_new(&row)) {
                return Ok(next);
            }
        }
    }

    fn fetch(
        &mut self,
        request: &SelectRequest<'_>,
        wanted: &[usize],
        sources: Option<&Sources>,
        cancel: &Cancel,
    ) -> Result<Totals, QueryError> {
        // Rows of full sources would be passed over, and so would those that another ranking has had; from
        // the second pass on they are not even scored.
        let open = match sources {
            Some(sources) if self.totals.is_some() => sources.open_rows(request.filter, cancel)?,
            _ => None,
        };
        let filter = open.as_ref().or(request.filter);
        let others = self.seen.others(self.operands, filter);
        let &SelectRequest { order, threads, .. } = request;
        let ask = Ask { order, k: self.page, filter: others.as_ref().or(filter), threads, cancel };
        let mut pages = vec![Page::None; self.all.len()];
        wanted.iter().for_each(|i| pages[*i] = self.all[*i].last.map_or(Page::First, Page::After));
        let Ranked { lists: found, mut totals, .. } = self
            .operands
            .despite_sketches(|| each::rank_lists(self.prepared, self.operands, &self.lists, &pages, ask))?;
        self.passes += 1;
        for i in wanted {
            let (list, rows) = (&mut self.all[*i], &found[*i]);
            // A short page is the last one.
            list.done = rows.len() < self.page;
            list.last = rows.last().copied().or(list.last);
            list.waiting.extend(rows);
        }
        if let Some(first) = &mut self.totals {
            first.bytes_read += totals.bytes_read;
            totals = *first;
        }
        Ok(totals)
    }
}
