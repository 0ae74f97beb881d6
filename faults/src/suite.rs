//! Suites: the short and the full form of every kind of run, and the pages of their results.

use crate::fail::FailOptions;
use crate::intent::IntentOptions;
use crate::process::CycleOptions;
use crate::serve::ServerOptions;
use crate::sim::SimOptions;
use crate::soak::SoakOptions;
use crate::{Report, Stop, fail, intent, kill, power, serve, sim, soak};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// How much is tried, for all kinds.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The first seed.
    pub seed: u64,
    /// Workloads on the simulated disk.
    pub sim_seeds: u64,
    /// How much is tried with each.
    pub sim: SimOptions,
    /// Workloads with failing operations.
    pub fail_seeds: u64,
    /// How much is tried with each.
    pub fail: FailOptions,
    /// Pairs of commands.
    pub intent: IntentOptions,
    /// Kills.
    pub kill: CycleOptions,
    /// Power losses.
    pub power: CycleOptions,
    /// Size of the image that loses power.
    pub mebibytes: u64,
    /// Servers with clients.
    pub serve: ServerOptions,
    /// Concurrent processes.
    pub soak: SoakOptions,
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Suite {
    /// What runs with every test, in about a minute.
    pub fn short(seed: u64, program: PathBuf, keep: Option<PathBuf>) -> Self {
        Suite {
            seed,
            sim_seeds: 1,
            sim: SimOptions { steps: 10, images: 6, onward: 24, threads: threads() },
            fail_seeds: 1,
            fail: FailOptions { steps: 9, stride: 7 },
            intent: IntentOptions { seeds: 1, pairs: 156, threads: threads() },
            kill: CycleOptions { cycles: 25, steps: 14, program: program.clone(), keep: keep.clone() },
            power: CycleOptions { cycles: 20, steps: 10, program: program.clone(), keep: keep.clone() },
            mebibytes: 64,
            serve: ServerOptions { cycles: 12, pieces: 45, clients: 3, program, keep },
            soak: SoakOptions { time: Duration::from_secs(8), readers: 8 },
        }
    }

    /// What the promises are measured with.
    pub fn full(seed: u64, program: PathBuf, keep: Option<PathBuf>) -> Self {
        Suite {
            seed,
            sim_seeds: 12,
            sim: SimOptions { steps: 20, images: 64, onward: 32, threads: threads() },
            fail_seeds: 2,
            fail: FailOptions { steps: 18, stride: 1 },
            intent: IntentOptions { seeds: 50, pairs: usize::MAX, threads: threads() },
            kill: CycleOptions { cycles: 1_000, steps: 20, program: program.clone(), keep: keep.clone() },
            power: CycleOptions { cycles: 1_000, steps: 20, program: program.clone(), keep: keep.clone() },
            mebibytes: 128,
            serve: ServerOptions { cycles: 500, pieces: 300, clients: 4, program, keep },
            soak: SoakOptions { time: Duration::from_secs(600), readers: 8 },
        }
    }

    /// One kind, workload after workload.
    fn each(&self, kind: &str, seeds: u64, stop: &Stop, one: impl Fn(u64, &mut Report)) -> Report {
        let mut report = Report::new(kind);
        for seed in self.seed..self.seed + seeds {
            if !stop.now() {
                one(seed, &mut report);
                eprintln!("{kind}: seed {seed} done");
            }
        }
        report.finish()
    }

    /// One kind, by its name.
    pub fn run(&self, kind: &str, stop: &Stop) -> Option<Report> {
        let report = match kind {
            "sim" => {
                self.each(kind, self.sim_seeds, stop, |seed, report| sim::run(seed, &self.sim, stop, report))
            }
            "fail" => self
                .each(kind, self.fail_seeds, stop, |seed, report| fail::run(seed, &self.fail, stop, report)),
            "intent" => intent::run(self.seed, &self.intent, stop),
            "kill" => kill::run(self.seed, &self.kill, stop),
            "power" => power::run(self.seed, self.mebibytes, &self.power, stop),
            "serve" => serve::run(self.seed, &self.serve, stop),
            "soak" => soak::run(self.seed, &self.soak, stop),
            _ => return None,
        };
        Some(report)
    }
}

/// The kinds, in the order of their runs.
pub const KINDS: [&str; 7] = ["sim", "fail", "intent", "kill", "power", "serve", "soak"];

/// Figures and anomalies as a page.
pub fn page(title: &str, reports: &[Report]) -> String {
    let mut out = format!("# {title}\n\n| run | figures | anomalies | seconds |\n|---|---|---|---|\n");
    for r in reports {
        let figures: Vec<String> = r
            .counts
            .iter()
            .filter(|(what, _)| *what != "anomalies")
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        let figures = r.skipped.as_ref().map_or_else(|| figures.join(", "), |why| format!("skipped: {why}"));
        let anomalies = r.counts.get("anomalies").copied().unwrap_or_default();
        let _ = writeln!(out, "| {} | {figures} | {anomalies} | {:.0} |", r.name, r.seconds);
    }
    for r in reports.iter().filter(|r| !r.anomalies.is_empty()) {
        let _ = writeln!(out, "\n## Anomalies of {}\n", r.name);
        for a in &r.anomalies {
            let _ = writeln!(out, "- {}", a.replace('\n', "\n  "));
        }
    }
    out
}
