//! Notes of a result: its guarantee, the rows left out, the bytes read.

use std::sync::Mutex;

use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use gstore_core::locked;
use gstore_query::influence::{Prepared, ScanSummary};

/// One call of `influence()` that has run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InfluenceNote {
    /// Names of the pools.
    pub pools: Vec<String>,
    /// Names of the targets.
    pub targets: Vec<String>,
    /// Whether tokens were scored: `summary` then counts tokens.
    pub per_token: bool,
    /// Names and normalised weights of the checkpoints used.
    pub checkpoints: Vec<(String, f64)>,
    /// What a user should know about how the question was resolved.
    pub resolution: Vec<String>,
    /// Rows, exclusions, bytes and the guarantee.
    pub summary: ScanSummary,
    /// The target that decided nearly all rows of a ranking, and how many, where several compete for them.
    /// Servers of earlier versions do not say it.
    #[serde(default)]
    pub decided_by: Option<(String, u64)>,
}

impl InfluenceNote {
    pub(crate) fn new(plan: &Prepared, summary: ScanSummary) -> Self {
        let spec = plan.spec();
        Self {
            pools: spec.pools.clone(),
            targets: spec.target_names(),
            per_token: spec.per_token,
            checkpoints: plan.checkpoints().iter().map(|c| (c.name.clone(), c.weight)).collect(),
            resolution: plan.notes().to_vec(),
            summary,
            decided_by: None,
        }
    }
}

/// Where EXPLAIN ANALYZE finds what a scan did.
#[derive(Debug, Clone)]
pub(crate) struct ScanCounters {
    set: ExecutionPlanMetricsSet,
    partition: usize,
}

impl ScanCounters {
    pub(crate) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self { set: set.clone(), partition }
    }

    pub(crate) fn add(&self, summary: &ScanSummary) {
        let add = |name, n: u64| {
            let counter = MetricBuilder::new(&self.set).counter(name, self.partition);
            counter.add(usize::try_from(n).unwrap_or(usize::MAX));
        };
        add("rows_scored", summary.rows_scored);
        add("rows_excluded", summary.excluded.total());
        add("bytes_read", summary.bytes_read);
        let disk = summary.disk;
        if disk.bytes() > 0 {
            add("disk_direct_bytes", disk.direct);
            add("disk_ordinary_bytes", disk.ordinary);
            add("disk_milliseconds", disk.milliseconds);
        }
    }
}

/// Everything noted while a query ran.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Notes {
    /// The scans of `influence()`, in the order in which they ended.
    pub influence: Vec<InfluenceNote>,
}

/// Notes of a query that may still be running; leaves write them, the front end reads them.
#[derive(Debug, Default)]
pub struct RunNotes {
    notes: Mutex<Notes>,
}

impl RunNotes {
    /// What has been noted so far.
    pub fn get(&self) -> Notes {
        locked(&self.notes).clone()
    }

    pub(crate) fn add(&self, note: InfluenceNote) {
        locked(&self.notes).influence.push(note);
    }
}
