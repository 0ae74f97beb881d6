//! Promise: on an NVIDIA GPU all operations and models compute what the CPU does. Run by `cuda/check` on a
//! machine with a GPU; its parts print measurements next to requirements.

use std::sync::OnceLock;

use crate::backends::operations::{Batch, compare, everything};
use crate::backends::{Draw, Shape, assert_close, assert_same_bits, cached, refusals};
use crate::{attention, features, ingested, models, oracle, scan};
use gstore_cuda::{Cuda, Driver, Precision, Runtime};
use gstore_model::cpu::Cpu;
use gstore_model::{Backend, ComputePrecision, LinearWeights};

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

/// Outputs of layers for random inputs: with a bias without a residual, with one, and for operations inside a layer; and
/// without a bias with a residual. A product without its bias would be outside of every tolerance.
fn with_sums<B: Backend>(on: &B, [rows, out, input]: [usize; 3]) -> [Vec<f32>; 4] {
    let mut draw = Draw::new((rows + out + input) as u64);
    let [weight, x, residual] = [out * input, rows * input, rows * out].map(|len| draw.values(len));
    let bias = draw.values(out).iter().map(|value| 10.0 * value).collect();
    let plain = on.pack(LinearWeights { weight: weight.clone(), out, input, bias: None }).unwrap();
    let layer = on.pack(LinearWeights { weight, out, input, bias: Some(bias) }).unwrap();
    let [x, residual] = [on.tensor(x, rows, input).unwrap(), on.tensor(residual, rows, out).unwrap()];
    let outputs = [
        on.linear(&layer, &x, None).unwrap(),
        on.linear(&layer, &x, Some(&residual)).unwrap(),
        on.linear_inside(&layer, &x).unwrap(),
        on.linear(&plain, &x, Some(&residual)).unwrap(),
    ];
    outputs.map(|y| on.to_host(&y).unwrap())
}

/// Rows, outputs and inputs of layers.
const EVEN: [[usize; 3]; 3] = [[64, 128, 256], [512, 384, 128], [2048, 768, 256]];
const ODD: [[usize; 3]; 7] =
    [[5, 7, 13], [1, 1, 1], [1, 64, 33], [3, 8, 5], [77, 129, 31], [333, 96, 80], [1000, 50, 2]];

/// The product of a layer has the bias already, at least where its sizes suit tensor cores.
#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn layers_of_any_size_add_their_bias() {
    for (precision, tolerance) in [(Precision::Single, F32), (Precision::Tf32, TF32), (Precision::Bf16, BF16)]
    {
        // Of its own: other tests have other kinds of products.
        let on = Cuda::open(0, precision).unwrap();
        let agree = |size: [usize; 3]| {
            let expected = with_sums(&Cpu::new(ComputePrecision::F32), size);
            let [first, second] = [0, 1].map(|_| with_sums(&on, size));
            for ((expected, first), second) in expected.iter().zip(&first).zip(&second) {
                assert_close(first, expected, tolerance, &format!("{precision:?}, {size:?}"));
                assert_same_bits(second, first, &format!("{precision:?}, {size:?}"));
            }
        };
        EVEN.into_iter().for_each(agree);
        let even = on.runtime().kinds_with_sums();
        ODD.into_iter().for_each(agree);
        let all = on.runtime().kinds_with_sums();
        eprintln!(
            "{precision:?}: kinds with what is added, and kinds that take a kernel: {even:?}, odd ones too {all:?}"
        );
        // Those inside a layer are of another kind in bf16.
        let kinds = if precision == Precision::Bf16 { 4 } else { 3 };
        assert_eq!(even, (kinds * EVEN.len(), 0), "{precision:?}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn a_sequence_has_the_same_attention_in_parts_and_at_once() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let [whole, parts] = cached::both_ways(&cuda(Precision::Single), &shape);
        for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert_close(parts, whole, F32, &format!("{shape:?}"));
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cuda/check runs it"]
fn attention_in_bf16_is_as_close_as_its_operands() {
    attention::is_as_close_as_its_operands(&cuda(Precision::Bf16));
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
    scan::estimates_of_many_groups_are_as_close_as_they_say(&cuda(Precision::Single));
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
