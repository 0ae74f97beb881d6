//! One question in a fresh process: its time, its memory, and its effect on the page cache.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use gstore_benches::{machine, probe};
use gstore_store::Store;
use serde_json::json;

use crate::cold;
use crate::question::Question;

#[derive(Args)]
pub struct OnceArgs {
    /// The store
    #[arg(long)]
    store: PathBuf,
    /// exact, certified or cascade
    #[arg(long, default_value = "exact")]
    mode: String,
    /// Target samples
    #[arg(long, default_value_t = 1)]
    queries: usize,
    /// What has a ranking where there are several: sample, subtask or whole
    #[arg(long, default_value = "sample")]
    each: String,
    /// Rows of a ranking
    #[arg(long, default_value_t = 100)]
    k: usize,
    /// cosine or dot
    #[arg(long, default_value = "cosine")]
    sim: String,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How often
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Drops the store's files from the page cache before each time
    #[arg(long)]
    evict: bool,
    /// Reads up to this many GB past the page cache, before and after
    #[arg(long, default_value_t = 0)]
    disk: u64,
    /// Another file, read into memory before: how much of it is left afterwards
    #[arg(long)]
    bystander: Option<PathBuf>,
}

/// Asks, and prints one JSON line each time.
pub fn run(args: &OnceArgs) -> Result<()> {
    let files = cold::files(&args.store)?;
    let segments: Vec<_> =
        files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "arrow")).cloned().collect();
    let bystander = args.bystander.iter().map(|path| Ok((path.clone(), fs_err::metadata(path)?.len())));
    let bystander = bystander.collect::<Result<Vec<_>>>()?;
    let small = vec![1u64; 16 << 17];
    for _ in 0..args.times.max(1) {
        if args.evict {
            cold::evict(&files)?;
        }
        for (path, _) in &bystander {
            std::io::copy(&mut fs_err::File::open(path)?, &mut std::io::sink())?;
        }
        let disk_before = (args.disk > 0).then(|| cold::disk(&segments, args.disk << 30)).transpose()?;
        let (before, other_before) = (cold::resident(&files), cold::resident(&bystander));
        // From here on memory is used by the question; the rest of the process is small.
        let sampler = Sampler::start();
        let begun = Instant::now();
        let store = Store::open(&args.store)?;
        let (snapshot, lease) = store.snapshot_leased(None, "bench")?;
        let question = Question {
            mode: args.mode.clone(),
            queries: args.queries,
            each: args.each.clone(),
            k: args.k,
            threads: args.threads,
            sim: args.sim.parse()?,
        };
        let asked = question.plan(&snapshot)?;
        let answer = asked.ask()?;
        let first = begun.elapsed().as_secs_f64();
        let (anonymous, mapped) = sampler.stop()?;
        let after = (cold::resident(&files), cold::resident(&bystander));
        let begun = Instant::now();
        asked.ask()?;
        let second = begun.elapsed().as_secs_f64();
        drop((asked, snapshot, lease));
        let disk_after = (args.disk > 0).then(|| cold::disk(&segments, args.disk << 30)).transpose()?;
        let mut line = answer.json();
        let speed = |seconds: f64| answer.summary.bytes_read as f64 / seconds / 1e9;
        line["mode"] = json!(args.mode);
        line["queries"] = json!(args.queries);
        line["each"] = json!(args.each);
        line["k"] = json!(args.k);
        line["evicted"] = json!(args.evict);
        line["threads"] = json!(args.threads);
        line["first_seconds"] = json!(first);
        line["first_gb_per_s"] = json!(speed(first));
        line["second_seconds"] = json!(second);
        line["second_gb_per_s"] = json!(speed(second));
        line["disk_gb_per_s"] = json!([disk_before, disk_after]);
        line["memory_gb_per_s"] = json!(probe::bandwidth(&small, args.threads));
        line["store_bytes"] = json!(files.iter().map(|(_, len)| len).sum::<u64>());
        line["resident_before"] = json!(before);
        line["resident_after_first"] = json!(after.0);
        line["bystander_resident"] = json!([other_before, after.1]);
        line["answer_mib"] = json!(answer.bytes as f64 / f64::from(1 << 20));
        line["anonymous_mib"] = json!(anonymous);
        line["mapped_mib"] = json!(mapped);
        println!("{line}");
    }
    Ok(())
}

/// Samples the process's memory every few milliseconds.
struct Sampler {
    seen: std::sync::Arc<Seen>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    anonymous: AtomicU64,
    mapped: AtomicU64,
}

impl Seen {
    fn look(&self) {
        let (anonymous, mapped) = machine::resident_kib();
        self.anonymous.fetch_max(anonymous, Ordering::Relaxed);
        self.mapped.fetch_max(mapped, Ordering::Relaxed);
    }
}

impl Sampler {
    fn start() -> Self {
        let seen = std::sync::Arc::new(Seen::default());
        let shared = std::sync::Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                shared.look();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { seen, thread }
    }

    /// Peaks of anonymous memory and of mapped files, in MiB.
    fn stop(self) -> Result<(f64, f64)> {
        self.seen.look();
        self.seen.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the sampler of memory panicked")?;
        let mib = |kib: &AtomicU64| kib.load(Ordering::Relaxed) as f64 / 1024.0;
        Ok((mib(&self.seen.anonymous), mib(&self.seen.mapped)))
    }
}
