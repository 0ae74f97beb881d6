//! `gstore evaluate text`: text metrics of predictions.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use gstore::named_path;
use gstore_core::{many, visible};
use gstore_evaluate::{PairSource, PairsRequest, SystemSource, evaluate_texts, read_pairs};

use super::{base, bootstrap, result};
use crate::args::EvaluateTextArgs;
use crate::context::Context;
use crate::failure::refuse;

/// Compares the predictions with their references.
pub fn run(context: &Context, args: &EvaluateTextArgs) -> Result<()> {
    let format = result::check(context, &args.result)?;
    result::check_combined(&args.combine, "text")?;
    let cancel = context.cancel_on_interrupt("stopping; nothing was written");
    let request = request(context, args)?;
    let read = request.systems.iter().map(|system| &system.source).chain(&request.references);
    let files = read.filter_map(|source| match source {
        PairSource::Files(paths) => Some(paths),
        _ => None,
    });
    result::check_unread((&args.result, Some(&args.combine)), files.flatten(), std::iter::empty())?;
    let pairs = read_pairs(&request, &cancel)?;
    let made = request.made()?;
    let names: Vec<&str> = pairs.systems.iter().map(String::as_str).collect();
    let base = base(&args.comparison, &names)?;
    context.say(&format!("{} of {}", many(pairs.rows.len() as u64, "row"), visible(&names.join(", "))));
    let (mut reporter, threads) = (context.reporter(), context.threads);
    let run = (threads, &*cancel);
    let mut found = evaluate_texts(pairs, base, bootstrap(&args.comparison), &mut reporter, run)?;
    found.report.made = made;
    let to = (&args.result, Some(&args.combine));
    result::write(context, to, format, &found.report, || found.rows(), || found.files())
}

fn request(context: &Context, args: &EvaluateTextArgs) -> Result<PairsRequest> {
    let mut systems = Vec::new();
    for text in &args.data {
        let (name, path) = named_path(text);
        let name = name.map(str::to_owned);
        systems.push(SystemSource { name, source: PairSource::Files(vec![PathBuf::from(path)]) });
    }
    for text in &args.dataset {
        let (name, dataset) = named(text);
        systems.push(SystemSource { name, source: dataset_of(context, dataset)? });
    }
    if systems.is_empty() {
        refuse!("which predictions? give --data or --dataset");
    }
    let references = match &args.reference_dataset {
        Some(dataset) => Some(dataset_of(context, dataset)?),
        None if args.references.is_empty() => None,
        None => Some(PairSource::Files(args.references.clone())),
    };
    let key = |text: &String| {
        let (name, key) = named(text);
        (name, key.to_owned())
    };
    Ok(PairsRequest {
        systems,
        references,
        predictions: args.prediction.iter().map(key).collect(),
        reference: args.reference.clone(),
    })
}

/// `NAME=VALUE`, or a value alone.
fn named(text: &str) -> (Option<String>, &str) {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !name.contains('/') => (Some(name.to_owned()), value),
        _ => (None, text),
    }
}

fn dataset_of(context: &Context, name: &str) -> Result<PairSource> {
    let snapshot = context.open()?.snapshot()?;
    let part = Arc::clone(snapshot.dataset(name)?);
    Ok(PairSource::Dataset { snapshot, part })
}
