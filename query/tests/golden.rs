//! Promise: subtask means and scores of the reference follow from its influence values by
//! the aggregations here.

use crate::common::golden;
use gstore_query::influence::{Across, Terms, Within};
use serde_json::Value;

use crate::tensors::{self, Tensors};

fn values(tensors: &Tensors, name: &str) -> (usize, Vec<f32>) {
    let (shape, values) = &tensors[name];
    (shape[shape.len() - 1], values.iter().map(|value| *value as f32).collect())
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn subtask_means_and_scores() {
    let Some(folder) = golden("less") else { return };
    let manifest: Value =
        serde_json::from_slice(&fs_err::read(folder.join("manifest.json")).unwrap()).unwrap();
    let names = |key: &str| -> Vec<String> {
        manifest[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let (order, subtasks) = (names("target_row_order"), names("subtasks"));
    let tensors = tensors::read(&folder.join("influence.safetensors"));
    let (columns, influence) = values(&tensors, "influence");
    let (_, means) = values(&tensors, "subtask_mean");
    let (_, scores) = values(&tensors, "score");
    assert_eq!(columns, order.len());

    // Columns by subtask, as a plan orders them.
    let mut by_subtask: Vec<usize> = (0..columns).collect();
    by_subtask.sort_by_key(|&c| subtasks.iter().position(|s| *s == order[c]));
    let count = |name: &String| order.iter().filter(|other| *other == name).count();
    let mut start = 0;
    let spans = subtasks
        .iter()
        .map(|name| {
            start += count(name);
            start - count(name)..start
        })
        .collect();
    let terms = Terms { within: Within::Mean, across: Across::Max, subtasks: spans };
    for (row, line) in influence.chunks_exact(columns).enumerate() {
        let line: Vec<f32> = by_subtask.iter().map(|&c| line[c]).collect();
        for s in 0..subtasks.len() {
            let want = means[row * subtasks.len() + s];
            assert!((terms.subtask(s, &line) - want).abs() < 1e-6, "row {row}, subtask {s}");
        }
        let (score, winner) = terms.score(&line);
        assert!((score - scores[row]).abs() < 1e-6, "row {row}");
        assert!((means[row * subtasks.len() + winner as usize] - scores[row]).abs() < 1e-6, "row {row}");
    }
}
