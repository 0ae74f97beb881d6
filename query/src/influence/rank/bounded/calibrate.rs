//! Costs of this machine, measured once and kept in the user's cache folder.
//!
//! `GSTORE_COSTS` names another file, or says `off`: then typical costs are taken, and nothing is measured or
//! written. A file that cannot be read or written, or is of another machine or version, is no error.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use gstore_core::{Cancel, Cancelled, parallel};
use gstore_store::Values;
use half::f16;
use serde::{Deserialize, Serialize};

use super::cost::{Costs, Products, QUERIES, TYPICAL};
use crate::kernel::{CodeKind, CodeQueries, Codes, FilterQueries, Kernel, Queries, RowNorms, Scratch};

/// Where costs are kept, or `off`.
const VARIABLE: &str = "GSTORE_COSTS";

/// Coordinates of the vectors that are multiplied,
const DIM: usize = 1024;
/// and how many of them, which a core's cache holds.
const ROWS: usize = 32;

/// Values of f16 that the cores read in a stream, more than their caches hold,
const STREAM: usize = 32 << 20;
/// and each of them at least.
const LEAST_STREAM: usize = 2 << 20;

/// How often each is measured; the best counts.
const TIMES: usize = 4;

/// A file of costs.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: String,
    machine: String,
    costs: Costs,
}

/// The costs of this machine.
pub(super) fn costs() -> Costs {
    let machine = machine();
    let file = match std::env::var_os(VARIABLE) {
        Some(off) if off == "off" => return TYPICAL,
        Some(file) => Some(PathBuf::from(file)),
        None => cache_folder().map(|folder| folder.join(file_name(&machine))),
    };
    if let Some(costs) = file.as_ref().and_then(|file| read(file, &machine)) {
        return costs;
    }
    let costs = measure(Kernel::detect());
    if !is_sane(&costs) {
        return TYPICAL;
    }
    if let Some(file) = file {
        // Measured again next time, if it cannot be kept.
        let _ = write(&file, machine, &costs);
    }
    costs
}

/// `$XDG_CACHE_HOME/gstore`, or `~/.cache/gstore`.
fn cache_folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(cache.join("gstore"))
}

/// The processor, its cores and the instructions that are used.
fn machine() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores, {}", model.unwrap_or(std::env::consts::ARCH), Kernel::detect().name())
}

fn file_name(machine: &str) -> String {
    let plain: String = machine.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("costs-{plain}.json")
}

fn read(file: &PathBuf, machine: &str) -> Option<Costs> {
    let kept: Kept = serde_json::from_str(&fs_err::read_to_string(file).ok()?).ok()?;
    let same = kept.version == env!("CARGO_PKG_VERSION") && kept.machine == machine;
    Some(kept.costs).filter(|costs| same && is_sane(costs))
}

fn write(file: &PathBuf, machine: String, costs: &Costs) -> std::io::Result<()> {
    let kept = Kept { version: env!("CARGO_PKG_VERSION").into(), machine, costs: costs.clone() };
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder)?;
    }
    // Whoever reads it meanwhile finds a whole one.
    let part = file.with_extension(format!("{}.part", std::process::id()));
    fs_err::write(&part, serde_json::to_vec_pretty(&kept)?)?;
    fs_err::rename(&part, file).inspect_err(|_| drop(fs_err::remove_file(&part)))
}

/// Whether costs are numbers whose ratios a processor may have.
fn is_sane(costs: &Costs) -> bool {
    let of = |of: &Products| [&[of.exact, of.bf16], &of.codes[..]].concat();
    let typical = TYPICAL.products.iter().flat_map(of);
    let mut ratios = costs.products.iter().flat_map(of).zip(typical).map(|(own, typical)| own / typical);
    costs.byte > 0.0
        && costs.byte.is_finite()
        && ratios.all(|ratio| (1e-3..1e3).contains(&(ratio / costs.byte)))
}

fn measure(kernel: Kernel) -> Costs {
    Costs { byte: stream(kernel), products: QUERIES.map(|queries| products(kernel, queries)) }
}

/// Seconds of a byte, while every core reads.
fn stream(kernel: Kernel) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let vectors = (STREAM / cores).max(LEAST_STREAM) / DIM;
    let work = |seconds: &mut Vec<f64>, _| {
        let rows = vec![f16::ONE; vectors * DIM];
        let queries = Queries::new(&[1.0; DIM], DIM, &[]);
        let (factors, mut sums) = (vec![1.0; vectors], vec![0.0; vectors]);
        let mut scratch = Scratch::default();
        seconds.push(seconds_of(2 * vectors * DIM, || {
            kernel.scaled_dots(Values::F16(&rows), &queries, &[0], &factors, &mut scratch, &mut sums);
            black_box(&sums);
        }));
        Ok::<_, Cancelled>(())
    };
    let found = parallel::unordered(cores, cores, &Cancel::new(), Vec::new, work);
    let all = found.unwrap_or_default().concat();
    all.iter().sum::<f64>() / all.len() as f64
}

/// Seconds of a multiply-add with so many queries.
fn products(kernel: Kernel, queries: usize) -> Products {
    let number = |i: usize| (i * 7919 % 255) as i32 - 127;
    let vectors: Vec<f32> = (0..DIM * queries).map(|i| number(i) as f32).collect();
    let rows: Vec<f16> = (0..DIM * ROWS).map(|i| f16::from_f32(number(i) as f32)).collect();
    let mut scratch = Scratch::default();
    let (factors, mut sums) = (vec![1.0; ROWS], vec![0.0; ROWS * queries]);
    let multiplied = ROWS * DIM * queries;
    let packed = Queries::new(&vectors, DIM, &[]);
    let exact = seconds_of(multiplied, || {
        kernel.scaled_dots(Values::F16(&rows), &packed, &[0], &factors, &mut scratch, &mut sums);
        black_box(&sums);
    });
    let bf16 = kernel.filter().map_or(exact, |filter| {
        let packed = FilterQueries::new(&vectors, DIM, &[]);
        let mut norms = vec![RowNorms::default(); ROWS];
        seconds_of(multiplied, || {
            let rows = Values::F16(&rows);
            filter.scaled_dots(rows, &packed, &[0], &factors, &mut scratch, &mut sums, &mut norms);
            black_box(&sums);
        })
    });
    let coarse: Vec<i8> = (0..DIM * 2 * queries).map(|i| number(i) as i8).collect();
    let codes: Vec<u8> = (0..DIM * ROWS).map(|i| number(i) as u8).collect();
    let planes = [(CodeKind::Sign, 1), (CodeKind::Nibble, 1), (CodeKind::Int8, 1), (CodeKind::Int8, 2)];
    let codes = planes.map(|(kind, each)| {
        let packed = CodeQueries::new(&coarse[..DIM * each * queries], DIM);
        let codes = Codes { kind, bytes: &codes[..ROWS * kind.row_bytes(DIM)] };
        let mut dots = vec![0; ROWS * each * queries];
        seconds_of(multiplied, || {
            kernel.code_dots(codes, &packed, &mut dots);
            black_box(&dots);
        })
    });
    Products { exact, bf16, codes }
}

/// Seconds of one of `count` steps of a piece of work.
fn seconds_of(count: usize, mut work: impl FnMut()) -> f64 {
    let times = (0..TIMES).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min) / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_machine_or_of_nonsense_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/costs.json");
        assert_eq!(read(&file, "here"), None);
        write(&file, "here".into(), &TYPICAL).unwrap();
        assert_eq!(read(&file, "here"), Some(TYPICAL));
        assert_eq!(read(&file, "there"), None);
        let mut wrong = TYPICAL;
        wrong.products[1].exact = -1.0;
        write(&file, "here".into(), &wrong).unwrap();
        assert_eq!(read(&file, "here"), None);
        fs_err::write(&file, "{").unwrap();
        assert_eq!(read(&file, "here"), None);
        // Where a folder is, no file can be.
        assert!(write(&folder.path().join("deep"), "here".into(), &TYPICAL).is_err());
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_measured_can_be_used() {
        let kernel = Kernel::detect();
        let products = QUERIES.map(|queries| products(kernel, queries));
        assert!(products.iter().all(|of| of.exact > 0.0 && of.codes.iter().all(|cost| *cost > 0.0)));
    }
}
