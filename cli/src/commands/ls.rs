//! `gstore ls`: lists datasets, runs, ensembles and features, one line each.

use anyhow::Result;

use crate::args::ListOfStateArgs;
use crate::context::Context;
use crate::statements::list;

/// A terminal without room for all columns leaves out those in the middle: what says whether a feature is
/// complete stands at the ends.
const LIST: &str = "\
SELECT name, dataset, state, number, run, granularity, vectors, dim, dtype, bytes, type, missing, rows FROM (
    SELECT 1 AS place, 'dataset' AS type, dataset AS name, dataset, NULL AS granularity, rows, NULL AS missing, NULL AS vectors, NULL AS dim, NULL AS dtype, NULL AS state, bytes, NULL AS number, NULL AS run
        FROM gstore.datasets
    UNION ALL
    SELECT 2, 'run', run, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL, NULL, run FROM gstore.checkpoints GROUP BY run
    UNION ALL
    SELECT 3, 'ensemble', ensemble, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM gstore.members GROUP BY ensemble
    UNION ALL
    SELECT 4, 'losses', ensemble, dataset, NULL, max(rows), min(missing), NULL, count(*), NULL, NULL, sum(bytes), NULL, NULL
        FROM gstore.features WHERE ensemble IS NOT NULL GROUP BY ensemble, dataset
    UNION ALL
    SELECT 5, 'feature', label, dataset, granularity, rows, missing, vectors, dim, dtype, state, bytes, number, runs.run
        FROM gstore.features LEFT JOIN (
            SELECT checkpoint_id, string_agg(run, ' ' ORDER BY run) AS run
            FROM (SELECT DISTINCT checkpoint_id, run FROM gstore.checkpoints) GROUP BY checkpoint_id
        ) AS runs USING (checkpoint_id) WHERE ensemble IS NULL
) ORDER BY place, coalesce(dataset, ''), number, name";

/// Prints datasets, runs (rows: their checkpoints), ensembles (rows: their models), the losses of these (dim:
/// features that hold them) and features (run: those that have the checkpoint; number: what `gstore drop
/// feature` takes; missing: rows of the dataset that they lack; vectors: one for each sample, or for each
/// scored token, as the granularity says).
pub fn run(context: &Context, args: &ListOfStateArgs) -> Result<()> {
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    list(context, snapshot, LIST, &args.output.to)
}
