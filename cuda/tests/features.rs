//! Promise: forms, flat projections and packed rows of a device have the bits of the CPU.

use crate::backends::Draw;
use gstore_cuda::{AdamFactors, Cuda, DeviceForm, Runtime};
use gstore_model::Backend;

/// Tensors of a gradient: one that is cut by a block of 65,536 coordinates, one of its own piece, a short one.
const LENGTHS: [usize; 4] = [700, 66_000, 70_000, 3];
const SAMPLES: usize = 2;

struct Gradients {
    values: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

fn gradients(len: usize) -> Gradients {
    let mut draw = Draw::new(5);
    let mut sparse = |scale: f32| draw.pick(&[0.0, 1.0, 1.0]) * draw.value() * scale;
    let values = (0..SAMPLES * len).map(|_| sparse(1e-3)).collect();
    let m = (0..len).map(|_| sparse(1e-4)).collect();
    let v = (0..len).map(|_| sparse(1e-3).powi(2)).collect();
    Gradients { values, m, v }
}

/// A value's form of its gradient and moments.
type Formed = fn(f32, f32, f32) -> f32;

/// Every form, as ingestion computes it (ingest/src/gradient/forms.rs) and as a device takes it.
fn forms() -> [(Formed, DeviceForm); 5] {
    const EPS: f32 = 1e-8;
    fn m(g: f32, m: f32) -> f32 {
        0.9 * m + (1.0 - 0.9f64) as f32 * g
    }
    fn v(g: f32, v: f32) -> f32 {
        0.999 * v + (1.0 - 0.999f64) as f32 * g * g
    }
    fn sign(g: f32) -> f32 {
        match () {
            () if g > 0.0 => 1.0,
            () if g < 0.0 => -1.0,
            () => g * 0.0,
        }
    }
    let factors = |eps_inside| AdamFactors {
        m: [0.9, (1.0 - 0.9f64) as f32],
        v: [0.999, (1.0 - 0.999f64) as f32],
        eps: EPS,
        eps_inside,
    };
    [
        (|g, _, _| g, DeviceForm::plain()),
        (|g, m0, v0| m(g, m0) / (v(g, v0) + EPS).sqrt(), DeviceForm::adam(factors(true))),
        (|g, m0, v0| m(g, m0) / (v(g, v0).sqrt() + EPS), DeviceForm::adam(factors(false))),
        (|g, _, _| sign(g), DeviceForm::sign()),
        (|g, _, v0| g / (v0.sqrt() + EPS), DeviceForm::normalised(EPS)),
    ]
}

/// Adds a tensor's projection to totals as ingestion does (ingest/src/projection/summed.rs): in f32 inside a block of
/// 65,536 coordinates of the whole gradient, in f64 over blocks.
fn project(entries: &[u32], width: usize, offset: usize, values: &[f32], totals: &mut [f64]) {
    let mut start = 0;
    while start < values.len() {
        let end = values.len().min(start + 65_536 - (offset + start) % 65_536);
        let mut sums = vec![0f32; totals.len()];
        for (at, value) in values.iter().enumerate().take(end).skip(start) {
            for entry in &entries[at * width..(at + 1) * width] {
                let signed = if entry >> 31 == 1 { -value } else { *value };
                sums[(entry & !(1 << 31)) as usize] += signed;
            }
        }
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(sum));
        start = end;
    }
}

/// Projects gradients of several samples tensor by tensor, in every form, by plain loops and by a device.
pub fn flat_projections_have_the_bits_of_the_cpu<R: Runtime>(on: &Cuda<R>) {
    let len: usize = LENGTHS.iter().sum();
    let Gradients { values, m, v } = gradients(len);
    // The device is given gradients as a backward pass leaves them: in the vectors of samples.
    let x = on.tensor(vec![1.0], 1, 1).unwrap();
    let mut rows = on.rows(SAMPLES, len + 3, None).unwrap();
    for sample in 0..SAMPLES {
        let mut spans = vec![0..0; SAMPLES];
        spans[sample] = 0..1;
        let grad = on.tensor(values[sample * len..(sample + 1) * len].to_vec(), 1, len).unwrap();
        on.weight_grads(&x, &grad, &spans, &mut rows, 3).unwrap();
    }
    for (dim, width) in [(512, 1), (1024, 4)] {
        let mut draw = Draw::new(dim as u64);
        // One non-zero in each of `width` parts of the rows, as `sjlt` has them.
        let part = dim / width;
        let mut entry = |i: usize| {
            ((i % width * part + draw.size(part) - 1) as u32)
                | if draw.pick(&[true, false]) { 1 << 31 } else { 0 }
        };
        let entries: Vec<u32> = (0..len * width).map(&mut entry).collect();
        for (at_form, (form, device_form)) in forms().into_iter().enumerate() {
            let mut expected = vec![0.0; SAMPLES * dim];
            let mut found = expected.clone();
            let mut start = 0;
            for len_of in LENGTHS {
                let range = start..start + len_of;
                let of_tensor = &entries[range.start * width..range.end * width];
                for sample in 0..SAMPLES {
                    let grad = &values[sample * len..][range.clone()];
                    let moments = m[range.clone()].iter().zip(&v[range.clone()]);
                    let formed: Vec<f32> =
                        grad.iter().zip(moments).map(|(g, (m, v))| form(*g, *m, *v)).collect();
                    let totals = &mut expected[sample * dim..(sample + 1) * dim];
                    project(of_tensor, width, start, &formed, totals);
                }
                let signs = on.signs(dim, start, of_tensor, width).unwrap();
                let moments = [Some(&m[range.clone()]), Some(&v[range])];
                let formed = on.form(&rows, (3 + start, len_of), device_form, moments).unwrap();
                assert!(formed.marks.iter().all(|marks| *marks == [true, true]), "form {at_form}");
                on.add_signs(&formed, &signs, &mut found).unwrap();
                start += len_of;
            }
            assert!(expected.iter().any(|v| *v != 0.0));
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.to_bits(), expected.to_bits(), "form {at_form} to {dim}: {at}");
            }
        }
    }
}

/// What cannot be summed in f32, or is no number, is marked and left to the CPU.
pub fn broken_gradients_are_marked<R: Runtime>(on: &Cuda<R>) {
    let cases =
        [(1.0, [true, true]), (1e25, [false, false]), (f32::NAN, [false, false]), (1e19, [true, true])];
    for (value, expected) in cases {
        let (x, grad) = (on.tensor(vec![1.0], 1, 1).unwrap(), on.tensor(vec![0.5, value], 1, 2).unwrap());
        let mut rows = on.rows(1, 2, None).unwrap();
        on.weight_grads(&x, &grad, &[0..1], &mut rows, 0).unwrap();
        let factors = AdamFactors { m: [0.9, 0.1], v: [0.999, 0.001], eps: 1e-8, eps_inside: true };
        let zeros = [0.0; 2];
        let moments = [Some(&zeros[..]), Some(&zeros[..])];
        let formed = on.form(&rows, (0, 2), DeviceForm::adam(factors), moments).unwrap();
        // A square that overflows is not sound, though the step, a number over infinity, is small.
        assert_eq!(formed.marks, [expected], "{value}");
        let plain = on.form(&rows, (0, 2), DeviceForm::plain(), [None, None]).unwrap();
        assert_eq!(plain.marks, [[value.is_finite(), value.is_finite()]], "{value}");
        assert!(on.form(&rows, (1, 2), DeviceForm::plain(), [None, None]).is_err());
        assert!(on.form(&rows, (0, 2), DeviceForm::normalised(1e-8), [None, None]).is_err());
        let signs = on.signs(4, 0, &[1, 3 | 1 << 31], 1).unwrap();
        assert_eq!(on.add_signs(&plain, &signs, &mut [0.0; 4]).is_ok(), value.is_finite());
        assert!(on.add_signs(&plain, &signs, &mut [0.0; 3]).is_err());
        assert!(on.signs(3, 0, &[3], 1).is_err());
    }
}

pub fn packed_rows_have_the_bits_of_the_cpu<R: Runtime>(on: &Cuda<R>) {
    let width = 300;
    let mut draw = Draw::new(9);
    let mut values: Vec<f32> = (0..4 * width).map(|_| draw.value() * draw.pick(&[1.0, 1e-4, 1e-7])).collect();
    values[..width].fill(0.0);
    // Halves of f16's steps, its largest numbers and what lies beyond, its smallest.
    let edges = [65_504.0, 65_519.9, 65_520.0, 1e9, 1.000_488_3, 1.001_464_8, 6e-8, 2.9e-8, -6.1e-5, -0.0];
    values[width..width + edges.len()].copy_from_slice(&edges);
    let (halves, norms) = on.packed_rows(&values, width, false).unwrap();
    let expected: Vec<u16> = values.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
    assert_eq!(halves, expected);
    let square = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    for (row, norm) in values.chunks(width).zip(&norms) {
        let expected = square(row).sqrt();
        assert!((f64::from(*norm) - expected).abs() <= 1e-7 * expected, "{norm} {expected}");
    }
    let (halves, _) = on.packed_rows(&values[2 * width..], width, true).unwrap();
    for row in halves.chunks(width) {
        let row: Vec<f32> = row.iter().map(|bits| half::f16::from_bits(*bits).to_f32()).collect();
        assert!((square(&row) - 1.0).abs() < 1e-3);
    }
    assert!(on.packed_rows(&values, 7, false).is_err());
}
