//! `gstore daunce diagnose`: defects of the models of an ensemble or of their losses.

use anyhow::Result;
use gstore_core::{Cancel, many};
use gstore_query::daunce::{Diagnosis, Severity};
use gstore_store::Store;
use serde::Serialize;
use serde_json::json;

use super::STOPPING;
use crate::args::DaunceDiagnoseArgs;
use crate::context::Context;
use crate::streams::{out, print_json};

/// What was found of one table of losses.
#[derive(Serialize)]
struct LossesDiagnosis<'a> {
    of: &'a str,
    #[serde(flatten)]
    found: &'a Diagnosis,
}

/// Looks at the losses of each dataset.
pub fn run(context: &Context, args: &DaunceDiagnoseArgs) -> Result<()> {
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let found = gstore::daunce::diagnose(&snapshot, &args.ensemble, &args.datasets, &cancel)?;
    if args.json {
        let losses: Vec<LossesDiagnosis<'_>> =
            found.iter().map(|(of, found)| LossesDiagnosis { of, found }).collect();
        return print_json(&json!({ "ensemble": args.ensemble, "losses": losses }));
    }
    if found.is_empty() {
        out!("ensemble `{}` has no losses yet", args.ensemble);
    }
    for (name, diagnosis) in &found {
        tell(name, diagnosis)?;
    }
    Ok(())
}

/// Says on standard error what is wrong with the losses of some datasets that were just recorded: each
/// finding once, with the datasets that have it.
pub fn note_findings(
    context: &Context,
    store: &Store,
    ensemble: &str,
    datasets: &[String],
    cancel: &Cancel,
) -> Result<()> {
    let snapshot = store.snapshot()?;
    let Ok(part) = snapshot.ensemble(ensemble) else { return Ok(()) };
    let tables = snapshot.loss_tables(part);
    let recorded = datasets.iter().filter(|name| tables.iter().any(|table| table.dataset == **name));
    let recorded: Vec<String> = recorded.cloned().collect();
    if context.quiet || recorded.is_empty() {
        return Ok(());
    }
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for (name, diagnosis) in gstore::daunce::diagnose(&snapshot, ensemble, &recorded, cancel)? {
        for finding in diagnosis.findings {
            let text = format!("{}: {}", word(finding.severity), finding.text);
            match notes.iter_mut().find(|(known, _)| *known == text) {
                Some((_, names)) => names.push(name.clone()),
                None => notes.push((text, vec![name.clone()])),
            }
        }
    }
    for (text, names) in notes {
        context.say(&format!("{text} ({})", names.join(", ")));
    }
    Ok(())
}

/// How much a finding matters, as people read it.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn tell(name: &str, diagnosis: &Diagnosis) -> Result<()> {
    out!("{name}: {}, {}", many(diagnosis.rows, "row"), many(diagnosis.models.len() as u64, "model"));
    if diagnosis.findings.is_empty() {
        out!("  nothing is wrong");
    }
    for finding in &diagnosis.findings {
        out!("  {}: {}", word(finding.severity), finding.text);
        if !finding.rows.is_empty() {
            let rows: Vec<String> = finding.rows.iter().map(u64::to_string).collect();
            out!("    rows {}", rows.join(", "));
        }
    }
    Ok(())
}
