//! Speed of the kernels: rows in memory against 1 to 256 queries.
//!
//! It is reported next to the bandwidth at which the same machine reads memory and the rate at which it
//! multiplies in registers of the kernel's instruction set, both measured in the same second.
//!
//! Every figure is the best of several rounds that alternate between the kernel and the probes: on a
//! shared machine any of them may be disturbed, and the ratio of the bests does not flatter the
//! kernel when a probe was.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use gstore_benches::evidence::numbers::Numbers;
use gstore_benches::{machine, probe};
use gstore_core::mix;
use gstore_query::kernel::{
    CODE_STEP, CodeKind, CodeQueries, Codes, FilterQueries, Kernel, Queries, RowNorms, Scratch,
};
use gstore_store::{SIGNS, Signs, Values};
use half::f16;

/// All products of rows with queries: exact (of f16, i8 and signs), filtered, and of the codes of a sketch.
#[derive(Parser)]
struct Args {
    /// Rows
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Values per vector, a multiple of 64
    #[arg(long, default_value_t = 4096)]
    dim: usize,
    /// Module groups of the exact kernel's rows
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Numbers of queries
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64, 256])]
    queries: Vec<usize>,
    /// Kernels to measure
    #[arg(long, value_delimiter = ',', default_values_t = ["exact".to_owned(), "i8".into(), "i1".into(), "rounded".into(), "int8".into(), "nibble".into(), "sign".into()])]
    kernels: Vec<String>,
    /// Instruction set of the exact and the code kernels and of the loop that they are held to: portable,
    /// neon, avx2, avxvnni or avx512 [default: the fastest]
    #[arg(long)]
    isa: Option<String>,
    /// Rounds, of which the best are quoted
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// Bytes of rows that a thread processes at a time.
const UNIT: usize = 2 << 20;

fn main() -> Result<()> {
    let args = Args::parse();
    anyhow::ensure!(
        args.dim > 0 && args.dim.is_multiple_of(CODE_STEP),
        "--dim must be a multiple of {CODE_STEP}"
    );
    anyhow::ensure!((1..=args.dim).contains(&args.groups), "--groups must lie in 1..={}", args.dim);
    let mut kernels = Kernel::available();
    kernels.retain(|kernel| args.isa.as_deref().is_none_or(|isa| kernel.name() == isa));
    let Some(&kernel) = kernels.last() else { anyhow::bail!("this processor has no such instruction set") };
    println!("{}", machine::describe());
    println!(
        "kernel {}, {} rows x {} values in {} groups, {} threads",
        kernel.name(),
        args.rows,
        args.dim,
        args.groups,
        args.threads
    );
    println!("kernel  queries       ms   GB/s  probe  ratio  GMAC/s   peak  ratio");
    let memory = vec![1u64; 256 << 17];
    for name in &args.kernels {
        let Some(subject) = Subject::new(name, kernel, &args)? else {
            println!("{name:6}  this processor has no such instruction");
            continue;
        };
        for &count in &args.queries {
            let run = subject.with_queries(count, &args);
            let (mut best, mut bandwidth, mut peak) = (f64::INFINITY, 0.0f64, 0.0f64);
            for _ in 0..args.rounds.max(1) {
                bandwidth = bandwidth.max(probe::bandwidth(&memory, args.threads));
                peak = peak.max(probe::products(args.threads, kernel.name()));
                let start = Instant::now();
                run();
                best = best.min(start.elapsed().as_secs_f64());
            }
            let speed = subject.bytes() as f64 / best / 1e9;
            let products = (args.rows * args.dim * count) as f64 / best / 1e9;
            println!(
                "{name:6}  {count:7} {:8.2} {speed:6.1} {bandwidth:6.1} {:6.2} {products:7.0} {peak:6.0} {:6.2}",
                best * 1e3,
                speed / bandwidth,
                products / peak
            );
        }
    }
    Ok(())
}

/// Module groups of the rows.
fn groups(args: &Args) -> Vec<Range<usize>> {
    let at = |group: usize| group * args.dim / args.groups;
    (0..args.groups).map(|group| at(group)..at(group + 1)).collect()
}

/// Rows of one type, filled once.
enum Subject {
    Exact(Kernel, Vec<f16>),
    Bytes(Kernel, Vec<i8>),
    /// Words per row, and of all rows.
    Signs(Kernel, usize, Vec<u64>),
    Filter(gstore_query::kernel::Filter, Vec<f16>),
    Codes(Kernel, CodeKind, Vec<u8>),
}

impl Subject {
    fn new(name: &str, kernel: Kernel, args: &Args) -> Result<Option<Self>> {
        let mut numbers = Numbers(1);
        let mut halves = || (0..args.rows * args.dim).map(|_| f16::from_f32(numbers.even() * 3e4)).collect();
        let codes = |kind: CodeKind| {
            let bytes = args.rows * kind.row_bytes(args.dim);
            let mut numbers = Numbers(2);
            Self::Codes(kernel, kind, (0..bytes).map(|_| (numbers.even() * 127.0) as i8 as u8).collect())
        };
        Ok(match name {
            "exact" => Some(Self::Exact(kernel, halves())),
            "i8" => {
                let bytes = args.rows * args.dim;
                Some(Self::Bytes(kernel, (0..bytes).map(|_| (numbers.even() * 127.0) as i8).collect()))
            }
            "i1" => {
                let each: usize = groups(args).iter().map(|group| group.len().div_ceil(SIGNS)).sum();
                // Bits beyond a group meet zeros.
                let words = (0..args.rows * each).map(|i| mix(i as u64 + 1)).collect();
                Some(Self::Signs(kernel, each, words))
            }
            "rounded" => kernel.filter().map(|filter| Self::Filter(filter, halves())),
            "int8" => Some(codes(CodeKind::Int8)),
            "nibble" => Some(codes(CodeKind::Nibble)),
            "sign" => Some(codes(CodeKind::Sign)),
            _ => anyhow::bail!("{name} is none of exact, i8, i1, rounded, int8, nibble, sign"),
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Exact(_, values) | Self::Filter(_, values) => size_of_val(values.as_slice()),
            Self::Bytes(_, values) => size_of_val(values.as_slice()),
            Self::Signs(_, _, words) => size_of_val(words.as_slice()),
            Self::Codes(_, _, bytes) => bytes.len(),
        }
    }

    /// All products with `count` queries, as a function to be timed.
    fn with_queries<'a>(&'a self, count: usize, args: &'a Args) -> Box<dyn Fn() + 'a> {
        let mut numbers = Numbers(3);
        let vectors: Vec<f32> = (0..count * args.dim).map(|_| numbers.even()).collect();
        let dim = args.dim;
        let groups = groups(args);
        let chosen: Vec<usize> = (0..groups.len()).collect();
        match self {
            Self::Exact(kernel, values) => {
                exact(*kernel, values, Values::F16, Queries::new(&vectors, dim, &groups), args)
            }
            Self::Bytes(kernel, values) => {
                exact(*kernel, values, Values::I8, Queries::new(&vectors, dim, &groups), args)
            }
            Self::Signs(kernel, each, words) => {
                let queries = Queries::new(&vectors, dim, &groups);
                let all = Signs::new(words, *each);
                Box::new(move || {
                    in_units(args, 1, |rows, memory| {
                        memory.ready(rows.len(), count, groups.len());
                        let values = Values::I1(all.rows(rows));
                        let Memory { scratch, factors, out, .. } = memory;
                        kernel.scaled_dots(values, &queries, &chosen, factors, scratch, out);
                    });
                })
            }
            Self::Filter(filter, values) => {
                let queries = FilterQueries::new(*filter, &vectors, dim, &groups);
                Box::new(move || {
                    in_units(args, 2, |rows, memory| {
                        memory.ready(rows.len(), count, groups.len());
                        let values = Values::F16(&values[rows.start * dim..rows.end * dim]);
                        let Memory { scratch, factors, out, norms, .. } = memory;
                        filter.scaled_dots(values, &queries, &chosen, factors, scratch, out, norms);
                    });
                })
            }
            Self::Codes(kernel, kind, bytes) => {
                // As a sketch rounds them.
                let most = match kind {
                    CodeKind::Sign => 15.0,
                    CodeKind::Nibble => 63.0,
                    CodeKind::Int8 => 127.0,
                };
                let vectors: Vec<i8> = vectors.iter().map(|value| (value * most) as i8).collect();
                let queries = CodeQueries::new(&vectors, dim);
                let of_row = kind.row_bytes(dim);
                Box::new(move || {
                    in_units(args, 1, |rows, memory| {
                        memory.sums.resize(rows.len() * count, 0);
                        let codes =
                            Codes { kind: *kind, bytes: &bytes[rows.start * of_row..rows.end * of_row] };
                        kernel.code_dots(codes, &queries, &mut memory.sums);
                    });
                })
            }
        }
    }
}

/// All products of stored values with queries, as a function to be timed.
fn exact<'a, T: Sync>(
    kernel: Kernel,
    values: &'a [T],
    of: fn(&'a [T]) -> Values<'a>,
    queries: Queries,
    args: &'a Args,
) -> Box<dyn Fn() + 'a> {
    let chosen: Vec<usize> = (0..queries.groups()).collect();
    Box::new(move || {
        in_units(args, size_of::<T>(), |rows, memory| {
            memory.ready(rows.len(), queries.len(), queries.groups());
            let values = of(&values[rows.start * args.dim..rows.end * args.dim]);
            let Memory { scratch, factors, out, .. } = memory;
            kernel.scaled_dots(values, &queries, &chosen, factors, scratch, out);
        });
    })
}

/// Buffers that a thread reuses for every unit.
#[derive(Default)]
struct Memory {
    scratch: Scratch,
    factors: Vec<f32>,
    out: Vec<f32>,
    norms: Vec<RowNorms>,
    sums: Vec<i32>,
}

impl Memory {
    fn ready(&mut self, rows: usize, queries: usize, groups: usize) {
        self.factors.resize(rows * groups, 1.0);
        self.out.resize(rows * queries, 0.0);
        self.norms.resize(rows, RowNorms::default());
    }
}

/// Distributes ranges of rows of `bytes` per value to the threads.
fn in_units(args: &Args, bytes: usize, work: impl Fn(std::ops::Range<usize>, &mut Memory) + Sync) {
    let unit = (UNIT / (args.dim * bytes)).max(1);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                let mut memory = Memory::default();
                loop {
                    let start = next.fetch_add(unit, Ordering::Relaxed);
                    if start >= args.rows {
                        break;
                    }
                    work(start..(start + unit).min(args.rows), &mut memory);
                }
            });
        }
    });
}
