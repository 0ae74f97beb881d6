//! Many rankings in one pass over the pools: one for each subtask, target dataset or target sample.

use gstore_core::Cancel;
use gstore_core::parallel::threads_for;
use serde::Serialize;

use super::bounded::{self, SearchOutcome};
use super::check_missing;
use super::collect::{Collector, into_lists, small_bytes};
use super::lists::{Lists, score_windows};
use super::summary;
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::prepare::target_vectors::TargetVectors;
use crate::influence::rank::Ask;
use crate::influence::result::{PlaneSummary, ScanSummary, Scored};
use crate::influence::scan::Totals;
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::terms::Terms;
use crate::influence::spec::{Across, Each, GIVEN, Order};
use crate::size::needed_and_allowed;

/// What [`Prepared::top_k_each`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct EachRequest<'a> {
    /// What has a ranking.
    pub each: Each,
    /// Which end of the rankings.
    pub order: Order,
    /// Rows of each ranking.
    pub k: usize,
    /// Which rows may be ranked.
    pub filter: Option<&'a RowFilter>,
    /// Threads; 0 means one per core. The bits of the result do not depend on it.
    pub threads: usize,
    /// Bytes that candidates and, for samples and subtasks, the target's vectors may take.
    pub memory: usize,
}

/// One ranking of several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EachRanking {
    /// Of a subtask its name, of a target that of the dataset, of a sample that of its subtask.
    pub name: String,
    /// The target sample, where each has a ranking.
    pub sample: Option<TargetRow>,
    /// min(k, eligible) rows in order, of covariances those with a score. Their scores are those of this
    /// subtask, target or sample alone.
    pub rows: Vec<Scored>,
}

/// One ranking for each subtask, target or sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rankings {
    /// By subtask's name, in the order of the targets, or of samples by subtask, target and row.
    pub rankings: Vec<EachRanking>,
    /// Names of the subtasks; `Scored::subtask` points here.
    pub subtasks: Vec<String>,
    /// Everything about the scan.
    pub summary: ScanSummary,
}

pub(super) struct Ranked {
    pub(super) lists: Vec<Vec<Scored>>,
    pub(super) totals: Totals,
    /// What codes did, where they left rows out.
    pub(super) planes: Vec<PlaneSummary>,
}

impl Prepared {
    /// The k best or worst rows for each subtask, target or sample, in one pass over the pools. Rows are
    /// eligible as they are for the whole question; a score that is not finite for one of the rankings
    /// excludes the row from all. Of covariances the finite scores count, and a row without any is excluded.
    ///
    /// Memory: of each ranking at most k candidates of 24 bytes and a quarter more, or 64, in whose place its
    /// k results of 32 bytes come in the end; and 16 candidates for each thread.
    ///
    /// # Errors
    /// Also where that, with the vectors of the samples, is more than `memory`.
    pub fn top_k_each(&self, request: &EachRequest<'_>, cancel: &Cancel) -> Result<Rankings, QueryError> {
        if self.plan().models().is_some() {
            return self.covariances_each(request, cancel);
        }
        let whole = self.operands_on(request.threads, cancel)?;
        let names = names(self, &whole.target, request.each);
        check_memory(self, request, names.len())?;
        let operands = match request.each {
            Each::Sample => self.operands_by_sample(cancel)?,
            _ => whole,
        };
        let lists = lists(self, &operands.target, request.each);
        let &EachRequest { order, k, filter, threads, .. } = request;
        let ask = Ask { order, k, filter, threads, cancel };
        let pages = vec![Page::First; lists.len()];
        let found = operands.despite_sketches(|| rank_lists(self, operands, &lists, &pages, ask))?;
        let rankings = names.into_iter().zip(found.lists);
        Ok(Rankings {
            rankings: rankings.map(|((name, sample), rows)| EachRanking { name, sample, rows }).collect(),
            subtasks: operands.target.subtasks.clone(),
            summary: summary::of_lists(self, operands, &found.totals, (found.planes, 0.0)),
        })
    }
}

/// What the rankings are called, and of samples which ones they are.
pub(crate) fn names(
    prepared: &Prepared,
    target: &TargetVectors,
    each: Each,
) -> Vec<(String, Option<TargetRow>)> {
    let subtasks = &target.subtasks;
    match each {
        Each::Subtask => subtasks.iter().map(|name| (name.clone(), None)).collect(),
        // Samples that are given with the question are one target, and one subtask.
        Each::Target if prepared.targets().is_empty() => vec![(GIVEN.to_owned(), None)],
        Each::Target => prepared.targets().iter().map(|t| (t.dataset.name.clone(), None)).collect(),
        Each::Sample => {
            let name = |row: &TargetRow| subtasks.get(row.subtask as usize).cloned().unwrap_or_default();
            target.rows.iter().map(|row| (name(row), Some(*row))).collect()
        }
    }
}

pub(crate) fn check_memory(
    prepared: &Prepared,
    request: &EachRequest<'_>,
    rankings: usize,
) -> Result<(), QueryError> {
    let threads = threads_for(request.threads, usize::MAX);
    let candidates = small_bytes(request.k.min(prepared.most_results()), threads);
    let vectors = match request.each {
        Each::Sample | Each::Subtask => usize::try_from(prepared.ranked_sample_bytes()).unwrap_or(usize::MAX),
        Each::Target => 0,
    };
    let needed = candidates.saturating_mul(rankings).saturating_add(vectors.saturating_mul(rankings));
    if needed <= request.memory {
        return Ok(());
    }
    let (needed, allowed) = needed_and_allowed(needed as u64, request.memory as u64);
    Err(QueryError::Spec(format!(
        "the {} {} rows for each of {rankings} {}s need up to {needed} of memory and {allowed} are allowed; ask for fewer rows, name \
         fewer targets, or allow more memory",
        request.order, request.k, request.each,
    )))
}

pub(crate) fn lists(prepared: &Prepared, target: &TargetVectors, each: Each) -> Lists {
    match each {
        // Maxima, minima and means of finite values are finite. A sum may overflow, and a row without a score
        // for the whole question has none at all, except of covariances.
        Each::Subtask if target.terms.is_of_values() && target.terms.across != Across::Sum => {
            Lists::Values((0..target.terms.subtasks.len() as u32).collect())
        }
        Each::Subtask => Lists::Subtasks(target.terms.subtasks.len()),
        Each::Sample => Lists::Values(target.rows.iter().map(|row| row.subtask).collect()),
        Each::Target => {
            let mut own: Vec<Vec<u32>> = vec![Vec::new(); prepared.targets().len().max(1)];
            // Subtasks of one name in several targets have numbers of their own.
            for s in 0..target.subtasks.len() as u32 {
                if let Some(row) = target.rows[TargetRow::of_subtask(&target.rows, s)].first() {
                    own[row.target as usize].push(s);
                }
            }
            let terms = |own: &[u32]| Terms {
                subtasks: own.iter().map(|s| target.terms.subtasks[*s as usize].clone()).collect(),
                ..target.terms.clone()
            };
            Lists::Targets(own.into_iter().map(|own| (terms(&own), own)).collect())
        }
    }
}

/// Which k results of a ranking are wanted of a pass.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Page {
    First,
    After(Scored),
    None,
}

/// The rankings of one pass, a page of each.
pub(super) fn rank_lists(
    prepared: &Prepared,
    operands: &Operands,
    lists: &Lists,
    pages: &[Page],
    ask: Ask<'_>,
) -> Result<Ranked, QueryError> {
    let Ask { order, k, filter, threads, cancel } = ask;
    check_missing(prepared, operands, filter)?;
    // The next pages of rankings are scanned.
    if !pages.is_empty()
        && pages.iter().all(|page| *page == Page::First)
        && let Some(found) = bounded::question::of_many_values(prepared, operands, lists, ask)?
    {
        let SearchOutcome { tops, totals, planes, .. } = found;
        return Ok(Ranked { lists: tops.into_iter().map(Collector::into_rows).collect(), totals, planes });
    }
    let scan = operands.scan(prepared.spec(), filter, cancel);
    let windows = operands.scan_windows();
    let most = prepared.most_results();
    let collector = |page: &Page| {
        let k = if *page == Page::None { 0 } else { k };
        let new = Collector::new(order, k, prepared.spec().per_token);
        let new = if pages.len() > 1 { new.small().with_memory(most) } else { new };
        match page {
            Page::After(last) => new.after(last),
            Page::First | Page::None => new,
        }
    };
    let mut tops: Vec<Collector> = pages.iter().map(collector).collect();
    let totals = score_windows(&scan, lists, &windows, threads, &mut tops)?;
    Ok(Ranked { lists: into_lists(tops, (threads, cancel))?, totals, planes: Vec::new() })
}
