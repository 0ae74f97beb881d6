//! Time of each kernel and each kind of product in a pass, measured one by one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::check::{Device, Table};
use crate::scan_speed::{Questions, timed_questions};
use crate::speed::{Loaded, Pythia};
use gstore_core::locked;
use gstore_cuda::{Added, Cuda, Launch, Precision, Product, Runtime};
use gstore_model::{BackendError, SavedActivations};

/// Rows of the table for one shape.
const SHOWN: usize = 24;

/// Calls, and the time they took.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    calls: u32,
    time: Duration,
}

/// A device that waits for each call to be done, and adds up their durations by what was called.
pub struct Timed<R: Runtime> {
    on: Cuda<R>,
    spent: Mutex<BTreeMap<String, Spent>>,
}

impl<R: Device> Timed<R> {
    fn timed<T>(&self, what: &str, call: impl FnOnce(&R) -> T) -> T {
        // One call at a time: another thread's would be waited for too.
        let mut all = locked(&self.spent);
        let begun = Instant::now();
        let done = call(self.on.runtime());
        self.on.runtime().wait();
        let time = begun.elapsed();
        let spent = all.entry(what.to_owned()).or_default();
        *spent = Spent { calls: spent.calls + 1, time: spent.time + time };
        done
    }
}

type Result<T> = std::result::Result<T, BackendError>;

impl<R: Device> Runtime for Timed<R> {
    type Memory = R::Memory;

    fn shared(&self) -> usize {
        self.on.runtime().shared()
    }

    fn free(&self) -> Result<usize> {
        self.on.runtime().free()
    }

    fn allocate(&self, bytes: usize) -> Result<R::Memory> {
        self.timed("memory", |device| device.allocate(bytes))
    }

    fn write(&self, to: &R::Memory, at: usize, from: &[u8]) -> Result<()> {
        self.timed("copies from the host", |device| device.write(to, at, from))
    }

    fn read(&self, from: &R::Memory, at: usize, to: &mut [u8]) -> Result<()> {
        self.timed("copies to the host", |device| device.read(from, at, to))
    }

    fn copy(&self, from: (&R::Memory, usize), to: (&R::Memory, usize), bytes: usize) -> Result<()> {
        self.timed("copies", |device| device.copy(from, to, bytes))
    }

    fn clear(&self, memory: &R::Memory, at: usize, bytes: usize) -> Result<()> {
        self.timed("zeros", |device| device.clear(memory, at, bytes))
    }

    fn launch(&self, launch: &Launch<'_, R::Memory>) -> Result<()> {
        self.timed(launch.kernel, |device| device.launch(launch))
    }

    fn multiply(&self, product: &Product<'_, R::Memory>) -> Result<()> {
        let [rows, cols, terms] = product.size;
        let precision = match product.precision {
            Precision::Single => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        };
        let bias = if product.bias.is_some() { " + bias" } else { "" };
        let added = if matches!(product.added, Added::Matrix(..)) { " + matrix" } else { "" };
        let result = if product.narrow { ", in bf16" } else { "" };
        self.timed(&format!("product {rows} x {cols} x {terms} {precision}{added}{bias}{result}"), |device| {
            device.multiply(product)
        })
    }
}

/// Rows of the table: what a pass spends its time on.
pub fn rows<R: Device>(table: &mut Table, on: &Cuda<R>, shape: &Pythia, len: usize) {
    let timed = Timed { on: on.clone(), spent: Mutex::default() };
    let timed = Cuda::new(timed, Precision::Bf16);
    let mut loaded = Loaded::new(&timed, shape, shape.samples, len);
    let mut spent = BTreeMap::new();
    for _ in 0..2 {
        // The first pass compiles and allocates.
        locked(&timed.runtime().spent).clear();
        loaded.pass(SavedActivations::All, true).unwrap();
        spent = locked(&timed.runtime().spent).clone();
    }
    told(table, shape.name, spent, 1);
}

/// Rows of the table: what questions about resident rows spend on the device, each asked once more than it is repeated.
pub fn question_rows<R: Device>(table: &mut Table, on: &Cuda<R>, asked: Questions) {
    let timed = Timed { on: on.clone(), spent: Mutex::default() };
    let timed = Cuda::new(timed, Precision::Single);
    timed_questions(table, &timed, asked);
    let spent = locked(&timed.runtime().spent).clone();
    told(table, "questions", spent, asked.repeats.max(1) + 1);
}

fn told(table: &mut Table, name: &str, spent: BTreeMap<String, Spent>, times: u32) {
    let mut spent: Vec<(String, Spent)> = spent.into_iter().collect();
    spent.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.time));
    let all: Duration = spent.iter().map(|(_, spent)| spent.time).sum();
    let milliseconds = |time: Duration| 1e3 * time.as_secs_f64() / f64::from(times);
    let found = format!("{:.1} ms", milliseconds(all));
    table.told(&format!("{name}: calls one by one"), found, String::new());
    for (what, Spent { calls, time }) in spent.into_iter().take(SHOWN) {
        let share = 100.0 * time.as_secs_f64() / all.as_secs_f64();
        let found = format!("{:.2} ms, {share:.1} %", milliseconds(time));
        table.told(&format!("{name}: {what}"), found, format!("{} calls", calls / times));
    }
}
