//! Costs of this machine, measured once and kept ([`crate::measured`]), or typical ones where none are kept.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use gstore_core::{Cancel, Cancelled, parallel};
use gstore_store::Values;
use half::f16;

use super::cost::{Costs, Products, QUERIES, TOGETHER, TYPICAL, WITHOUT_BF16, WITHOUT_BYTES};
use crate::influence::scan::ScanPool;
use crate::kernel::{
    CodeKind, CodeQueries, Codes, Filter, FilterQueries, Kernel, MAX_SIGN_VALUE, Queries, Rounding, RowNorms,
    Scratch,
};
use crate::measured::{KeptFile, MeasurementKind, MeasurementsLocation};

/// Bytes of a stream that an exact scan would cost from which on the costs of this machine are measured: it
/// then takes some ten milliseconds.
const LARGE: f64 = 256e6;

/// Coordinates of the vectors that are multiplied.
const DIM: usize = 1024;
/// Vectors that are multiplied: a core's cache holds them.
const ROWS: usize = 32;

/// Values of f16 that the cores read in a stream together: more than their caches hold.
const STREAM: usize = 32 << 20;
/// Values that each core reads in a stream at least.
const LEAST_STREAM: usize = 2 << 20;

/// How often each is measured; the best counts.
const TIMES: usize = 4;

impl Costs {
    /// Those that a question about `rows` rows is planned with. Where rows may be missing from the answer,
    /// which ones depends on the plan, so that it depends on nothing of the machine but its instruction set.
    pub(super) fn of(pools: &[ScanPool], rows: u64, certain: bool) -> &'static Self {
        static MEASURED: OnceLock<Costs> = OnceLock::new();
        let typical = Self::typical();
        match !certain || rows as f64 * typical.exact(pools) < LARGE {
            true => typical,
            false => MEASURED.get_or_init(costs),
        }
    }

    fn typical() -> &'static Self {
        let kernel = Kernel::detect();
        match kernel.filter().map(Filter::rounding) {
            Some(Rounding::Bf16) if kernel.multiplies_bytes() => &TYPICAL,
            _ if kernel.multiplies_bytes() => &WITHOUT_BF16,
            _ => &WITHOUT_BYTES,
        }
    }
}

fn costs() -> Costs {
    let place = MeasurementsLocation::of(MeasurementKind::Costs);
    if matches!(place, MeasurementsLocation::Off) {
        return Costs::typical().clone();
    }
    let file = place.file();
    if let Some(costs) = file.as_ref().and_then(read) {
        return costs;
    }
    let kernel = Kernel::detect();
    let costs = Costs { byte: stream(kernel), products: QUERIES.map(|queries| products(kernel, queries)) };
    if !is_sane(&costs) {
        return Costs::typical().clone();
    }
    if let Some(file) = file {
        // Measured again next time, if it cannot be kept.
        let _ = file.write(&costs);
    }
    costs
}

fn read(file: &KeptFile) -> Option<Costs> {
    file.read().filter(is_sane)
}

/// Whether costs are numbers whose ratios a processor may have.
fn is_sane(costs: &Costs) -> bool {
    let of = |of: &Products| [&[of.exact, of.rounded], &of.codes[..]].concat();
    let typical = TYPICAL.products.iter().flat_map(of);
    let mut ratios = costs.products.iter().flat_map(of).zip(typical).map(|(own, typical)| own / typical);
    costs.byte > 0.0
        && costs.byte.is_finite()
        && ratios.all(|ratio| (1e-3..1e3).contains(&(ratio / costs.byte)))
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
    let rounded = kernel.filter().map_or(exact, |filter| {
        let packed = FilterQueries::new(filter, &vectors, DIM, &[]);
        let mut norms = vec![RowNorms::default(); ROWS];
        let multiplied = ROWS * DIM * queries.next_multiple_of(TOGETHER);
        seconds_of(multiplied, || {
            let rows = Values::F16(&rows);
            filter.scaled_dots(rows, &packed, &[0], &factors, &mut scratch, &mut sums, &mut norms);
            black_box(&sums);
        })
    });
    let coarse: Vec<i8> = (0..DIM * 2 * queries).map(|i| number(i) as i8).collect();
    let small: Vec<i8> = coarse.iter().map(|value| value % (MAX_SIGN_VALUE + 1)).collect();
    let codes: Vec<u8> = (0..DIM * ROWS).map(|i| number(i) as u8).collect();
    let planes = [(CodeKind::Sign, 1), (CodeKind::Nibble, 1), (CodeKind::Int8, 1), (CodeKind::Int8, 2)];
    let codes = planes.map(|(kind, each)| {
        let values = if kind == CodeKind::Sign { &small } else { &coarse };
        let packed = CodeQueries::new(&values[..DIM * each * queries], DIM);
        let codes = Codes { kind, bytes: &codes[..ROWS * kind.row_bytes(DIM)] };
        let mut dots = vec![0; ROWS * each * queries];
        seconds_of(multiplied, || {
            kernel.code_dots(codes, &packed, &mut dots);
            black_box(&dots);
        })
    });
    Products { exact, rounded, codes }
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
    fn costs_that_no_processor_has_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile { path: folder.path().join("costs.json"), machine: "here".into() };
        file.write(&TYPICAL).unwrap();
        assert_eq!(read(&file), Some(TYPICAL));
        let mut wrong = TYPICAL;
        wrong.products[1].exact = -1.0;
        file.write(&wrong).unwrap();
        assert_eq!(read(&file), None);
    }

    #[test]
    fn what_is_measured_can_be_used() {
        let kernel = Kernel::detect();
        let products = QUERIES.map(|queries| products(kernel, queries));
        assert!(products.iter().all(|of| of.exact > 0.0 && of.codes.iter().all(|cost| *cost > 0.0)));
    }
}
