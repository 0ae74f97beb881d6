//! Promise: the kernels and their callers compute what the other backends do, as far as a CPU can tell: the
//! same source, run by the emulator, against the CPU backend and against plain loops in f64.

use std::ops::Range;

use crate::backends::operations::{Batch, Outcome, compare, everything};
use crate::backends::{Draw, Shape, assert_close, assert_same_bits, cached, refusals};
use crate::check::{self, Check, Row, Table};
use crate::{features, ingested, models, oracle};
use gstore_cuda::{Arithmetic, Cuda, CudaTensor, EmulatedMemory, Emulator, Runtime};
use gstore_model::cpu::Cpu;
use gstore_model::{
    Activation, Backend, ComputePrecision, HeadTask, LinearWeights, NormForm, NormKind, NormWeights,
    Objective,
};

/// Random shapes of each test.
const SHAPES: u64 = 24;

/// Relative to the largest value of a result.
const F32: f32 = 1e-5;

/// The same for gradients that passed through all layers.
const MODELS: f32 = 1e-4;

/// The same in bf16.
const MODELS_BF16: f32 = 5e-2;

/// The same where factors of a product are rounded to 11 bits.
const TF32: f32 = 5e-3;

/// The same where factors of a product are rounded to 8 bits.
const BF16: f32 = 2e-2;

/// Two ways to multiply the same rounded factors.
const SAME_ROUNDING: f32 = 2e-3;

fn cuda(arithmetic: impl Into<Arithmetic>) -> Cuda<Emulator> {
    Cuda::new(Emulator::default(), arithmetic)
}

macro_rules! on_the_emulator {
    ($($module:ident: $($name:ident),+;)+) => {$($(
        #[test]
        fn $name() {
            oracle::$module::$name(&cuda(ComputePrecision::F32));
        }
    )+)+};
}

oracle::every_operation!(on_the_emulator);

/// The tests above are in f32, which has other kernels.
#[test]
fn scores_of_a_single_key_have_no_gradient_in_half_precision() {
    oracle::attend::scores_of_a_single_key_have_no_gradient(&cuda(ComputePrecision::Bf16));
}

/// All rows of the tests above are one chunk.
#[test]
fn losses_and_gradients_of_several_chunks_agree() {
    type Tensor = CudaTensor<EmulatedMemory>;
    let (rows, width, vocab) = (150, 3, 5);
    let on = cuda(ComputePrecision::F32);
    let weight = Draw::new(5).values(vocab * width);
    let layer = on.pack(LinearWeights { weight, out: vocab, input: width, bias: None }).unwrap();
    let x = on.tensor(Draw::new(6).values(rows * width), rows, width).unwrap();
    let (targets, weights) = (vec![1; rows], vec![1.0; rows]);
    let chunks = |on: &Cuda<Emulator>| {
        let mut chunks = Vec::new();
        let mut tap = |chunk: Range<usize>, _: &Tensor, _: &Tensor| {
            chunks.push(chunk);
            Ok(())
        };
        let objective = Objective::CrossEntropy { smoothing: 0.0 };
        let task = HeadTask {
            targets: &targets,
            weights: Some(&weights),
            softcap: None,
            objective,
            entropies: false,
        };
        on.head(&layer, &x, &task, Some(&mut tap)).unwrap();
        chunks
    };
    assert_eq!(chunks(&on), [0..150]);
    let several = on.with_logits_budget(0);
    assert_eq!(chunks(&several), [0..128, 128..150]);
    oracle::heads::losses_and_gradients_agree(&several);
    oracle::heads::curvature_along_a_tangent_agrees(&several);
}

/// Threads of the other tests have four logits at most.
#[test]
fn losses_of_a_large_vocabulary_agree_with_the_cpu_backend() {
    fn head<B: Backend>(on: &B) -> [Vec<f32>; 2] {
        let (rows, width, vocab) = (3, 4, 5000);
        let weight = Draw::new(7).values(vocab * width).iter().map(|value| 8.0 * value).collect();
        let layer = on.pack(LinearWeights { weight, out: vocab, input: width, bias: None }).unwrap();
        let x = on.tensor(Draw::new(8).values(rows * width), rows, width).unwrap();
        let task = HeadTask {
            targets: &[0, 4999, 77],
            weights: Some(&[1.0, -0.5, 2.0]),
            softcap: None,
            objective: Objective::CrossEntropy { smoothing: 0.1 },
            entropies: false,
        };
        let found = on.head(&layer, &x, &task, None).unwrap();
        [found.losses, on.to_host(&found.grad.unwrap()).unwrap()]
    }
    for (compute, tolerance) in [(ComputePrecision::F32, F32), (ComputePrecision::Bf16, SAME_ROUNDING)] {
        let (found, expected) = (head(&cuda(compute)), head(&Cpu::new(compute)));
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected, tolerance, &format!("in {compute:?}"));
        }
    }
}

#[test]
fn all_operations_agree_with_the_cpu_backend() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let expected = everything(&Cpu::new(ComputePrecision::F32), &shape, &batch);
        compare(
            &expected,
            &everything(&cuda(ComputePrecision::F32), &shape, &batch),
            F32,
            &format!("{shape:?}"),
        );
    }
}

/// What tensor cores compute of rounded queries, keys and values, where the CPU backend rounds nothing.
const ATTENDED: [&str; 10] = [
    "attention",
    "attention's log-sums",
    "gradient of queries",
    "gradient of keys",
    "gradient of values",
    "attention with dropout",
    "its log-sums",
    "its queries",
    "its keys",
    "its values",
];

/// What is rounded to bf16 besides factors of products: values inside a layer.
const INSIDE: [&str; 9] = [
    "linear_inside",
    "linear_backward_inside",
    "activate inside",
    "activate_backward inside",
    "linear_backward_inside of that",
    "rope inside",
    "gated inside",
    "gradient of a gate inside",
    "gradient of what is gated inside",
];

/// Tolerance for values of which several factors were each off by 2^-9.
const ROUNDED: f32 = 1.5e-2;

#[test]
fn half_precision_rounds_what_the_cpu_backend_rounds() {
    let mut on_tensor_cores = [0, 0];
    // Two tiles of rows at most: emulated tensor cores are slow.
    let shapes = (0..SHAPES).map(Shape::random).filter(|shape| shape.lengths.iter().all(|len| *len <= 100));
    for shape in shapes {
        let batch = Batch::of(&shape, &shape.samples());
        let found = everything(&cuda(ComputePrecision::Bf16), &shape, &batch);
        let exact = everything(&Cpu::new(ComputePrecision::F32), &shape, &batch);
        compare(&exact, &found, BF16, &format!("in bf16, {shape:?}"));
        let rounded = everything(&Cpu::new(ComputePrecision::Bf16), &shape, &batch);
        let is_inside = |outcome: &Outcome| INSIDE.contains(&outcome.name);
        let is_other = |outcome: &Outcome| !ATTENDED.contains(&outcome.name) && !is_inside(outcome);
        let compare = |of: &dyn Fn(&Outcome) -> bool, tolerance| {
            let [found, expected] = [&found, &rounded]
                .map(|all| all.iter().filter(|outcome| of(outcome)).cloned().collect::<Vec<_>>());
            assert!(!found.is_empty());
            compare(&expected, &found, tolerance, &format!("as the CPU in bf16, {shape:?}"));
        };
        compare(&is_other, SAME_ROUNDING);
        compare(&is_inside, ROUNDED);
        on_tensor_cores[usize::from(shape.attention.heads.dim.is_multiple_of(8))] += 1;
    }
    assert!(!on_tensor_cores.contains(&0), "{on_tensor_cores:?} shapes");
}

#[test]
fn tf32_rounds_factors_of_products_and_nothing_else() {
    let mut apart = false;
    for seed in 0..SHAPES / 4 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let found = everything(&cuda(ComputePrecision::Tf32), &shape, &batch);
        let exact = everything(&cuda(ComputePrecision::F32), &shape, &batch);
        compare(&exact, &found, TF32, &format!("in tf32, {shape:?}"));
        apart |= found.iter().zip(&exact).any(|(found, exact)| found.values != exact.values);
    }
    assert!(apart, "no product was of rounded factors");
}

#[test]
fn layers_in_bytes_are_multiplied_as_the_bf16_that_they_stand_for() {
    let (out, input, rows) = (5, 12, 3);
    let mut draw = Draw::new(3);
    // Multiples of a power of two, the largest of each row 127 times as much: bytes represent them exactly.
    let mut byte = |at: usize| if at.is_multiple_of(input) { 127.0 } else { draw.size(255) as f32 - 128.0 };
    let weight: Vec<f32> =
        (0..out * input).map(|at| byte(at) * 0.5f32.powi(7 + (at / input) as i32)).collect();
    let layer = || LinearWeights { weight: weight.clone(), out, input, bias: Some(vec![0.25; out]) };
    let (x, grad) = (draw.values(rows * input), draw.values(rows * out));
    let products = |compute| {
        let on = cuda(compute);
        let layer = on.pack_of_layer(layer()).unwrap();
        let x = on.tensor(x.clone(), rows, input).unwrap();
        let grad = on.tensor(grad.clone(), rows, out).unwrap();
        let products = [
            on.linear(&layer, &x, None).unwrap(),
            on.linear_tangent(&layer, &x, None).unwrap(),
            on.linear_backward(&layer, &grad, None).unwrap(),
        ];
        products.map(|product| on.to_host(&product).unwrap())
    };
    let [found, expected] = [ComputePrecision::I8, ComputePrecision::Bf16].map(products);
    for (found, expected) in found.iter().zip(&expected) {
        assert_same_bits(found, expected, "a product of bytes");
    }
}

#[test]
fn layers_in_bytes_take_a_byte_a_weight() {
    let (out, input) = (8, 32);
    let on = Cuda::new(Emulator::with_memory(1 << 20), ComputePrecision::I8);
    let held = || (1 << 20) - on.runtime().free().unwrap();
    let weights = || LinearWeights { weight: Draw::new(4).values(out * input), out, input, bias: None };
    let layer = on.pack_of_layer(weights()).unwrap();
    assert_eq!(held(), out * input + 4 * out, "bytes, and a scale for each output");
    drop(on.linear(&layer, &on.tensor(vec![1.0; input], 1, input).unwrap(), None).unwrap());
    assert_eq!(held(), out * input + 4 * out, "what a product spread is gone");
    drop(layer);
    let other = on.pack(weights()).unwrap();
    assert_eq!(held(), 2 * out * input, "maps that are no weights of layers are bf16");
    drop(other);
}

/// Products with weights that are not finite are NaN, and rows of zeros stay zeros.
#[test]
fn layers_in_bytes_keep_what_is_no_number() {
    let on = cuda(ComputePrecision::I8);
    let weight = vec![1.0, f32::NAN, 0.0, 0.0, f32::INFINITY, 1.0, -1.0, 0.5];
    let layer = on.pack_of_layer(LinearWeights { weight, out: 4, input: 2, bias: None }).unwrap();
    let x = on.tensor(vec![1.0, 1.0], 1, 2).unwrap();
    let y = on.to_host(&on.linear(&layer, &x, None).unwrap()).unwrap();
    assert!(y[0].is_nan() && y[1] == 0.0 && y[2].is_nan(), "{y:?}");
    assert!((y[3] + 0.5).abs() < 0.01, "{y:?}");
}

/// Kernels that make factors of products round them too; what changes a factor drops its rounding.
#[test]
fn factors_are_rounded_alike_wherever_they_are_made() {
    let (on, act, rows, out) = (cuda(ComputePrecision::Bf16), Activation::Gelu, 3, 4);
    for width in [16, 13] {
        let mut draw = Draw::new(width as u64);
        let weight = draw.values(out * width);
        let layer = on.pack(LinearWeights { weight, out, input: width, bias: None }).unwrap();
        let mut tensor = |rows: usize| on.tensor(draw.values(rows * width), rows, width).unwrap();
        let (x, up) = (tensor(rows), tensor(rows));
        let weights = NormWeights { weight: tensor(1), bias: Some(tensor(1)) };
        let form = NormForm { kind: NormKind::Layer, eps: 1e-5 };
        let mut made = vec![
            on.activate(act, &x).unwrap(),
            on.activate_backward(act, on.activate(act, &up).unwrap(), &x).unwrap(),
            on.gated(act, &x, &up).unwrap(),
            on.norm(&x, &weights, form).unwrap().0,
        ];
        made.extend(on.gated_backward(act, &tensor(rows), &x, &up).unwrap());
        let host = |x: &_| on.to_host(x).unwrap();
        let product = |x: &_| host(&on.linear(&layer, x, None).unwrap());
        for made in made {
            let again = on.tensor(host(&made), rows, width).unwrap();
            assert_same_bits(&product(&made), &product(&again), "a product with what was made");
            let changed = on.add(made, &x).unwrap();
            let again = on.tensor(host(&changed), rows, width).unwrap();
            assert_same_bits(&product(&changed), &product(&again), "a product with what was changed");
        }
    }
}

#[test]
fn the_same_calls_give_the_same_bits() {
    for seed in 0..SHAPES / 6 {
        let shape = Shape::random(seed);
        let batch = Batch::of(&shape, &shape.samples());
        let (first, second) = (cuda(ComputePrecision::F32), cuda(ComputePrecision::F32));
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
        let packed = everything(&cuda(ComputePrecision::F32), &shape, &Batch::of(&shape, &samples));
        for (i, sample) in samples.iter().enumerate() {
            let batch = Batch::of(&shape, std::slice::from_ref(sample));
            for (packed, alone) in
                packed.iter().zip(&everything(&cuda(ComputePrecision::F32), &shape, &batch))
            {
                assert_same_bits(packed.of(i), alone.of(0), &format!("{} of sample {i}", alone.name));
            }
        }
    }
}

#[test]
fn a_sequence_has_the_same_attention_in_parts_and_at_once() {
    for seed in 0..SHAPES {
        let shape = Shape::random(seed);
        let [whole, parts] = cached::both_ways(&cuda(ComputePrecision::F32), &shape);
        for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert_close(parts, whole, F32, &format!("{shape:?}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    refusals::all(&cuda(ComputePrecision::F32));
    refusals::all(&cuda(ComputePrecision::Bf16));
}

/// For the model folders that exist: the largest is left to devices.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn models_have_the_losses_and_gradients_of_the_cpu_backend() {
    let mut folders = models::folders();
    folders.retain(|folder| !folder.ends_with(models::LARGEST));
    assert!(!folders.is_empty(), "no model is in the zoo");
    for folder in &folders {
        models::agree(folder, cuda(ComputePrecision::F32), MODELS);
        models::agree(folder, cuda(ComputePrecision::Bf16), MODELS_BF16);
    }
}

/// So that the check does not fail by itself when a GPU is available for a few minutes. The speeds that it
/// measures here mean nothing.
#[test]
fn the_check_runs_at_toy_size_on_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let check = Check::of_the_emulator(&folder.path().join("model"));
    let has_golden = check.golden.shared.join("golden/less/manifest.json").is_file();
    assert!(has_golden || std::env::var_os("CI").is_none(), "no reference results; set GSTORE_SHARED");
    if !has_golden {
        eprintln!("skipped: the part less, without reference results (set GSTORE_SHARED)");
    }
    let script = include_str!("../check");
    macro_rules! run {
        ($($name:ident),+) => {$(
            let mut table = Table::default();
            check::$name(&mut table, &check);
            let (name, Table(rows)) = (stringify!($name), table);
            assert!(script.contains(&format!("\n    {name}:")), "cuda/check has no seconds for {name}");
            assert!(!rows.is_empty(), "{name}");
            let speed = |row: &Row| row.what.starts_with("pythia-") && !row.what.contains("a row of");
            for row in rows.iter().filter(|row| !speed(row) && (name != "less" || has_golden)) {
                assert_ne!(row.met, Some(false), "{name}: {row:?}");
            }
            assert!(!rows.iter().any(|row| row.found.contains("fail")), "{name}: {rows:?}");
        )+};
    }
    check::every_part!(run);
}

#[test]
fn a_part_of_the_check_that_fails_leaves_the_others_rows() {
    let mut table = Table::default();
    table.attempt("first", |table| {
        table.row("first", "1 ms".to_owned(), ("below 2 ms".to_owned(), true));
        panic!("the device is lost");
    });
    table.attempt("second", |table| table.told("second", "3".to_owned(), String::new()));
    let rows: Vec<_> = table.0.iter().map(|row| (row.what.as_str(), row.found.as_str(), row.met)).collect();
    assert_eq!(
        rows,
        [
            ("first", "1 ms", Some(true)),
            ("first", "failed: the device is lost", Some(false)),
            ("second", "3", None)
        ]
    );
}

#[test]
fn features_have_the_bits_of_the_cpu() {
    let on = cuda(ComputePrecision::F32);
    features::flat_projections_have_the_bits_of_the_cpu(&on);
    features::modules_have_the_bits_of_the_cpu(&on);
    features::broken_gradients_are_marked(&on);
}

#[test]
fn what_is_ingested_has_the_bits_of_the_host() {
    ingested::small_models(&cuda(ComputePrecision::F32));
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn what_is_ingested_of_fused_modules_has_the_bits_of_the_host() {
    assert!(
        ingested::fused_models(&cuda(ComputePrecision::F32)) > 0,
        "no model of the zoo has fused modules"
    );
}

/// Only vectors and losses are copied to the host, which needs whole gradients where it projects them itself.
#[test]
fn gradients_stay_on_the_device() {
    let read = |on: Cuda<Emulator>| {
        let before = on.runtime().bytes_read();
        ingested::of_a_small_model(&on);
        on.runtime().bytes_read() - before
    };
    let (on_device, on_host) =
        (read(cuda(ComputePrecision::F32)), read(cuda(ComputePrecision::F32).with_table_budget(0)));
    assert!(on_device * 4 < on_host, "{on_device} and {on_host} bytes");
}
