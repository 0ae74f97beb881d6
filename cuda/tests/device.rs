//! Promise: on an NVIDIA GPU all operations and models compute what the CPU does. Run by `cuda/check` on a
//! machine with a GPU; its parts print measurements next to requirements.

use std::sync::OnceLock;

use crate::backends::operations::{Batch, compare, everything};
use crate::backends::{Shape, assert_same_bits, cached, refusals};
use crate::{features, ingested, models, oracle, scan};
use gstore_cuda::{Cuda, Driver, Precision, Runtime};
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;

/// Random shapes of each test.
const SHAPES: u64 = 40;

/// Relative to the largest value of a result.
const F32: f32 = 1e-5;

/// The same where factors of a product are rounded to 10 bits, and to 8.
const TF32: f32 = 5e-3;
const BF16: f32 = 2e-2;

/// The backend of the first device, opened once in each precision.
fn cuda(precision: Precision) -> Cuda<Driver> {
    static OPEN: [OnceLock<Cuda<Driver>>; 3] = [const { OnceLock::new() }; 3];
    let place = match precision {
        Precision::Single => 0,
        Precision::Tf32 => 1,
        Precision::Bf16 => 2,
    };
    OPEN[place].get_or_init(|| Cuda::open(0, precision).unwrap()).clone()
}

macro_rules! on_the_device {
    ($($module:ident: $($name:ident),+;)+) => {$($(
        #[test]
        #[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
        fn $name() {
            oracle::$module::$name(&cuda(Precision::Single));
        }
    )+)+};
}

oracle::every_operation!(on_the_device);

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn all_operations_agree_with_the_cpu_backend() {
    for (precision, tolerance) in [(Precision::Single, F32), (Precision::Tf32, TF32), (Precision::Bf16, BF16)]
    {
        for seed in 0..SHAPES {
            let shape = Shape::random(seed);
            let batch = Batch::of(&shape, &shape.samples());
            let expected = everything(&Cpu::new(ComputePrecision::F32), &shape, &batch);
            let found = everything(&cuda(precision), &shape, &batch);
            compare(&expected, &found, tolerance, &format!("{precision:?}, {shape:?}"));
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn the_same_calls_give_the_same_bits() {
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        for precision in [Precision::Single, Precision::Bf16] {
            let [first, second] = [0, 1].map(|_| everything(&cuda(precision), &shape, &batch));
            for (first, second) in first.iter().zip(&second) {
                assert_same_bits(&second.values, &first.values, second.name);
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn a_sequence_has_the_same_attention_in_parts_and_at_once() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let [whole, parts] = cached::both_ways(&cuda(Precision::Single), &shape);
        for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
            crate::backends::assert_close(parts, whole, F32, &format!("{shape:?}"));
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn what_does_not_fit_is_refused() {
    refusals::all(&cuda(Precision::Single));
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn models_have_the_losses_and_gradients_of_the_cpu_backend() {
    for folder in models::folders() {
        models::agree(&folder, cuda(Precision::Single), 1e-4);
        models::agree(&folder, cuda(Precision::Bf16), 5e-2);
        models::agree(&folder, Cuda::open(0, ComputePrecision::I8).unwrap(), 2e-1);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn features_have_the_bits_of_the_cpu() {
    let on = cuda(Precision::Single);
    features::flat_projections_have_the_bits_of_the_cpu(&on);
    features::modules_have_the_bits_of_the_cpu(&on);
    features::broken_gradients_are_marked(&on);
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn what_is_ingested_has_the_bits_of_the_host() {
    let on = cuda(Precision::Single);
    ingested::small_models(&on);
    if ingested::fused_models(&on) == 0 {
        eprintln!("skipped: models with fused modules, which are not there (set GSTORE_SHARED)");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn stored_rows_have_the_products_of_the_processor() {
    scan::products_have_the_bits_of_the_processor(&cuda(Precision::Single));
    scan::products_of_many_blocks_have_the_bits_of_the_processor(&cuda(Precision::Single));
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn stored_rows_are_estimated_as_closely_as_is_said() {
    scan::estimates_are_as_close_as_they_say(&cuda(Precision::Single));
    scan::estimates_of_what_is_not_finite_say_nothing(&cuda(Precision::Single));
}

/// The driver's pool keeps it, and counts it as used.
#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn memory_that_was_given_back_is_free() {
    const BYTES: usize = 1 << 30;
    /// Memory that other programs may allocate and free meanwhile.
    const OTHERS: usize = BYTES / 4;
    let on = cuda(Precision::Single);
    let free = || on.runtime().free().unwrap();
    let before = free();
    let memory = on.runtime().allocate(BYTES).unwrap();
    let between = free();
    drop(memory);
    on.runtime().synchronize().unwrap();
    let after = free();
    assert!(between + BYTES <= before + OTHERS, "{before}, then {between}");
    assert!(after + OTHERS >= before, "{before}, then {after}");
}

/// Parts of `cuda/check` that print rows of its table. The table reports unmet requirements, so they do not
/// fail here.
macro_rules! parts_on_the_device {
    ($($name:ident),+) => {
        mod part {
            use crate::check::{self, Check, Table};
            use gstore_cuda::Precision;
            $(
                #[test]
                #[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
                fn $name() {
                    let check = Check::of_a_device(super::cuda(Precision::Single));
                    check::$name(&mut Table::default(), &check);
                }
            )+
        }
    };
}

crate::check::every_part!(parts_on_the_device);
