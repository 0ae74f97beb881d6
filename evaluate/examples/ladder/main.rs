//! The ladder over a store's features: influence functions of two small models against exact retraining.
//!
//! `cargo run --release -p gstore-evaluate --example ladder -- FILE.csv [HIDDEN] [SEED]` reads what
//! [`ClassificationData::read`] does: a column `label`, all others features, which are brought to one scale.
//! Every fifth row is a query, the others are the pool. It prints the linear datamodeling score over 50
//! random halves of the pool, the leave-one-out correlation over 100 rows, both with their 95 % intervals
//! over queries, for influence functions and for those of gradients that were projected to ever fewer
//! dimensions; and how well self-influence finds a tenth of the labels that were changed. See
//! docs/evaluate.md.

use std::error::Error;
use std::path::Path;

use gstore_core::Cancel;
use gstore_evaluate::Value;
use gstore_evaluate::attribution::{
    AttributionOutcome, Comparison, Flips, Ids, Scores, Suspicious, flip_detection, lds, leave_one_out,
    leave_out, random_subsets,
};
use gstore_evaluate::statistics::Bootstrap;

mod small_models;

use small_models::fit::{fit, retrain};
use small_models::influence::{influence, projected_influence, self_influence};
use small_models::model::{Logistic, Network, SmallModel};
use small_models::problem::ClassificationData;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Random halves, and rows that are left out, at most.
const HALVES: usize = 50;
const LEFT_OUT: usize = 100;
/// Weight of the squares of the parameters, of both models.
const LOGISTIC: f64 = 0.01;
const NETWORK: f64 = 0.03;

static GO: Cancel = Cancel::new();

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.first().ok_or("give a CSV file with a column `label` and features")?;
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (hidden, seed) = (number(1, 3)? as usize, number(2, 1)?);
    let rows = ClassificationData::read(Path::new(file))?.standardised();
    let (asked, kept): (Vec<u32>, Vec<u32>) = (0..rows.rows() as u32).partition(|row| row % 5 == 4);
    let (pool, queries) = (rows.select(&kept), rows.select(&asked));
    println!("{} rows, {} queries, {} features\n", pool.rows(), queries.rows(), pool.columns());
    climb("logistic regression", &Logistic { ridge: LOGISTIC }, (&pool, &queries), seed)?;
    let network = Network { hidden, ridge: NETWORK, seed };
    climb(&format!("network of {hidden} hidden units"), &network, (&pool, &queries), seed)
}

/// Everything that is printed of a model.
fn climb(
    name: &str,
    model: &(impl SmallModel + Sync),
    (pool, queries): (&ClassificationData, &ClassificationData),
    seed: u64,
) -> Result<()> {
    let rows: Vec<u32> = (0..pool.rows() as u32).collect();
    let ids: Vec<String> = rows.iter().map(u32::to_string).collect();
    let parameters = fit(model, pool, &rows, &model.start(pool.columns()))?;
    let mut methods = vec![influence("influence", model, &parameters, (pool, queries))?];
    let width = parameters.len();
    for dimension in [width / 2, width / 4, width / 8, width / 16].into_iter().filter(|kept| *kept > 0) {
        let method = format!("projected from {width} to {dimension}");
        methods.push(projected_influence(&method, model, &parameters, (pool, queries), (dimension, seed))?);
    }
    let names = |count: usize| Ids::new((0..count).map(|row| row.to_string()), "the rows");
    methods.push(Scores::random("random", &names(pool.rows())?, &names(queries.rows())?, seed));

    let bootstrap = Bootstrap { resamples: Bootstrap::RESAMPLES, seed };
    let comparison = Comparison { base: 0, bootstrap, threads: 0, cancel: &GO };
    let train = |subsets| retrain(model, (pool, queries), subsets, &parameters, (0, &GO));
    let halves = train(random_subsets(pool.rows(), HALVES, 0.5, seed, &GO)?)?;
    let halves = column(&lds(&halves, &methods, &comparison)?);
    let left_out = Some(LEFT_OUT.min(pool.rows()));
    let ones = train(leave_one_out(pool.rows(), left_out, seed, |row| ids[row].as_str(), &GO)?)?;
    let ones = column(&leave_out(&ones, &methods, &comparison)?);
    println!("{name:<32} {:<24} {:<24}", "LDS", "leave-one-out");
    for (method, (halves, ones)) in methods.iter().zip(halves.iter().zip(&ones)) {
        println!("  {:<30} {halves:<24} {ones:<24}", method.method);
    }

    // The first of two subsets, as one alone is none to compare with.
    let wrong = random_subsets(pool.rows(), 2, 0.1, seed, &GO)?.swap_remove(0).rows;
    let changed = pool.flipped(&wrong);
    let parameters = fit(model, &changed, &rows, &model.start(pool.columns()))?;
    let own = self_influence("self-influence", model, &parameters, &changed)?;
    let flipped = rows.iter().map(|row| wrong.contains(row)).collect();
    let flips = Flips { rows: Ids::new(ids, "the pool")?, flipped };
    let found = column(&flip_detection(&flips, &[own], Suspicious::Highest, &comparison)?);
    println!("  changed labels by self-influence, AUC: {}\n", found.join(" "));
    Ok(())
}

/// The first measure of each method, with its interval.
fn column(outcome: &AttributionOutcome) -> Vec<String> {
    let values = outcome.report.measures.iter().take(1).flat_map(|measure| &measure.values);
    let of = |value: &Value| match (value.low, value.high) {
        (Some(low), Some(high)) => format!("{:.3} [{low:.3}, {high:.3}]", value.mean),
        _ => format!("{:.3}", value.mean),
    };
    values.map(of).collect()
}
