//! `faults`: crashes and failures of every kind against a store, and checks of what is left.
//!
//! ```text
//! faults sim | fail | intent | kill | power | serve | soak | all
//!        [--full] [--seed N] [--json] [--page FILE] [--keep FOLDER]
//!   sim    loss of power on a simulated disk     --seeds --steps --images --onward
//!                                                one image: --seed --at --image
//!   fail   failure of the N-th operation         --seeds --steps --stride
//!                                                one: --seed --step --fault --n,
//!                                                or of direct reads: --seed --direct --n
//!   intent two commands at once, pair by pair    --seeds
//!   kill   kill -9                               --cycles --steps
//!   power  loss of power on ext4                 --cycles --steps
//!   serve  kill -9 and a failing disk of a server   --cycles
//!   soak   readers and writers at once           --seconds
//! ```
//!
//! Workloads have consecutive seeds: `faults sim --full --seed 3 --seeds 10` does the last ten of the twelve
//! that `faults sim --full` does.

use gstore_faults::suite::{KINDS, Suite, page};
use gstore_faults::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// The words after the program's name.
struct Args(Vec<String>);

impl Args {
    fn text(&self, name: &str) -> Option<&str> {
        let place = self.0.iter().position(|a| a == name)?;
        self.0.get(place + 1).map(String::as_str)
    }

    fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.text(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(format!("{name} needs a number").into()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let kind = if words.is_empty() { String::new() } else { words.remove(0) };
    match run(&kind, &Args(words)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(kind: &str, args: &Args) -> Result<bool, Failure> {
    let seed: Option<u64> = args.get("--seed")?;
    if kind == "child" {
        let dir = args.text("--dir").ok_or("--dir is missing")?;
        let (steps, from) = (args.get("--steps")?.unwrap_or(0), args.get("--from")?.unwrap_or(0));
        process::child_main(Path::new(dir), seed.unwrap_or(0), steps, from, args.get("--die-at")?)?;
        return Ok(true);
    }
    if kind == "server" {
        let dir = args.text("--dir").ok_or("--dir is missing")?;
        serve::server_main(Path::new(dir), fault(args)?)?;
        return Ok(true);
    }
    gstore_core::keep_ignored_signals(|| ctrlc::set_handler(Stop::interrupt))?;
    let suite = suite(args, seed)?;
    if let Some(done) = replay(kind, args, &suite)? {
        return Ok(done);
    }
    let kinds: Vec<&str> = match kind {
        "all" => KINDS.to_vec(),
        one if KINDS.contains(&one) => vec![one],
        other => return Err(format!("{other:?} is none of: all, {}", KINDS.join(", ")).into()),
    };
    let stop = Stop::after(None);
    let mut reports = Vec::new();
    for kind in kinds {
        if let Some(report) = suite.run(kind, &stop) {
            eprintln!("{}", report.line());
            reports.push(report);
        }
    }
    summary(args, &suite, &reports)?;
    Ok(reports.iter().all(Report::is_good) && !Stop::interrupted())
}

/// What happens to the disk of a server.
fn fault(args: &Args) -> Result<Option<process::Fault>, Failure> {
    if let Some(at) = args.get("--die-at")? {
        return Ok(Some(process::Fault::Die { at, after: args.has("--after") }));
    }
    let Some(at) = args.get("--fail-at")? else { return Ok(None) };
    let changes = args.get("--changes")?.unwrap_or(1);
    Ok(Some(process::Fault::Fail { at, changes, full: args.has("--no-space") }))
}

fn suite(args: &Args, seed: Option<u64>) -> Result<Suite, Failure> {
    let keep = args.text("--keep").map(PathBuf::from);
    let seed = seed.unwrap_or(1);
    let form = if args.has("--full") { Suite::full } else { Suite::short };
    let mut s = form(seed, std::env::current_exe()?, keep);
    if let Some(n) = args.get("--seeds")? {
        (s.sim_seeds, s.fail_seeds, s.intent.seeds) = (n, n, n);
    }
    if let Some(n) = args.get("--steps")? {
        (s.sim.steps, s.fail.steps, s.kill.steps, s.power.steps) = (n, n, n, n);
    }
    if let Some(n) = args.get("--cycles")? {
        (s.kill.cycles, s.power.cycles, s.serve.cycles) = (n, n, n);
    }
    s.sim.images = args.get("--images")?.unwrap_or(s.sim.images);
    s.sim.onward = args.get("--onward")?.unwrap_or(s.sim.onward);
    s.sim.threads = args.get("--threads")?.unwrap_or(s.sim.threads);
    s.fail.stride = args.get("--stride")?.unwrap_or(s.fail.stride);
    if let Some(n) = args.get("--seconds")? {
        s.soak.time = std::time::Duration::from_secs(n);
    }
    Ok(s)
}

/// Repeats one image or one failure, if the words name one.
fn replay(kind: &str, args: &Args, suite: &Suite) -> Result<Option<bool>, Failure> {
    let outcome = match kind {
        "sim" => match (args.get("--at")?, args.get("--image")?) {
            (Some(at), None) if args.has("--killed") => sim::replay_killed(suite.seed, at, &suite.sim),
            (Some(at), Some(image)) => sim::replay(suite.seed, at, image, &suite.sim),
            _ => return Ok(None),
        },
        "fail" => match (args.get("--step")?, args.text("--fault"), args.get("--n")?) {
            (Some(step), Some(fault), Some(n)) => fail::replay(suite.seed, &suite.fail, step, fault, n),
            (None, None, Some(n)) => match args.text("--direct") {
                Some(fault) => fail::replay_direct(suite.seed, &suite.fail, fault, n),
                None => return Ok(None),
            },
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    match outcome {
        Ok(()) => println!("nothing is wrong"),
        Err(e) => {
            println!("{e}");
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

fn summary(args: &Args, suite: &Suite, reports: &[Report]) -> Result<(), Failure> {
    if let Some(file) = args.text("--page") {
        let form = if args.has("--full") { "full" } else { "short" };
        fs_err::write(file, page(&format!("Faults, {form} form, seeds from {}", suite.seed), reports))?;
    }
    if args.has("--json") {
        println!("{}", serde_json::to_string(reports)?);
        return Ok(());
    }
    for report in reports {
        println!("{}", report.line());
    }
    let anomalies: u64 = reports.iter().map(|r| r.counts.get("anomalies").copied().unwrap_or_default()).sum();
    println!("{anomalies} anomalies");
    Ok(())
}
