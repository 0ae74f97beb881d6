//! Times rankings whose files are not in memory, next to direct reads of the same files in the same minute.
//!
//! `cargo run --release -p gstore-query --example cold -- FOLDER [ROWS] [DIM] [ROUNDS] [LABEL] [SPREAD]`
//! makes a store with a sketch in FOLDER, if there is none; SPREAD is the deviation of the rows' cosines with
//! the target, so the smaller it is, the more rows are near the last one of the answer. It prints one line of
//! JSON for each mode and round, each from a process of its own, so that what one still reads behind its
//! answer disturbs no other: the first answer of a store that was just opened, with nothing in the system's
//! memory; the next one of the same question; one when memory is filled; and a store that is opened again
//! then. Beside it the first answer without reads past the system's memory; the first answer itself reads by
//! the way that it measures to be faster, as its notes say. The direct reads are those that the mode makes,
//! as many in flight. Linux, as root: the system is told to drop what it keeps.

#[path = "../../store/tests/common/altered.rs"]
mod altered;
#[path = "../../store/tests/common/cold.rs"]
#[allow(dead_code)]
mod cold;

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cold::{ColdVfs, Direct};
use gstore_query::influence::*;
use gstore_query::sketch::{self, SketchOptions};
use gstore_store::vfs::{AlignedBuffer, OsVfs, Vfs};
use gstore_store::*;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rows of the answer.
const K: usize = 100;
/// Target samples.
const TARGETS: usize = 1;
/// Deviation of the rows' cosines with the target, unless another is given.
const SPREAD: f64 = 0.05;
/// Reads of the probe in flight.
const READERS: usize = 4;
/// Argument of a process that measures one mode.
const MEASURE: &str = "--measure";
/// A process that has read nothing for so long has nothing more to fill.
const QUIET: Duration = Duration::from_secs(1);
/// A process that goes on filling for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(120);

static GO: Cancel = Cancel::new();

/// What is measured.
struct Case {
    folder: PathBuf,
    rows: usize,
    dim: usize,
    label: String,
    spread: f64,
}

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let measured = match args.iter().position(|arg| arg == MEASURE) {
        Some(at) => args.split_off(at).get(1..).unwrap_or_default().to_vec(),
        None => Vec::new(),
    };
    let number = |i: usize, default: usize| args.get(i).map_or(Ok(default), |text| text.parse());
    let case = Case {
        folder: PathBuf::from(args.first().ok_or("give a folder")?),
        rows: number(1, 200_000)?,
        dim: number(2, 4096)?,
        label: args.get(4).cloned().unwrap_or_default(),
        spread: args.get(5).map_or(Ok(SPREAD), |text| text.parse())?,
    };
    if let [name, round] = &measured[..] {
        return measure(&case, name, round.parse()?);
    }
    if !case.folder.join("CURRENT").exists() {
        make(&case)?;
    }
    for round in 0..number(3, 3)? {
        for name in ["exact", "certified", "sketch"] {
            let mut process = std::process::Command::new(std::env::current_exe()?);
            let status = process.args(&args).args([MEASURE, name, &round.to_string()]).status()?;
            if !status.success() {
                return Err(format!("{name}: {status}").into());
            }
        }
    }
    Ok(())
}

fn measure(case: &Case, name: &str, round: usize) -> Result<()> {
    let folder = &case.folder;
    let sketch = |certified| Mode::Sketch(SketchMode { certified, ..SketchMode::default() });
    let spec = InfluenceSpec {
        pools: vec!["pool".into()],
        targets: vec![TargetRef::parse("target")],
        mode: match name {
            "exact" => Mode::Exact,
            "certified" => sketch(true),
            "sketch" => sketch(false),
            other => return Err(format!("there is no mode {other}").into()),
        },
        ..InfluenceSpec::default()
    };
    let recorded = ColdVfs::new(Direct::Works);
    ask(recorded.clone(), folder, &spec)?;
    let spans = recorded.spans();
    wait_for_fill()?;
    let before = probe(&spans)?;
    forget()?;
    let (ordinary, other) = timed(|| ask(ColdVfs::new(Direct::Missing), folder, &spec))?;
    let between = probe(&spans)?;
    forget()?;
    let read = read_bytes()?;
    let (first, plan) = timed(|| ask(Arc::new(OsVfs), folder, &spec))?;
    let disk = read_bytes()? - read;
    let (second, again) = timed(|| top(&plan.0))?;
    let (fill, ()) = timed(wait_for_fill)?;
    let (filled, third) = timed(|| top(&plan.0))?;
    let (opened, fourth) = timed(|| ask(Arc::new(OsVfs), folder, &spec))?;
    let after = probe(&spans)?;
    let same = [&other.1, &again, &third, &fourth.1].iter().all(|other| other.rows == plan.1.rows);
    if !same {
        return Err(format!("{name}: rows from disk and from memory differ").into());
    }
    let needed = plan.1.summary.bytes_read;
    println!(
        "{}",
        json!({
            "label": case.label, "mode": name, "round": round, "rows": case.rows, "dim": case.dim,
            "spread": case.spread, "first_s": first, "needed_bytes": needed, "disk_bytes": disk,
            "needed_gbs": needed as f64 / first / 1e9, "disk_gbs": disk as f64 / first / 1e9,
            "ordinary_s": ordinary, "probe_gbs": [before, between, after],
            "probe_bytes": spans.iter().map(|(_, span)| span.end - span.start).sum::<u64>(),
            "second_s": second, "fill_s": fill, "filled_s": filled, "opened_s": opened,
            "notes": plan.1.summary.notes,
        })
    );
    Ok(())
}

/// Waits until this process reads nothing more behind its answers.
fn wait_for_fill() -> Result<()> {
    let (begun, mut last, mut since) = (Instant::now(), read_bytes()?, Instant::now());
    while since.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        std::thread::sleep(QUIET / 10);
        let read = read_bytes()?;
        if read != last {
            (last, since) = (read, Instant::now());
        }
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begun = Instant::now();
    let found = work()?;
    Ok((begun.elapsed().as_secs_f64(), found))
}

fn ask(vfs: Arc<dyn Vfs>, folder: &Path, spec: &InfluenceSpec) -> Result<(Prepared, Ranking)> {
    let plan = Prepared::new(&Store::open_on(vfs, folder)?.snapshot()?, spec)?;
    let ranking = top(&plan)?;
    Ok((plan, ranking))
}

fn top(plan: &Prepared) -> Result<Ranking> {
    Ok(plan.top_k(Order::Best, K, None, 0, &GO)?)
}

/// Drops what the system keeps of files.
fn forget() -> Result<()> {
    fs_err::write("/proc/sys/vm/drop_caches", "3")?;
    Ok(())
}

/// Bytes that this process had read from disk so far.
fn read_bytes() -> Result<u64> {
    let text = fs_err::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.ok_or("/proc/self/io has no read_bytes")?.parse()?)
}

/// GB/s of direct reads, several in flight.
fn probe(spans: &[(PathBuf, Range<u64>)]) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<u64> {
        let (mut buffer, mut bytes) = (AlignedBuffer::new(), 0);
        while let Some((path, span)) = spans.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = OsVfs.open_direct(path)?.ok_or(std::io::ErrorKind::Unsupported)?;
            file.read_span(&mut buffer, span.clone())?;
            bytes += span.end - span.start;
        }
        Ok(bytes)
    };
    let begun = Instant::now();
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..READERS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(0))).sum::<std::io::Result<u64>>()
    })?;
    Ok(bytes as f64 / begun.elapsed().as_secs_f64() / 1e9)
}

/// A pool whose rows have a part of the target's direction, and its sketch.
fn make(case: &Case) -> Result<()> {
    let Case { folder, rows, dim, spread, .. } = case;
    let (rows, dim) = (*rows, *dim);
    let store = Store::create(folder)?;
    let mut numbers = Numbers(1);
    let targets: Vec<Vec<f32>> = (0..TARGETS).map(|_| (0..dim).map(|_| numbers.even()).collect()).collect();
    for (dataset, count) in [("pool", rows), ("target", TARGETS)] {
        let options = AppendOptions { command: "example".into(), ..AppendOptions::default() };
        let mut append = store.append(&DatasetName::try_from(dataset)?, Vec::new(), options)?;
        for row in 0..count {
            append.push(NewSample { id: &row.to_string(), record: None, metadata: Vec::new() })?;
        }
        append.finish()?;
        let attrs = FeatureAttrs::new("grad-sgd@checkpoint".to_owned(), u32::try_from(dim)?);
        let mut job = store.start_job(JobPlan {
            command: "example".into(),
            identity: json!(dataset),
            features: vec![JobFeature { desc: desc(dataset, u32::try_from(dim)?)?, attrs }],
            detail: serde_json::Value::Null,
        })?;
        let mut values = vec![0.0; dim];
        for start in (0..count).step_by(16 * CELL_ROWS as usize) {
            let mut writer = job.segment_writer(0)?;
            for row in start..(start + 16 * CELL_ROWS as usize).min(count) {
                let part = *spread as f32 * (0..12).map(|_| numbers.even()).sum::<f32>() / 2.0;
                for (i, value) in values.iter_mut().enumerate() {
                    *value = match dataset {
                        "pool" => numbers.even() + part * targets[0][i],
                        _ => targets[row][i],
                    };
                }
                writer.push(row as u64, &values, RowFlags::empty())?;
            }
            job.seal(0, writer)?;
        }
        job.publish(None, true)?;
    }
    let snapshot = store.snapshot()?;
    let part = snapshot.features_of("pool").first().copied().ok_or("the pool has no feature")?;
    let reader = snapshot.open_feature(part)?;
    sketch::build(&store, &reader, &SketchOptions::default(), &mut |_| {}, &GO)?;
    Ok(())
}

fn desc(dataset: &str, dim: u32) -> Result<FeatureDesc> {
    let id = CheckpointId::try_from(format!("{:064x}", 1))?;
    let space = Space { modules: "m".repeat(64), ..Space::new(Family::Gradient, Some(id), dim) };
    Ok(FeatureDesc::new(dataset, "e".repeat(64), "grad-sgd", space, DType::F16))
}

/// Numbers spread evenly between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn even(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
