//! Names of rankings.

use std::collections::HashMap;

use gstore_query::influence::{Each, EachRanking, Prepared, TargetNames, TargetRow, TargetSamples};

use super::EachRows;
use crate::error::SqlError;

impl EachRows {
    /// What the rankings are called: `dataset:subtask`, as a question can name it; the target's dataset; or
    /// the sample's id, with its dataset before it where there are several.
    pub(super) fn names(
        &self,
        plan: &Prepared,
        whole: &TargetSamples,
        rankings: &[EachRanking],
    ) -> Result<Vec<String>, SqlError> {
        if plan.targets().is_empty() {
            let given = plan.spec().target_names();
            let name = |ranking: &EachRanking| match ranking.sample {
                Some(row) => given.get(row.row as usize).cloned().unwrap_or_default(),
                None => ranking.name.clone(),
            };
            return Ok(rankings.iter().map(name).collect());
        }
        let samples: Vec<TargetRow> = rankings.iter().filter_map(|ranking| ranking.sample).collect();
        if samples.len() == rankings.len() {
            let names = TargetNames::new(plan)?;
            let ids = names.ids_of(&samples)?;
            let several = plan.targets().len() > 1;
            let name = |(row, id): (&TargetRow, Option<String>)| {
                let id = id.unwrap_or_else(|| row.row.to_string());
                if several { format!("{}:{id}", names.dataset_of(row)) } else { id }
            };
            return Ok(samples.iter().zip(ids).map(name).collect());
        }
        // How a question names the subtasks.
        let asked: HashMap<&String, &String> = match self.options.each {
            Each::Subtask => whole.subtasks.iter().zip(&whole.asked).collect(),
            _ => HashMap::new(),
        };
        let name = |ranking: &EachRanking| asked.get(&ranking.name).copied().unwrap_or(&ranking.name).clone();
        Ok(rankings.iter().map(name).collect())
    }
}
