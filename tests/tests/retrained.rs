//! Ground truths by retraining small models, and files next to them.

use std::process::Command;

use gstore_tests::place::Place;

pub fn retrain(place: &Place, truth: &str, more: &[&str]) -> Command {
    let mut command =
        place.with_model(&format!("evaluate retrain --truth {truth} --max-length 64 --max-steps 2"));
    command.args(["--batch-size", "4", "--learning-rate", "0.01", "--lora-rank", "2"]).args(more);
    command
}

pub const DRAW: [&str; 8] =
    ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--count", "3", "--fraction", "0.5"];
