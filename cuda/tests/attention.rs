//! Promise: attention in bf16 and its gradients are those in f32 but for the rounding of their operands, over
//! several tiles of queries and keys at every width; its tangents are in f32. With little shared memory heads
//! go through the kernels that fit there, or are refused.

use std::ops::Range;

use crate::backends::{Draw, assert_close};
use gstore_cuda::{Cuda, Emulator, Runtime};
use gstore_model::cpu::Cpu;
use gstore_model::{
    Attention, AttentionForm, AttentionPlan, AttentionSpan, Backend, ComputePrecision, Heads,
};

/// Relative to the largest value of a result, where factors are rounded to 8 bits.
const BF16: f32 = 2e-2;
const F32: f32 = 1e-5;

/// Rows of two sequences: three tiles of queries, and two.
const SPANS: [Range<usize>; 2] = [0..130, 130..200];
const ROWS: usize = 200;

const QUERIES: usize = 2;

fn plan() -> AttentionPlan {
    let spans = SPANS.map(|rows| AttentionSpan { keys: rows.clone(), queries: rows }).to_vec();
    AttentionPlan { spans, positions: SPANS.into_iter().flat_map(|rows| 0..rows.len() as u32).collect() }
}

fn form(dim: usize, window: Option<usize>) -> AttentionForm {
    let heads = Heads { query: QUERIES, kv: 1, dim };
    AttentionForm { heads, scale: 1.0 / (dim as f32).sqrt(), softcap: None, window }
}

/// Outputs, log-sums, and gradients of queries, keys and values.
fn attended<B: Backend>(on: &B, form: AttentionForm) -> [Vec<f32>; 5] {
    let (mut draw, dim) = (Draw::new(form.heads.dim as u64), form.heads.dim);
    let mut tensor = |width: usize| on.tensor(draw.values(ROWS * width), ROWS, width).unwrap();
    let [q, grad] = [(); 2].map(|()| tensor(QUERIES * dim));
    let [k, v] = [(); 2].map(|()| tensor(dim));
    let plan = plan();
    let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None };
    let (out, log_sum) = on.attention(&of).unwrap();
    let [dq, dk, dv] = on.attention_backward(&of, &grad, &out, &log_sum).unwrap();
    [out, log_sum, dq, dk, dv].map(|tensor| on.to_host(&tensor).unwrap())
}

/// The tangent of outputs of sharp heads along keys that move alike, which moves nothing but for values.
fn moved<B: Backend>(on: &B, form: AttentionForm) -> Vec<f32> {
    let (mut draw, dim) = (Draw::new(5), form.heads.dim);
    let mut tensor = |width: usize, scale: f32, shift: f32| {
        let values = draw.values(ROWS * width).into_iter().map(|value| scale * value + shift).collect();
        on.tensor(values, ROWS, width).unwrap()
    };
    let [q, dq] = [6.0, 1.0].map(|scale| tensor(QUERIES * dim, scale, 0.0));
    let [k, v, dv] = [(); 3].map(|()| tensor(dim, 1.0, 0.0));
    let dk = tensor(dim, 1.0, 3.0);
    let plan = plan();
    let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None };
    let (_, log_sum) = on.attention(&of).unwrap();
    on.to_host(&on.attention_tangent(&of, [&dq, &dk, &dv], &log_sum).unwrap()).unwrap()
}

/// Outputs, gradients and tangents of attention with heads of some columns are those of the processor.
fn agrees<R: Runtime>(on: &Cuda<R>, dims: &[usize], tolerance: f32) {
    for dim in dims {
        for window in [None, Some(40)] {
            let form = form(*dim, window);
            let (expected, found) = (attended(&Cpu::new(ComputePrecision::F32), form), attended(on, form));
            for (expected, found) in expected.iter().zip(&found) {
                assert_close(found, expected, tolerance, &format!("{form:?}"));
            }
        }
        let form = form(*dim, None);
        let expected = moved(&Cpu::new(ComputePrecision::F32), form);
        assert_close(&moved(on, form), &expected, 10.0 * F32, &format!("tangent, {form:?}"));
    }
}

/// On a backend in bf16.
pub fn is_as_close_as_its_operands<R: Runtime>(on: &Cuda<R>) {
    agrees(on, &[32, 64, 80, 128, 256], BF16);
}

#[test]
fn attention_in_bf16_is_as_close_as_its_operands_on_the_emulator() {
    is_as_close_as_its_operands(&Cuda::new(Emulator::default(), ComputePrecision::Bf16));
}

/// A device with as much shared memory for a block as an RTX 3090, 4090 or 5090 has.
fn of_a_desktop(precision: ComputePrecision) -> Cuda<Emulator> {
    Cuda::new(Emulator::default().with_shared(99 << 10), precision)
}

#[test]
fn heads_go_through_kernels_that_fit_the_shared_memory() {
    // From 61 columns on, two kernels for 64 do not fit.
    agrees(&of_a_desktop(ComputePrecision::F32), &[60, 61, 64, 128, 176], F32);
    agrees(&of_a_desktop(ComputePrecision::Bf16), &[64, 128], BF16);
}

/// Of heads of some columns: the outputs, which fit, and why there are no gradients.
fn refused(on: &Cuda<Emulator>, dim: usize) -> String {
    let tensor = |width: usize| on.tensor(vec![0.5; ROWS * width], ROWS, width).unwrap();
    let ([q, grad], [k, v]) = ([(); 2].map(|()| tensor(QUERIES * dim)), [(); 2].map(|()| tensor(dim)));
    let plan = plan();
    let of = Attention { q: &q, k: &k, v: &v, form: form(dim, None), plan: &plan, dropout: None };
    let (out, log_sum) = on.attention(&of).unwrap();
    let tangent = on.attention_tangent(&of, [&grad, &k, &v], &log_sum).map(drop).unwrap_err();
    let tangent = tangent.to_string();
    assert!(tangent.contains("shared memory for a block in f32 and this GPU has 99 KB"), "{tangent}");
    on.attention_backward(&of, &grad, &out, &log_sum).map(drop).unwrap_err().to_string()
}

#[test]
fn heads_that_no_kernel_has_shared_memory_for_are_refused() {
    let about = |dim: usize, bytes: usize, precision: &str| {
        let needed = format!("heads of {dim} columns need {bytes} KB of shared memory for a block");
        format!("{needed} in {precision} and this GPU has 99 KB")
    };
    let single = of_a_desktop(ComputePrecision::F32);
    assert_eq!(refused(&single, 177), about(177, 101, "f32"));
    assert_eq!(refused(&single, 256), about(256, 139, "f32"));
    assert_eq!(refused(&of_a_desktop(ComputePrecision::Bf16), 256), about(256, 150, "bf16"));
}
