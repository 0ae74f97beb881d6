//! The parts of `cuda/check` that print rows of its table: measured results next to required ones. They run
//! on a device, and at a small size on the emulator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::ingested::distances;
use crate::less::{Golden, differences};
use crate::models;
use crate::profile;
use crate::scan_speed::{Questions, timed, timed_questions};
use crate::speed::{self, Pythia, SHAPES};
use crate::tiny::Tiny;
use gstore_cuda::{Cuda, Driver, Emulator, Precision, Runtime};
use gstore_tests::shared;

/// Of features in f32 and in bf16, relative to the lengths of the CPU backend's.
const SINGLE: f64 = 1e-5;
const HALF: f64 = 5e-2;

/// Of cosines and scores of the reference results.
const GOLDEN: f64 = 1e-4;

/// Measurements of a device itself.
pub trait Device: Runtime {
    /// Its name.
    fn name(&self) -> String;
    /// Waits until all launched work is done.
    fn wait(&self);
    /// The peak of memory taken since it was opened, and all of its memory, in bytes.
    fn most_taken(&self) -> [usize; 2];
}

impl Device for Driver {
    fn name(&self) -> String {
        self.describe().unwrap().0
    }

    fn wait(&self) {
        self.synchronize().unwrap();
    }

    /// What the driver and cuBLAS hold is included. The pool keeps freed memory, so it does not become free
    /// again.
    fn most_taken(&self) -> [usize; 2] {
        let (_, free, all) = self.describe().unwrap();
        [all - free, all]
    }
}

impl Device for Emulator {
    fn name(&self) -> String {
        "the emulator".to_owned()
    }

    fn wait(&self) {}

    fn most_taken(&self) -> [usize; 2] {
        [self.most_held(), self.most_held().saturating_add(self.free().unwrap())]
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub found: String,
    pub asked: String,
    /// None where nothing is required.
    pub met: Option<bool>,
}

/// The table: rows are printed as they become known.
#[derive(Debug, Default)]
pub struct Table(pub Vec<Row>);

impl Table {
    fn push(&mut self, row: Row) {
        let Row { what, found, asked, met } = &row;
        let met = met.map_or("-", |met| if met { "yes" } else { "no" });
        // As in `cuda/check` and `benches/peers/cuda_rows.py`.
        println!("table | {what:<62} | {found:<40} | {asked:<42} | {met}");
        self.0.push(row);
    }

    /// A row with a requirement, and whether it is met.
    pub fn row(&mut self, what: &str, found: String, asked: (String, bool)) {
        let (asked, met) = asked;
        self.push(Row { what: what.to_owned(), found, asked, met: Some(met) });
    }

    /// A row for information only.
    pub fn told(&mut self, what: &str, found: String, beside: String) {
        self.push(Row { what: what.to_owned(), found, asked: beside, met: None });
    }

    /// Runs a part that adds rows. If it fails, a row says so, and the parts after it still run.
    pub fn attempt(&mut self, what: &str, work: impl FnOnce(&mut Table)) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) else { return };
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        let line = text.lines().next().unwrap_or_default();
        self.row(what, format!("failed: {line}"), (String::new(), false));
    }
}

/// A device, and the sizes of its checks.
pub struct Check<R: Device> {
    pub on: Cuda<R>,
    /// Models whose features are compared with the CPU backend's.
    pub models: Vec<PathBuf>,
    pub golden: Golden,
    pub shapes: [Pythia; 4],
    /// Tokens of a sample.
    pub len: usize,
    /// Tokens of the sample whose memory is measured.
    pub long: usize,
    /// Seconds of each speed measurement.
    pub budget: f64,
    pub questions: Questions,
}

impl Check<Driver> {
    /// Full size.
    pub fn of_a_device(on: Cuda<Driver>) -> Check<Driver> {
        // `cuda/check` states how many fit where the store is.
        let rows = std::env::var("GSTORE_CHECK_ROWS").ok().and_then(|rows| rows.parse().ok());
        let most = Questions::ASKED;
        Check {
            on,
            models: models::folders(),
            golden: Golden {
                shared: shared::root(),
                rows: usize::MAX,
                targets: usize::MAX,
                checkpoints: usize::MAX,
            },
            shapes: SHAPES,
            len: 1024,
            long: 4096,
            budget: 2.0,
            questions: Questions { rows: rows.unwrap_or(most).min(most), dim: 16_384, repeats: 15 },
        }
    }
}

impl Check<Emulator> {
    /// The smallest size that shows that the check works, with a model that is written to a folder. The
    /// emulator takes seconds for a sample of a real model.
    pub fn of_the_emulator(folder: &Path) -> Check<Emulator> {
        let small = |shape: Pythia| Pythia { width: 32, layers: 2, heads: 4, vocab: 61, samples: 2, ..shape };
        Check {
            on: Cuda::new(Emulator::default(), Precision::Single),
            models: vec![Tiny::new().with_biases().write(folder)],
            golden: Golden { shared: shared::root(), rows: 1, targets: 1, checkpoints: 1 },
            shapes: SHAPES.map(small),
            len: 12,
            long: 24,
            budget: 0.0,
            questions: Questions { rows: 600, dim: 33, repeats: 1 },
        }
    }
}

impl<R: Device> Check<R> {
    fn shape(&self, table: &mut Table, shape: &Pythia) {
        speed::rows(table, &self.on.with_precision(Precision::Bf16), shape, self.len, self.budget);
    }
}

/// Passes the names of all parts, which are functions here, to a macro that turns them into tests. Their
/// durations are in `cuda/check`.
macro_rules! every_part {
    ($tests:ident) => {
        $tests! { machine, features, less, questions, pythia_14m, pythia_160m, pythia_1b, pythia_6_9b, long_rows, profile }
    };
}
pub(crate) use every_part;

/// What the device is. Opening a device for the first time compiles the kernels.
pub fn machine<R: Device>(table: &mut Table, check: &Check<R>) {
    let free = check.on.runtime().free().unwrap();
    let [_, all] = check.on.runtime().most_taken();
    let memory = format!("{} of {} GiB free", free >> 30, all >> 30);
    table.told("device", check.on.runtime().name(), memory);
}

/// Features of models compared with those of the CPU backend.
pub fn features<R: Device>(table: &mut Table, check: &Check<R>) {
    if check.models.is_empty() {
        let asked = ("GSTORE_SHARED with models/".to_owned(), false);
        table.row("features of models", "no model is here".to_owned(), asked);
    }
    for model in &check.models {
        let name = model.file_name().unwrap_or_default().to_string_lossy();
        let [single, half, bits] =
            ["f32", "bf16", "projection"].map(|of| format!("features of {name}, {of}"));
        table.attempt(&single, |table| {
            let found = distances(&check.on, model);
            let lengths = |most: f64| format!("{most:.0e} of the CPU's at most");
            table.row(&single, format!("{:.1e}", found.single), (lengths(SINGLE), found.single <= SINGLE));
            table.row(&half, format!("{:.1e}", found.half), (lengths(HALF), found.half <= HALF));
            let same = if found.same_bits { "the same bits" } else { "other bits" };
            let asked = "those of the host, of the same factors".to_owned();
            table.row(&bits, same.to_owned(), (asked, found.same_bits));
        });
    }
}

/// Rows of the store whose questions are measured call by call.
const PROFILED: usize = 1 << 18;

/// The reference results of LESS.
pub fn less<R: Device>(table: &mut Table, check: &Check<R>) {
    if !check.golden.shared.join("golden/less/manifest.json").is_file() {
        let asked = ("GSTORE_SHARED with golden/less".to_owned(), false);
        return table.row("LESS", "no reference results are here".to_owned(), asked);
    }
    table.attempt("LESS", |table| {
        let found = differences(&check.on.with_precision(Precision::Single), &check.golden);
        let mut row = |what: &str, off: f64| {
            let what = format!("LESS: {what} of {} rows", found.rows);
            table.row(&what, format!("{off:.1e} off"), (format!("{GOLDEN:.0e} at most"), off <= GOLDEN));
        };
        row("cosines", found.cosines);
        if let Some(scores) = found.scores {
            row("scores", scores);
        }
    });
}

/// Questions about rows that stay on the device.
pub fn questions<R: Device>(table: &mut Table, check: &Check<R>) {
    let on = check.on.with_precision(Precision::Single);
    table.attempt("products of a block", |table| {
        let Questions { rows, dim, .. } = check.questions;
        // As many rows as a block of a store.
        let block = rows.min((gstore_store::BLOCK_BYTES / (2 * dim)).max(1));
        for width in [1, 64] {
            let (what, found) = timed(&on, [block, dim, width], check.questions.repeats);
            table.told(&what, found, String::new());
        }
    });
    table.attempt("questions", |table| timed_questions(table, &on, check.questions));
}

pub fn pythia_14m<R: Device>(table: &mut Table, check: &Check<R>) {
    check.shape(table, &check.shapes[0]);
}

pub fn pythia_160m<R: Device>(table: &mut Table, check: &Check<R>) {
    check.shape(table, &check.shapes[1]);
}

pub fn pythia_1b<R: Device>(table: &mut Table, check: &Check<R>) {
    check.shape(table, &check.shapes[2]);
}

pub fn pythia_6_9b<R: Device>(table: &mut Table, check: &Check<R>) {
    check.shape(table, &check.shapes[3]);
}

/// The memory of long samples of the largest shape.
pub fn long_rows<R: Device>(table: &mut Table, check: &Check<R>) {
    let on = check.on.with_precision(Precision::Bf16);
    speed::long_rows(table, &on, &check.shapes[3], check.long);
}

/// What a pass of the shapes of middle size, and questions, spend their time on.
pub fn profile<R: Device>(table: &mut Table, check: &Check<R>) {
    for shape in &check.shapes[1..3] {
        let what = format!("{}: calls one by one", shape.name);
        table.attempt(&what, |table| profile::rows(table, &check.on, shape, check.len));
    }
    let rows = check.questions.rows.min(PROFILED);
    let asked = Questions { rows, repeats: 3, ..check.questions };
    table.attempt("questions: calls one by one", |table| profile::question_rows(table, &check.on, asked));
}
