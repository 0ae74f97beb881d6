//! Promise: every backend computes the same operations; the CPU backend gives a sample the same bits
//! whatever it is packed with.

use crate::backends::operations::{Batch, compare, everything};
use crate::backends::{Shape, assert_close, assert_same_bits};
use gstore_model::ComputePrecision;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};

/// Random shapes that each test looks at.
const SHAPES: u64 = 40;

/// Relative to the largest value of a result.
const F32: f32 = 1e-5;

/// The same where factors of a product are rounded to 8 bits.
const BF16: f32 = 2e-2;

/// The same where they are rounded to 16 bits.
const BF16X3: f32 = 5e-5;

/// Two ways to multiply the same rounded factors. The gradient of the head rounds what the products gave,
/// which may fall either side.
const SAME_ROUNDING: f32 = 2e-3;

fn cpus(compute: ComputePrecision) -> Vec<Cpu> {
    SimdLevel::available().into_iter().map(|level| Cpu::with_level(compute, level).unwrap()).collect()
}

#[test]
fn every_level_agrees_with_the_candle_backend() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let expected = everything(&Candle::cpu(), &shape, &batch);
        for cpu in cpus(ComputePrecision::F32) {
            let about = format!("at {:?}, {shape:?}", cpu.level());
            compare(&expected, &everything(&cpu, &shape, &batch), F32, &about);
        }
    }
}

#[test]
fn half_precision_stays_near_and_is_the_same_at_every_level() {
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let exact = everything(&Candle::cpu(), &shape, &batch);
        let mut first = None;
        for cpu in cpus(ComputePrecision::Bf16) {
            let about = format!("in bf16 at {:?}, {shape:?}", cpu.level());
            let found = everything(&cpu, &shape, &batch);
            compare(&exact, &found, BF16, &about);
            compare(first.get_or_insert_with(|| found.clone()), &found, SAME_ROUNDING, &about);
        }
    }
}

#[test]
fn sums_of_two_halves_stay_nearer_and_are_f32_where_they_would_not_pay() {
    let mut differs = false;
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        for (split, single) in cpus(ComputePrecision::Bf16x3).iter().zip(&cpus(ComputePrecision::F32)) {
            let about = format!("in bf16x3 at {:?}, {shape:?}", split.level());
            let [found, exact] = [split, single].map(|cpu| everything(cpu, &shape, &batch));
            compare(&exact, &found, BF16X3, &about);
            let is_f32 = found.iter().zip(&exact).all(|(found, exact)| found.values == exact.values);
            assert!(is_f32 || split.level() == SimdLevel::Avx512, "{about}");
            differs |= !is_f32;
        }
    }
    println!("bf16x3 {} f32 on this CPU", if differs { "differs from" } else { "is" });
}

#[test]
fn a_sample_has_the_same_bits_alone_and_packed() {
    for seed in 0..SHAPES / 2 {
        let shape = Shape::random(seed);
        let samples = shape.samples();
        for compute in [ComputePrecision::F32, ComputePrecision::Bf16, ComputePrecision::Bf16x3] {
            for cpu in cpus(compute) {
                let batch = Batch::of(&shape, &samples);
                let packed = everything(&cpu, &shape, &batch);
                for (i, sample) in samples.iter().enumerate() {
                    let alone = everything(&cpu, &shape, &Batch::of(&shape, std::slice::from_ref(sample)));
                    for (packed, alone) in packed.iter().zip(&alone) {
                        let about = format!("{} of sample {i} at {:?} {compute:?}", alone.name, cpu.level());
                        assert_same_bits(packed.of(i), alone.of(0), &about);
                    }
                }
            }
        }
    }
}

/// Generation feeds a sequence token by token: that changes no bit of it.
#[test]
fn a_sequence_has_the_same_attention_in_parts_and_at_once() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        for cpu in cpus(ComputePrecision::F32) {
            let [whole, parts] = crate::backends::cached::both_ways(&cpu, &shape);
            for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
                assert_same_bits(parts, whole, &format!("at {:?}, {shape:?}", cpu.level()));
            }
        }
        let [whole, parts] = crate::backends::cached::both_ways(&Candle::cpu(), &shape);
        for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert_close(parts, whole, F32, &format!("of candle, {shape:?}"));
        }
    }
}

#[test]
fn fused_levels_give_the_same_bits_in_f32() {
    let fused: Vec<Cpu> =
        cpus(ComputePrecision::F32).into_iter().filter(|cpu| cpu.level() != SimdLevel::Scalar).collect();
    let Some((first, others)) = fused.split_first() else { return };
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let expected = everything(first, &shape, &batch);
        for cpu in others {
            for (expected, found) in expected.iter().zip(&everything(cpu, &shape, &batch)) {
                assert_same_bits(
                    &expected.values,
                    &found.values,
                    &format!("{} at {:?}", found.name, cpu.level()),
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for cpu in cpus(ComputePrecision::F32) {
        crate::backends::refusals::all(&cpu);
    }
    crate::backends::refusals::all(&Candle::cpu());
}

#[test]
fn a_level_that_the_cpu_lacks_is_refused() {
    let absent = if cfg!(target_arch = "x86_64") { SimdLevel::Neon } else { SimdLevel::Avx2 };
    assert!(Cpu::with_level(ComputePrecision::F32, absent).is_err());
}
