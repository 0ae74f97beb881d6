//! Promise: sums over the rows of samples are those of plain loops in f64, for short and long samples, and
//! have the same bits alone and beside others; what several of them need is copied to the device once.

use std::ops::Range;

use crate::backends::{Draw, assert_close, assert_same_bits};
use gstore_cuda::{Cuda, CudaTensor, EmulatedMemory, Emulator, Runtime};
use gstore_model::{Backend, ComputePrecision};

/// Relative to the largest value of a result.
const F32: f32 = 1e-5;

const SPANS: [Range<usize>; 5] = [0..0, 0..1, 3..36, 36..291, 300..900];
const ROWS: usize = 900;

type Tensor = CudaTensor<EmulatedMemory>;

fn weight_grads(
    on: &Cuda<Emulator>,
    [x, grad]: [&Tensor; 2],
    width: usize,
    spans: &[Range<usize>],
) -> Vec<f32> {
    let mut rows = on.rows(spans.len(), width, None).unwrap();
    on.weight_grads(x, grad, spans, &mut rows, 0).unwrap();
    on.host_rows(&mut rows).unwrap().to_vec()
}

#[test]
fn gradients_of_weights_are_sums_over_the_rows_of_each_sample() {
    let on = Cuda::new(Emulator::default(), ComputePrecision::F32);
    for (m, n) in [(16, 16), (5, 7), (17, 16), (20, 36), (4, 130)] {
        let mut draw = Draw::new(m as u64);
        let (x, grad) = (draw.values(ROWS * n), draw.values(ROWS * m));
        let tensors = |rows: Range<usize>| {
            let part = |values: &[f32], width: usize| {
                let values = values[rows.start * width..rows.end * width].to_vec();
                on.tensor(values, rows.len(), width).unwrap()
            };
            [part(&x, n), part(&grad, m)]
        };
        let [all_x, all_grad] = tensors(0..ROWS);
        let found = weight_grads(&on, [&all_x, &all_grad], m * n, &SPANS);
        for (span, found) in SPANS.iter().zip(found.chunks(m * n)) {
            let what = format!("{m} x {n} of rows {span:?}");
            let sum = |i: usize, j: usize| {
                let term = |t: usize| f64::from(grad[t * m + i]) * f64::from(x[t * n + j]);
                span.clone().map(term).sum::<f64>() as f32
            };
            let expected: Vec<f32> = (0..m * n).map(|at| sum(at / n, at % n)).collect();
            assert_close(found, &expected, F32, &what);
            let [x, grad] = tensors(span.clone());
            let alone = weight_grads(&on, [&x, &grad], m * n, &[0..span.len()]);
            assert_same_bits(&alone, found, &what);
        }
    }
}

#[test]
fn gradients_of_a_table_are_sums_over_the_rows_with_each_number() {
    let on = Cuda::new(Emulator::default(), ComputePrecision::F32);
    let (table, width, scale) = (40, 5, 0.5);
    let grad = Draw::new(3).values(ROWS * width);
    let ids: Vec<u32> = (0..ROWS).map(|row| (row * row % table) as u32).collect();
    let device_grad = on.tensor(grad.clone(), ROWS, width).unwrap();
    let mut rows = on.rows(SPANS.len(), table * width, None).unwrap();
    on.table_grads(&ids, &device_grad, scale, &SPANS, &mut rows, 0).unwrap();
    let found = on.host_rows(&mut rows).unwrap();
    for (span, found) in SPANS.iter().zip(found.chunks(table * width)) {
        let mut expected = vec![0.0f64; table * width];
        for row in span.clone() {
            for column in 0..width {
                let to = ids[row] as usize * width + column;
                expected[to] += f64::from(scale) * f64::from(grad[row * width + column]);
            }
        }
        let expected: Vec<f32> = expected.iter().map(|sum| *sum as f32).collect();
        assert_close(found, &expected, F32, &format!("rows {span:?}"));
    }
}

#[test]
fn spans_are_copied_once_and_give_way_where_memory_is_short() {
    let memory = 1 << 16;
    let on = Cuda::new(Emulator::with_memory(memory), ComputePrecision::F32);
    let written = || on.runtime().bytes_written();
    let copied = |spans: &[Range<usize>]| {
        let [x, grad] = [1, 2].map(|seed| on.tensor(Draw::new(seed).values(9 * 4), 9, 4).unwrap());
        let before = written();
        let values = weight_grads(&on, [&x, &grad], 16, spans);
        (written() - before, values)
    };
    let (first, second) = ([0..4, 4..9], [0..5, 5..9]);
    let (bytes, values) = copied(&first);
    assert_eq!(bytes, 16);
    assert_eq!(copied(&second).0, 16);
    assert_eq!(copied(&first), (0, values));
    assert!(on.runtime().free().unwrap() < memory, "spans are on the device");
    drop(on.tensor(vec![0.0; memory / 4], 1, memory / 4).unwrap());
    assert_eq!(copied(&first).0, 16);
}
