//! Influence queries of a published store, as a user of the library asks them.
//!
//! Exact, certified and by the cascade; one target or many; warm and cold. `benches/peers/influence.py`
//! compares it with its peers on the same vectors.

#![forbid(unsafe_code)]

mod cold;
mod make;
mod once;
mod question;
mod real;
mod serve;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Influence queries: stores to ask, a server of timed queries, and single queries with their memory.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes gradient features of a model's training data and targets as plain vectors
    Real(real::RealArgs),
    /// Publishes a folder of vectors as a store, with a sketch
    Make(make::MakeArgs),
    /// Answers requests, one JSON object a line: {"do": "probe"} or {"do": "query", "mode":
    /// ..., "queries": ..., ...}
    Serve(serve::ServeArgs),
    /// Asks once and says what it took of time, memory and page cache, if wanted with the store's
    /// files out of memory before
    Once(once::OnceArgs),
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Real(args) => real::run(&args),
        Command::Make(args) => make::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Once(args) => once::run(&args),
    }
}
