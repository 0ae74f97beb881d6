//! `gstore index --hnsw` and `--evaluate`: builds neighbour graphs, and measures their recall.

use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::{Cancel, Remedy, many, many_of};
use gstore_query::QueryError;
use gstore_query::ann;
use gstore_query::sketch;
use gstore_store::{FeaturePart, ReadError, Snapshot, Store};
use indicatif::HumanBytes;

use super::{FeatureIndexes, asking};
use crate::args::IndexArgs;
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::streams::out;

/// Makes and evaluates graphs of the features that the flags mean; returns what was done to each.
pub fn run(
    context: &Context,
    args: &IndexArgs,
    store: &Store,
    snapshot: &Arc<Snapshot>,
    features: &[&Arc<FeaturePart>],
) -> Result<Vec<(Arc<FeaturePart>, FeatureIndexes)>> {
    match args.sim.as_str() {
        "cosine" => {}
        "dot" => refuse!("{}", ann::NO_DOT),
        other => refuse!("--sim accepts only cosine, not `{other}`"),
    }
    let cancel = context.cancel_on_interrupt(match args.rebuild {
        true => {
            "stopping; finished graphs are kept; the same command without --rebuild builds the missing ones"
        }
        false => "stopping; finished graphs are kept: run the same command again to continue",
    });
    let named = !args.features.is_empty() || !args.kinds.is_empty();
    let mut all = Vec::new();
    for part in features {
        if !named && !is_meant(args, snapshot, part)? {
            continue;
        }
        let mut done = FeatureIndexes::default();
        let has =
            |kind: &str| Ok::<_, ReadError>(snapshot.indexes(part)?.iter().any(|note| note.kind == kind));
        if args.evaluate && has(sketch::KIND)? {
            match super::planes::evaluate(context, args, snapshot, part, &cancel) {
                Ok(found) => done.planes_evaluation = Some(found),
                Err(QueryError::Sketch(why)) if !named => done.refused = Some(why),
                Err(other) => return Err(other.into()),
            }
            if !args.hnsw && !has(ann::KIND)? {
                all.push((Arc::clone(part), done));
                continue;
            }
        }
        if let Err(error) = ann::check(part) {
            match error {
                QueryError::Graph(why) if !named => done.refused = Some(why),
                other => return Err(other.into()),
            }
        } else {
            if args.hnsw {
                build(context, args, store, snapshot, part, &cancel, &mut done)?;
            }
            if args.evaluate {
                done.evaluation = Some(evaluate(context, args, snapshot, part, &cancel)?);
            }
        }
        all.push((Arc::clone(part), done));
    }
    if all.is_empty() {
        bail!(UsageError(match args.hnsw {
            true => "no embeddings here; name a feature, or other kinds with --kind".to_owned(),
            false => format!(
                "no feature has an index; `gstore index --hnsw --dataset {0}{1}` makes graphs of a dataset's embeddings, `gstore index --sketch --dataset {0}{1}` sketches of its vectors",
                args.dataset.as_deref().unwrap_or("NAME"),
                context.at_store()
            ),
        }));
    }
    Ok(all)
}

/// What is taken where nothing is named: embeddings, and for an evaluation alone whatever has an index and
/// more than one number to compare.
fn is_meant(args: &IndexArgs, snapshot: &Snapshot, part: &FeaturePart) -> Result<bool> {
    if args.hnsw {
        return Ok(part.desc.space.family == gstore_store::Family::Embedding);
    }
    if part.desc.space.family == gstore_store::Family::Loss {
        return Ok(false);
    }
    Ok(snapshot.indexes(part)?.iter().any(|note| [ann::KIND, sketch::KIND].contains(&note.kind.as_str())))
}

#[cfg(feature = "ann")]
fn build(
    context: &Context,
    args: &IndexArgs,
    store: &Store,
    snapshot: &Snapshot,
    part: &FeaturePart,
    cancel: &Cancel,
    done: &mut FeatureIndexes,
) -> Result<()> {
    use anyhow::anyhow;
    use gstore_core::{TotalProgress, Unit};
    use gstore_store::vfs::check_room;

    let reader = snapshot.open_feature(part)?;
    let name = part.display_name();
    let estimate = ann::estimate(&reader, context.threads);
    context.say(&format!(
        "graph of {name}: up to {} of memory (its largest segment has {} vectors) and {} of disk, and another {} while it is built",
        HumanBytes(estimate.memory),
        estimate.vectors,
        HumanBytes(estimate.disk),
        HumanBytes(estimate.beside)
    ));
    check_room(store.path(), ann::room(&reader, args.rebuild))
        .map_err(|no_room| anyhow!("the graphs of {name}: {no_room}, and give the same command again"))?;
    let options = ann::GraphOptions { rebuild: args.rebuild, threads: context.threads };
    let mut reporter = context.reporter();
    let stage = format!("graph {name}");
    let mut linked = TotalProgress::new(&mut reporter, &stage, Unit::Rows);
    let built = ann::build(
        store,
        &reader,
        &options,
        &mut |progress| linked.at(progress.done, progress.vectors - progress.kept),
        cancel,
    )?;
    linked.finish();
    done.left_out = built.left_out;
    done.linked = built.done;
    Ok(())
}

#[cfg(not(feature = "ann"))]
fn build(
    _: &Context,
    _: &IndexArgs,
    _: &Store,
    _: &Snapshot,
    _: &FeaturePart,
    _: &Cancel,
    _: &mut FeatureIndexes,
) -> Result<()> {
    refuse!(
        "this gstore was built without `ann`, which makes graphs of neighbours; build it with `cargo install --path cli` \
         (a C++17 compiler is needed). Existing graphs can be used without it"
    )
}

fn evaluate(
    context: &Context,
    args: &IndexArgs,
    snapshot: &Arc<Snapshot>,
    part: &FeaturePart,
    cancel: &Cancel,
) -> Result<ann::Evaluation> {
    let options = ann::EvaluateOptions {
        queries: args.queries,
        seed: args.seed,
        ef: args.ef,
        threads: context.threads,
    };
    let name = format!("evaluating {}", part.display_name());
    let found = asking(context, args, (snapshot, part), &name, |told| {
        ann::evaluate(snapshot, part, &options, told, cancel)
    });
    Ok(found?)
}

/// What is said of a feature's graphs behind its sketches.
pub fn words(line: &FeatureIndexes) -> String {
    let graphs = match line {
        FeatureIndexes { graphed: 0, unusable_graphs: 0, .. } => return String::new(),
        FeatureIndexes { graphed: 0, .. } => "; no graph".to_owned(),
        FeatureIndexes { graphed, segments, graph_bytes, .. } if graphed < segments => {
            format!(
                "; graphs of {graphed} of {}, {}",
                many(*segments as u64, "segment"),
                HumanBytes(*graph_bytes)
            )
        }
        FeatureIndexes { graph_bytes, .. } => format!("; graph, {}", HumanBytes(*graph_bytes)),
    };
    let linked = match line.linked {
        0 => String::new(),
        n => format!(", {} done now", many(n, "vector")),
    };
    let left_out = match line.left_out {
        0 => String::new(),
        n => format!(", {n} left out (no scored token, not finite, or shorter than 1e-12)"),
    };
    let unusable = match line.unusable_graphs {
        0 => String::new(),
        n => format!(
            ", {n} that cannot be used (damaged, or older than their segments; {} rebuilds them)",
            Remedy::Index { kind: ann::KIND, feature: &line.feature, rebuild: false }
        ),
    };
    format!("{graphs}{unusable}{linked}{left_out}")
}

/// What graphs find, a line for each feature that was asked about.
pub fn table(lines: &[FeatureIndexes]) -> Result<()> {
    let evaluated: Vec<_> = lines.iter().filter_map(|line| Some((line, line.evaluation.as_ref()?))).collect();
    if evaluated.is_empty() {
        return Ok(());
    }
    let width = evaluated.iter().map(|(line, _)| line.feature.chars().count()).max().unwrap_or(0).max(7);
    out!(
        "\n{:width$}  {:>7}  {:>9}  {:>10}  {:>17}  {:>8}  {:>8}",
        "feature",
        "queries",
        "recall@10",
        "recall@100",
        "compared / rows",
        "graph ms",
        "scan ms"
    );
    for (line, found) in evaluated {
        let recall = |recall: Option<f64>| recall.map_or("-".to_owned(), |recall| format!("{recall:.4}"));
        out!(
            "{:width$}  {:>7}  {:>9}  {:>10}  {:>17}  {:>8.2}  {:>8.2}",
            line.feature,
            found.queries,
            recall(found.recall_at_10),
            recall(found.recall_at_100),
            format!("{:.0} / {}", found.compared, found.rows),
            found.graph_ms,
            found.scan_ms
        );
        if found.ef_at_10 != found.ef_at_100 {
            out!(
                "  a search for 10 rows (recall@10, compared) keeps {} candidates, one for 100 rows {}",
                found.ef_at_10,
                found.ef_at_100
            );
        }
        if found.scanned > 0 {
            out!(
                "  {} of {} scanned anyway: the graph found fewer rows than requested",
                found.scanned,
                many_of(found.queries as u64, "question was", "questions were")
            );
        }
        if found.without > 0 {
            let lack = many_of(found.without, "of its segments has", "of its segments have");
            let were = if found.without == 1 { "was" } else { "were" };
            out!("  {lack} no graph and {were} scanned");
        }
    }
    Ok(())
}
