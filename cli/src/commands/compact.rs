//! `gstore compact`: merges small files and leaves out deleted rows.

use std::process::ExitCode;

use anyhow::Result;
use gstore_ingest::pipeline::{Progress, Unit};
use gstore_store::CompactOptions;

use crate::args::CompactArgs;
use crate::context::{Context, command_line};
use crate::output::out;

/// Compacts.
pub fn run(context: &Context, args: &CompactArgs) -> Result<ExitCode> {
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping; what was merged stays merged")?;
    let mut reporter = context.reporter();
    let options = CompactOptions {
        command: command_line(),
        dataset: args.dataset.clone(),
        target_bytes: args.segment_size,
        max_dead_share: args.max_deleted,
        ..CompactOptions::default()
    };
    let mut bytes = crate::progress::Bytes::new(&mut reporter, "compact");
    let report = store.compact(options, &cancel, &mut |p| bytes.at(p.bytes_done, p.bytes_total))?;
    bytes.finish();
    if args.json {
        out!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        out!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
