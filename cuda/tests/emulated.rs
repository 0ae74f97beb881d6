//! Promise: the kernels and all that calls them compute what the other backends do, as far as a CPU can tell: the
//! same source, run by the emulator, against the CPU backend and against plain loops in f64.

use crate::backends::operations::{Batch, compare, everything};
use crate::backends::{Shape, assert_close, assert_same_bits, cached, refusals};
use crate::{features, ingested, models, oracle, speed};
use gstore_cuda::{Cuda, Emulator, Precision};
use gstore_model::Compute;
use gstore_model::cpu::Cpu;

/// Random shapes that each test looks at.
const SHAPES: u64 = 24;

/// Relative to the largest value of a result.
const F32: f32 = 1e-5;

/// The same of gradients that came down through all layers.
const MODELS: f32 = 1e-4;

/// The same where factors of a product are rounded to 11 bits.
const TF32: f32 = 5e-3;

/// The same where factors of a product are rounded to 8 bits.
const BF16: f32 = 2e-2;

/// Two ways to multiply the same rounded factors.
const SAME_ROUNDING: f32 = 2e-3;

fn cuda(precision: impl Into<Precision>) -> Cuda<Emulator> {
    Cuda::new(Emulator::default(), precision)
}

macro_rules! on_the_emulator {
    ($($module:ident: $($name:ident),+;)+) => {$($(
        #[test]
        fn $name() {
            oracle::$module::$name(&cuda(Compute::F32));
        }
    )+)+};
}

oracle::every_operation!(on_the_emulator);

#[test]
fn all_operations_agree_with_the_cpu_backend() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let expected = everything(&Cpu::new(Compute::F32), &shape, &batch);
        compare(&expected, &everything(&cuda(Compute::F32), &shape, &batch), F32, &format!("{shape:?}"));
    }
}

#[test]
fn half_precision_rounds_what_the_cpu_backend_rounds() {
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let found = everything(&cuda(Compute::Bf16), &shape, &batch);
        let exact = everything(&Cpu::new(Compute::F32), &shape, &batch);
        compare(&exact, &found, BF16, &format!("in bf16, {shape:?}"));
        let rounded = everything(&Cpu::new(Compute::Bf16), &shape, &batch);
        compare(&rounded, &found, SAME_ROUNDING, &format!("as the CPU in bf16, {shape:?}"));
    }
}

#[test]
fn tf32_rounds_factors_of_products_and_nothing_else() {
    let mut apart = false;
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let found = everything(&cuda(Compute::Tf32), &shape, &batch);
        let exact = everything(&cuda(Compute::F32), &shape, &batch);
        compare(&exact, &found, TF32, &format!("in tf32, {shape:?}"));
        apart |= found.iter().zip(&exact).any(|(found, exact)| found.values != exact.values);
    }
    assert!(apart, "no product was of rounded factors");
}

#[test]
fn the_same_calls_give_the_same_bits() {
    for seed in 0..SHAPES / 6 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let (first, second) = (cuda(Compute::F32), cuda(Compute::F32));
        let (first, second) = (everything(&first, &shape, &batch), everything(&second, &shape, &batch));
        for (first, second) in first.iter().zip(&second) {
            assert_same_bits(&second.values, &first.values, second.name);
        }
    }
}

/// No tile and no sum crosses from one sample to the next.
#[test]
fn a_sample_has_the_same_bits_alone_and_packed() {
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let samples = shape.samples();
        let packed = everything(&cuda(Compute::F32), &shape, &Batch::of(&shape, &samples));
        for (i, sample) in samples.iter().enumerate() {
            let batch = Batch::of(&shape, std::slice::from_ref(sample));
            for (packed, alone) in packed.iter().zip(&everything(&cuda(Compute::F32), &shape, &batch)) {
                assert_same_bits(packed.of(i), alone.of(0), &format!("{} of sample {i}", alone.name));
            }
        }
    }
}

#[test]
fn a_sequence_has_the_same_attention_in_parts_and_at_once() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let [whole, parts] = cached::both_ways(&cuda(Compute::F32), &shape);
        for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert_close(parts, whole, F32, &format!("{shape:?}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    refusals::all(&cuda(Compute::F32));
    refusals::all(&cuda(Compute::Bf16));
}

/// Of the folders of models that are there: the largest is left to devices.
#[test]
fn models_have_the_losses_and_gradients_of_the_cpu_backend() {
    for folder in models::folders().iter().skip(1) {
        models::agree(folder, cuda(Compute::F32), MODELS);
    }
}

/// What `cuda/check` measures runs, on a small shape.
#[test]
fn passes_that_are_timed_give_numbers() {
    let shape = speed::Pythia { name: "small", width: 32, layers: 2, heads: 4, vocab: 61, stated: 1.0 };
    let found = speed::measure(&cuda(Compute::Bf16), &shape, (2, 24, 1), &|_| ());
    assert!(found.tokens_per_second > 0.0 && found.product_rate > 0.0 && found.pass_rate > 0.0, "{found:?}");
    assert!(speed::line(&shape, "bf16", &found).starts_with("table | small"));
}

#[test]
fn features_have_the_bits_of_the_cpu() {
    let on = cuda(Compute::F32);
    features::flat_projections_have_the_bits_of_the_cpu(&on);
    features::modules_have_the_bits_of_the_cpu(&on);
    features::broken_gradients_are_marked(&on);
}

#[test]
fn what_is_ingested_has_the_bits_of_the_host() {
    ingested::small_models(&cuda(Compute::F32));
}

/// Beside vectors and losses nothing is copied to the host, which takes whole gradients where it projects them.
#[test]
fn gradients_stay_on_the_device() {
    let read = |on: Cuda<Emulator>| {
        let before = on.runtime().bytes_read();
        ingested::of_a_small_model(&on);
        on.runtime().bytes_read() - before
    };
    let (on_device, on_host) = (read(cuda(Compute::F32)), read(cuda(Compute::F32).with_table_budget(0)));
    assert!(on_device * 4 < on_host, "{on_device} and {on_host} bytes");
}
