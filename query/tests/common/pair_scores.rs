//! Every value behind the scores of rows, from rankings that leave no row out.

use std::collections::BTreeMap;

use gstore_query::QueryError;
use gstore_query::influence::{Each, EachRequest, InfluenceSpec, Order, Prepared, RowFilter, TargetRow};
use gstore_store::Cancel;

/// What a value is of: a subtask, or also a sample.
pub type Name = (String, Option<TargetRow>);
/// Of each (pool, row) that has a score its values, one for each subtask or sample.
pub type RowScores = BTreeMap<(u32, u64), Vec<f32>>;

/// Similarities of pool rows with single target rows.
pub struct PairScores {
    /// (pool, row) of each line.
    pub rows: Vec<(u32, u64)>,
    /// The target row of each column, by subtask, then target and row.
    pub targets: Vec<TargetRow>,
    /// Names of the subtasks.
    pub subtasks: Vec<String>,
    /// For each checkpoint `rows x targets`: `sim` of the pair, without a weight.
    pub sim: Vec<Vec<f32>>,
    /// `rows x targets`: the weighted sum over checkpoints.
    pub influence: Vec<f32>,
    /// `rows x subtasks`: what `across` is taken of.
    pub subtask: Vec<f32>,
}

/// The values behind the scores of the rows that `filter` lets through, which have all checkpoints.
pub fn pair_scores(
    plan: &Prepared,
    filter: Option<&RowFilter>,
    threads: usize,
) -> Result<PairScores, QueryError> {
    let (names, influence) = each_score(plan, Each::Sample, filter, threads)?;
    let (subtasks, subtask) = each_score(plan, Each::Subtask, filter, threads)?;
    let mut sim = Vec::new();
    for checkpoint in plan.checkpoints() {
        let checkpoints = Some(vec![checkpoint.name.clone()]);
        let spec = InfluenceSpec { checkpoints, weights: None, ..plan.spec().clone() };
        let alone = Prepared::new(plan.snapshot(), &spec)?;
        let (_, alone) = each_score(&alone, Each::Sample, filter, threads)?;
        sim.push(influence.keys().flat_map(|row| alone[row].clone()).collect());
    }
    Ok(PairScores {
        rows: influence.keys().copied().collect(),
        targets: names.into_iter().filter_map(|(_, sample)| sample).collect(),
        subtasks: subtasks.into_iter().map(|(name, _)| name).collect(),
        sim,
        influence: influence.into_values().flatten().collect(),
        subtask: subtask.into_values().flatten().collect(),
    })
}

/// What has a value, and the values of all rows.
pub fn each_score(
    plan: &Prepared,
    each: Each,
    filter: Option<&RowFilter>,
    threads: usize,
) -> Result<(Vec<Name>, RowScores), QueryError> {
    let k = plan.most_results();
    let request = EachRequest { each, order: Order::Best, k, filter, threads, memory: usize::MAX };
    let found = plan.top_k_each(&request, &Cancel::new())?;
    let mut values = RowScores::new();
    for scored in found.rankings.iter().flat_map(|ranking| &ranking.rows) {
        values.entry((scored.pool, scored.row)).or_default().push(scored.score);
    }
    assert!(values.values().all(|of_row| of_row.len() == found.rankings.len()));
    Ok((found.rankings.into_iter().map(|ranking| (ranking.name, ranking.sample)).collect(), values))
}
