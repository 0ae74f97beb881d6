//! `gstore index --evaluate` of sketches: what planes take on disk, and what they save in rankings.

use std::sync::Arc;

use anyhow::Result;
use gstore_core::{Cancel, many, many_of};
use gstore_query::QueryError;
use gstore_query::evaluate::{PlaneEvaluation, PlanesEvaluation, PlanesOptions, planes};
use gstore_store::{FeaturePart, Snapshot};
use indicatif::HumanBytes;

use super::{FeatureIndexes, asking};
use crate::args::IndexArgs;
use crate::context::Context;
use crate::streams::out;

/// Evaluates the planes of a feature's sketch.
pub fn evaluate(
    context: &Context,
    args: &IndexArgs,
    snapshot: &Arc<Snapshot>,
    part: &FeaturePart,
    cancel: &Cancel,
) -> Result<PlanesEvaluation, QueryError> {
    let options = PlanesOptions { queries: args.queries, seed: args.seed, threads: context.threads };
    let name = format!("evaluating the sketch of {}", part.display_name());
    asking(context, args, (snapshot, part), &name, |told| planes(snapshot, part, &options, told, cancel))
}

/// What planes take and save, a table for each feature that was asked about.
pub fn table(lines: &[FeatureIndexes]) -> Result<()> {
    for (line, found) in lines.iter().filter_map(|line| Some((line, line.planes_evaluation.as_ref()?))) {
        let scan = HumanBytes(found.scan_bytes_read as u64);
        let queries = many_of(found.queries as u64, "query", "queries");
        out!(
            "\nsketch of {}: {queries} for the 100 nearest of {}; a scan reads {scan}",
            line.feature,
            many(found.rows, "row")
        );
        out!("{:<9}  {:>9}  {:>11}  {:>11}  {:>12}", "plane", "bytes/row", "on disk", "read", "rows scored");
        for plane in &found.planes {
            let PlaneEvaluation { plane, vector_bytes, bytes, bytes_read, scored, .. } = plane;
            let disk = HumanBytes(*bytes).to_string();
            let (read, scored) = match bytes_read.zip(*scored) {
                Some((read, scored)) => (HumanBytes(read as u64).to_string(), share(scored)),
                None => ("not kept".to_owned(), String::new()),
            };
            out!("{:<9}  {vector_bytes:>9}  {disk:>11}  {read:>11}  {scored:>12}", plane.word());
        }
        let (read, scored) = (HumanBytes(found.bytes_read as u64).to_string(), share(found.scored));
        out!("{:<9}  {:>9}  {:>11}  {read:>11}  {scored:>12}", "as chosen", "", "");
        if let Some(why) = &found.why_scanned {
            out!("as chosen, for {} of {queries}: {why}", found.scanned);
        }
        out!("certified and int8 are the same codes; each row takes another {} bytes", found.record_bytes);
    }
    Ok(())
}

fn share(scored: f64) -> String {
    format!("{:.3} %", 100.0 * scored)
}
