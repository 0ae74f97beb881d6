//! Every value behind the scores of few rows, for tests.

use gstore_core::Cancel;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::open_pools;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::prepare::target_vectors::TargetForm;
use crate::influence::rank::check_missing;
use crate::influence::result::Reason;
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::windows;
use crate::influence::scan::{Scan, Worker};

/// The most values that a matrix may have.
const MOST_VALUES: u64 = 1 << 26;

/// Similarities of pool rows with single target rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// (pool, row) of each line.
    pub rows: Vec<(u32, u64)>,
    /// The target row of each column, by subtask, then target and row.
    pub targets: Vec<TargetRow>,
    /// Names of the subtasks.
    pub subtasks: Vec<String>,
    /// For each checkpoint `rows x targets`: `sim` of the pair, without a weight. `None` where the
    /// row has no value there.
    pub sim: Vec<Vec<Option<f32>>>,
    /// `rows x targets`: the weighted sum over checkpoints, whatever `fold` says. `None`
    /// for rows without a score.
    pub influence: Vec<Option<f32>>,
    /// `rows x subtasks`: what `across` is taken of, from the same vectors that rank. `None`
    /// for rows without a score.
    pub subtask: Vec<Option<f32>>,
}

/// The values behind the scores of the rows that `filter` lets through.
///
/// # Errors
/// Also where tokens are scored, which have no line of their own here.
pub fn matrix(
    prepared: &Prepared,
    filter: Option<&RowFilter>,
    cancel: &Cancel,
) -> Result<Matrix, QueryError> {
    if prepared.spec().per_token {
        return Err(QueryError::Spec(
            "the values behind scores are shown of samples; ask without `per_token`".into(),
        ));
    }
    let operands = prepared.operands(cancel)?;
    check_missing(prepared, operands, filter)?;
    let pairs = prepared.load_targets(TargetForm::Pairs, cancel)?;
    let rows = operands.rows(filter);
    let values = rows.saturating_mul(pairs.rows.len() as u64 * (prepared.checkpoints().len() as u64 + 1));
    if values > MOST_VALUES {
        return Err(QueryError::Spec(format!(
            "a matrix of {rows} rows, {} target rows and {} checkpoints is too large; name fewer rows",
            pairs.rows.len(),
            prepared.checkpoints().len()
        )));
    }
    let columns = pairs.rows.len();
    let mut matrix = Matrix {
        rows: Vec::new(),
        targets: pairs.rows,
        subtasks: pairs.subtasks,
        sim: Vec::new(),
        influence: Vec::new(),
        subtask: Vec::new(),
    };
    let scan = operands.scan(prepared.spec(), filter, cancel);
    let subtasks = matrix.subtasks.len();
    collect(&scan, operands.queries(), |pool, row, values| {
        matrix.rows.push((pool, row));
        matrix.subtask.extend((0..subtasks).map(|s| values.ok().map(|v| scan.terms.subtask(s, v))));
    })?;
    let usable: Vec<bool> =
        matrix.subtask.chunks(subtasks).map(|line| line.iter().all(Option::is_some)).collect();
    let mut sums = vec![(0.0f64, 0.0f64); matrix.rows.len() * columns];
    let one_each = Terms { subtasks: (0..columns).map(|c| c..c + 1).collect(), ..scan.terms.clone() };
    for (c, checkpoint) in prepared.checkpoints().iter().enumerate() {
        let pools = open_pools(prepared, c..c + 1, &pairs.vectors[c..c + 1], cancel)?;
        let scan = Scan {
            pools: &pools,
            weights: &[1.0],
            terms: &one_each,
            ..operands.scan(prepared.spec(), filter, cancel)
        };
        let mut sim = Vec::with_capacity(sums.len());
        collect(&scan, columns, |_, _, values| match values {
            Ok(values) => sim.extend(values.iter().copied().map(Some)),
            Err(_) => sim.resize(sim.len() + columns, None),
        })?;
        for (sum, value) in sums.iter_mut().zip(&sim) {
            if let Some(value) = value {
                sum.0 += checkpoint.weight * f64::from(*value);
                sum.1 += checkpoint.weight;
            }
        }
        matrix.sim.push(sim);
    }
    matrix.influence = sums
        .iter()
        .enumerate()
        .map(|(i, (sum, weight))| usable[i / columns].then(|| (sum / weight) as f32))
        .collect();
    Ok(matrix)
}

fn collect(
    scan: &Scan<'_>,
    queries: usize,
    mut take: impl FnMut(u32, u64, Result<&[f32], Reason>),
) -> Result<(), QueryError> {
    let mut worker = Worker::default();
    for window in windows(scan.pools, queries) {
        scan.raw(&window, &mut worker, |row, values| take(window.pool, row, values))?;
    }
    Ok(())
}
