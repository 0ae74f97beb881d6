//! Questions to the store that `make` created, and the recorded part of their answers.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use gstore_query::influence::{
    Each, EachRequest, InfluenceSpec, Mode, Order, Prepared, ScanSummary, Sim, SketchMode, TargetRef,
};
use gstore_store::{Cancel, Snapshot};
use serde_json::{Value, json};

/// Bytes that candidates of many rankings may take, as in `gstore select`.
const MEMORY: usize = 2 << 30;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// `exact`, `certified` or `cascade`.
    pub mode: String,
    /// Target samples.
    pub queries: usize,
    /// What each ranking is for, with several target samples: `sample` or `subtask`, each of which has one
    /// sample, or `whole`: the best of them.
    pub each: String,
    /// Rows of each ranking.
    pub k: usize,
    pub threads: usize,
    pub sim: Sim,
}

/// A question with its plan.
pub struct Asked {
    question: Question,
    plan: Prepared,
}

impl Question {
    /// Resolves it.
    pub fn plan(self, snapshot: &Arc<Snapshot>) -> Result<Asked> {
        let mode = match &*self.mode {
            "exact" => Mode::Exact,
            "certified" => Mode::Sketch(SketchMode { certified: true, ..SketchMode::default() }),
            "cascade" => Mode::Sketch(SketchMode::default()),
            other => bail!("{other} is none of exact, certified, cascade"),
        };
        let spec = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse(&format!("target{}", self.queries))],
            sim: self.sim,
            mode,
            ..Default::default()
        };
        Ok(Asked { plan: Prepared::new(snapshot, &spec)?, question: self })
    }
}

/// The rows of the first ranking and what the scan did.
pub struct Answer {
    pub rows: Vec<u64>,
    /// Bytes of all results, as the library returns them.
    pub bytes: usize,
    pub summary: ScanSummary,
}

impl Asked {
    /// Asks: one ranking for one target sample, else one for each.
    pub fn ask(&self) -> Result<Answer> {
        let Question { queries, each, k, threads, .. } = &self.question;
        let never = Cancel::new();
        if *queries == 1 || each == "whole" {
            let ranking = self.plan.top_k(Order::Best, *k, None, *threads, &never)?;
            return Ok(Answer {
                rows: ranking.rows.iter().map(|row| row.row).collect(),
                bytes: size_of_val(&ranking.rows[..]),
                summary: ranking.summary,
            });
        }
        let request = EachRequest {
            each: each.parse::<Each>()?,
            order: Order::Best,
            k: *k,
            filter: None,
            threads: *threads,
            memory: MEMORY,
        };
        let rankings = self.plan.top_k_each(&request, &never)?;
        let first = rankings.rankings.iter().find(|ranking| ranking.name == "s0").context("no ranking")?;
        Ok(Answer {
            rows: first.rows.iter().map(|row| row.row).collect(),
            bytes: rankings.rankings.iter().map(|ranking| size_of_val(&ranking.rows[..])).sum(),
            summary: rankings.summary,
        })
    }

    pub fn question(&self) -> &Question {
        &self.question
    }
}

impl Answer {
    /// The recorded part.
    pub fn json(&self) -> Value {
        let summary = &self.summary;
        json!({
            "guarantee": summary.guarantee, "scanned": summary.scanned, "rows_scored": summary.rows_scored,
            "bytes_read": summary.bytes_read, "planes": summary.planes, "notes": summary.notes,
        })
    }
}
