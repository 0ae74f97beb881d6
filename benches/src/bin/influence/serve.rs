//! Timed queries on request.
//!
//! A driver alternates them with those of other programs while everything stays in memory.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use gstore_benches::{machine, probe};
use gstore_query::influence::Sim;
use gstore_store::Store;
use serde_json::{Value, json};

use crate::question::{Asked, Question};

#[derive(Args)]
pub struct ServeArgs {
    /// The store
    #[arg(long)]
    store: PathBuf,
    /// How vectors are compared
    #[arg(long, default_value = "cosine")]
    sim: String,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Answers until its input ends.
pub fn run(args: &ServeArgs) -> Result<()> {
    let store = Store::open(&args.store)?;
    let (snapshot, _lease) = store.snapshot_leased(None, "bench")?;
    let sim: Sim = args.sim.parse()?;
    let memory = vec![0x3c00_u64; 256 << 17];
    let mut plans: Vec<Asked> = Vec::new();
    let mut out = std::io::stdout().lock();
    let machine = machine::describe();
    writeln!(out, "{}", json!({ "ready": true, "machine": machine }))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match request["do"].as_str() {
            Some("probe") => json!({ "gb_per_s": probe::bandwidth(&memory, args.threads) }),
            Some("query") => {
                let number = |name: &str, default: u64| request[name].as_u64().unwrap_or(default) as usize;
                let text = |name: &str, default: &str| request[name].as_str().unwrap_or(default).to_owned();
                let question = Question {
                    mode: text("mode", "exact"),
                    queries: number("queries", 1),
                    each: text("each", "sample"),
                    k: number("k", 100),
                    threads: args.threads,
                    sim,
                };
                let at = match plans.iter().position(|asked| *asked.question() == question) {
                    Some(at) => at,
                    None => {
                        plans.push(question.plan(&snapshot)?);
                        plans.len() - 1
                    }
                };
                let asked = plans.get(at).context("a plan")?;
                timed(asked, number("untimed", 0), number("reps", 1), request["show"] == true)?
            }
            _ => bail!("no such request: {request}"),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// Asks a few times untimed, then timed.
fn timed(asked: &Asked, untimed: usize, reps: usize, show: bool) -> Result<Value> {
    for _ in 0..untimed {
        asked.ask()?;
    }
    let mut ms = Vec::new();
    let mut last = None;
    for _ in 0..reps.max(1) {
        let begun = Instant::now();
        let answer = asked.ask()?;
        ms.push(begun.elapsed().as_secs_f64() * 1e3);
        last = Some(answer);
    }
    let answer = last.context("an answer")?;
    let mut value = answer.json();
    value["ms"] = json!(ms);
    if show {
        value["rows"] = json!(answer.rows);
    }
    Ok(value)
}
