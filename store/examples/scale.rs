//! Builds a store of many segments or many sample files and measures what users wait for.
//!
//! `cargo run --release -p gstore-store --example scale -- FOLDER segments 10000 1000` publishes 10,000
//! times one segment of 1,000 rows; `... files 10000 10` adds 10,000 times 10 samples. FOLDER must not
//! exist, or be what an earlier run left. Flushes are left out while the store is built and timed apart from
//! the rest while it is measured.

#[path = "../tests/common/altered.rs"]
#[allow(dead_code)]
mod altered;

#[path = "../tests/common/count.rs"]
#[allow(dead_code)]
mod count;

use count::CountVfs;
use gstore_store::*;
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DIM: u32 = 8;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(path), Some(kind)) = (args.first(), args.get(1)) else {
        return Err("give a folder, `segments` or `files`, how many, and rows of each".into());
    };
    let number = |i: usize, default: u64| args.get(i).map_or(Ok(default), |t| t.parse());
    let (n, rows) = (number(2, 10_000)?, number(3, 1_000)?);
    let path = Path::new(path);
    let start = Instant::now();
    if !path.join("CURRENT").exists() {
        let store = Store::create_on(Arc::new(CountVfs::without_syncs()), path)?;
        match kind.as_str() {
            "segments" => segments(&store, n, rows)?,
            "files" => sample_files(&store, n, rows)?,
            other => return Err(format!("{other:?} is neither `segments` nor `files`").into()),
        }
        println!("built in {:.0?}; memory in use at most {} MB", start.elapsed(), memory("VmHWM")? >> 20);
    }
    measure(path)
}

/// Many small publishes, one segment each.
fn segments(store: &Store, n: u64, rows: u64) -> Result<()> {
    const AT_ONCE: u64 = 1_000_000;
    let total = n * rows;
    for first in (0..total).step_by(AT_ONCE as usize) {
        append(store, first..total.min(first + AT_ONCE))?;
        println!("{} samples", total.min(first + AT_ONCE));
    }
    let mut since = Instant::now();
    for i in 0..n {
        publish(store, i * rows..(i + 1) * rows)?;
        if (i + 1) % 1000 == 0 {
            println!("{} segments: {:.1?} each", i + 1, since.elapsed() / 1000);
            since = Instant::now();
        }
    }
    Ok(())
}

/// Many small appends, and one segment.
fn sample_files(store: &Store, n: u64, rows: u64) -> Result<()> {
    let mut since = Instant::now();
    for i in 0..n {
        append(store, i * rows..(i + 1) * rows)?;
        if (i + 1) % 1000 == 0 {
            println!("{} appends: {:.1?} each", i + 1, since.elapsed() / 1000);
            since = Instant::now();
        }
    }
    publish(store, 0..n * rows)
}

fn append(store: &Store, rows: std::ops::Range<u64>) -> Result<()> {
    let columns = vec![ColumnSpec::inferred("n", ColumnType::Int)];
    let options =
        AppendOptions { command: "scale".into(), source: Some("made up".into()), ..AppendOptions::default() };
    let mut append = store.append(&DatasetName::try_from("pool")?, columns, options)?;
    for row in rows {
        let record = format!("{{\"id\":\"s{row}\"}}");
        let metadata = vec![MetaValue::Int(row as i64)];
        append.push(NewSample { id: &format!("s{row}"), record: Some(record.as_bytes()), metadata })?;
    }
    append.finish()?;
    Ok(())
}

fn feature() -> Result<JobFeature> {
    let checkpoint = CheckpointId::try_from(format!("{:064x}", 7))?;
    let space =
        Space { modules: sha256_hex(b"modules"), ..Space::new(Family::Gradient, Some(checkpoint), DIM) };
    let desc = FeatureDesc::new("pool", sha256_hex(b"encoding"), "grad-sgd", space, DType::F16);
    Ok(JobFeature { desc, attrs: FeatureAttrs::new("grad", DIM) })
}

fn start(store: &Store) -> Result<Job> {
    let features = vec![feature()?];
    let identity = json!({ "what": "scale" });
    Ok(store.start_job(JobPlan { command: "scale".into(), identity, features, detail: json!({}) })?)
}

fn publish(store: &Store, rows: std::ops::Range<u64>) -> Result<()> {
    let mut job = start(store)?;
    seal(&mut job, rows)?;
    job.publish(None, false)?;
    Ok(())
}

fn seal(job: &mut Job, rows: std::ops::Range<u64>) -> Result<()> {
    let mut writer = job.segment_writer(0)?;
    for row in rows {
        let vector: Vec<f32> = (0..DIM).map(|i| (row as f32 + 1.0) * (i as f32 - 3.5)).collect();
        writer.push(row, &vector, RowFlags::empty())?;
    }
    job.seal(0, writer)?;
    Ok(())
}

/// A line of /proc/self/status, in bytes.
fn memory(what: &str) -> Result<u64> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap_or_default();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    Ok(digits.parse::<u64>()? << 10)
}

/// Time that the main thread had a core.
fn cpu() -> Result<Duration> {
    let text = fs_err::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text.split_whitespace().next().unwrap_or("0").parse()?;
    Ok(Duration::from_nanos(ns))
}

fn timed<T>(what: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let (start, worked) = (Instant::now(), cpu()?);
    let result = f()?;
    let (all, worked) = (start.elapsed(), cpu()? - worked);
    println!("{what:<32} {:>9.1} ms, {:>9.1} ms of it at work", ms(all), ms(worked));
    Ok(result)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// The same; says what was flushed and written.
fn counted<T>(what: &str, vfs: &CountVfs, f: impl FnOnce() -> Result<T>) -> Result<T> {
    vfs.take();
    let result = timed(what, f)?;
    let c = vfs.take();
    let bytes = c.bytes_to("/manifests/");
    println!(
        "  {} flushes took {:.1} ms of it; {bytes} bytes of manifests written",
        c.syncs,
        ms(c.sync_time)
    );
    Ok(result)
}

fn measure(path: &Path) -> Result<()> {
    let before = memory("VmRSS")?;
    let store = timed("open", || Ok(Store::open(path)?))?;
    let snapshot = store.snapshot()?;
    let held = memory("VmRSS")?.saturating_sub(before);
    let entries: usize = snapshot.features().iter().map(|f| f.segments.len()).sum::<usize>()
        + snapshot.datasets().iter().map(|d| d.files.len() + d.sources.len()).sum::<usize>();
    println!("{entries} segments, files and notes; {} bytes in memory each", held / (entries as u64).max(1));
    drop((store, snapshot));
    for _ in 0..3 {
        timed("open again", || Ok(Store::open(path)?))?;
    }
    let vfs = CountVfs::default();
    let store = Store::open_on(Arc::new(vfs.clone()), path)?;
    let snapshot = store.snapshot()?;
    timed("list features and datasets", || {
        let rows: u64 = snapshot.features().iter().map(|f| f.rows() + f.bytes()).sum();
        let live: u64 = snapshot
            .features()
            .iter()
            .map(|f| snapshot.coverage(f).map(|c| c.rows))
            .sum::<std::result::Result<_, _>>()?;
        Ok((rows, live))
    })?;
    let part = Arc::clone(snapshot.features().first().ok_or("no feature")?);
    let reader = timed("open the feature", || Ok(snapshot.open_feature(&part)?))?;
    println!("  {} blocks; memory in use {} MB", reader.blocks().len(), memory("VmRSS")? >> 20);
    drop(reader);
    timed("open the feature again", || Ok(snapshot.open_feature(&part)?))?;
    let history = timed("history", || Ok(store.history()?))?;
    timed("the oldest snapshot of it", || Ok(store.snapshot_at(history.last().map_or(0, |s| s.number))?))?;
    timed("one in the middle", || Ok(store.snapshot_at(history.len() as u64 / 2)?))?;

    let next = snapshot.dataset("pool")?.next_row;
    drop(snapshot);
    for i in 0..2 {
        counted("append 10 samples", &vfs, || append(&store, next + 10 * i..next + 10 * i + 10))?;
    }
    for i in 0..3 {
        let mut job = counted("start a job", &vfs, || start(&store))?;
        seal(&mut job, next + i..next + i + 1)?;
        counted("publish one more segment", &vfs, || Ok(job.publish(None, false)?))?;
    }
    for (what, keep) in [("collect (dry), keep 10", 10), ("collect (dry), keep all", u64::MAX)] {
        let options = GcOptions { keep, dry_run: true, ..GcOptions::default() };
        timed(what, || Ok(store.collect(options)?))?;
    }
    let begin = Instant::now();
    let mut walked = None;
    let verified = store.verify(VerifyOptions::default(), &mut |_| {
        walked.get_or_insert_with(|| begin.elapsed());
    })?;
    println!("verify: catalog {:.1?}, all of it {:.1?}", walked.unwrap_or_default(), begin.elapsed());
    if !verified.is_sound() {
        return Err(format!("{} problems", verified.problems.len()).into());
    }
    println!("memory in use at most {} MB", memory("VmHWM")? >> 20);
    Ok(())
}
