//! Promise: forms and projections on a device have the same bits as on the CPU.

use crate::backends::Draw;
use gstore_cuda::{Cuda, CudaRows, DeviceForm, FormPlace, ModuleSides, Runtime};
use gstore_model::{Backend, ColumnMap};

/// Tensors of a gradient: one that a block of 65,536 coordinates cuts, one with a piece of its own, a short
/// one.
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

/// The form of a value, from its gradient and moments.
type Formed = fn(f32, f32, f32) -> f32;

/// Every form, as computed by ingestion (ingest/src/gradient/forms.rs) and as given to a device.
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
    let [m_factors, v_factors] = [[0.9, (1.0 - 0.9f64) as f32], [0.999, (1.0 - 0.999f64) as f32]];
    let adam = |eps_inside| DeviceForm::adam(m_factors, v_factors, EPS, eps_inside);
    [
        (|g, _, _| g, DeviceForm::plain()),
        (|g, m0, v0| m(g, m0) / (v(g, v0) + EPS).sqrt(), adam(true)),
        (|g, m0, v0| m(g, m0) / (v(g, v0).sqrt() + EPS), adam(false)),
        (|g, _, _| sign(g), DeviceForm::sign()),
        (|g, _, v0| g / (v0.sqrt() + EPS), DeviceForm::normalised(EPS)),
    ]
}

/// Adds a tensor's projection to totals as ingestion does (ingest/src/projection/summed.rs): in f32 inside a
/// block of 65,536 coordinates of the whole gradient, in f64 over blocks.
fn project(entries: &[u32], width: usize, offset: usize, values: &[f32], totals: &mut [f64]) {
    let mut start = 0;
    while start < values.len() {
        let end = values.len().min(start + 65_536 - (offset + start) % 65_536);
        let mut sums = vec![0f32; totals.len()];
        let is_large = values[start..end].iter().any(|value| value.abs() > 2f32.powi(100));
        let (down, up) = if is_large { (2f32.powi(-64), 2f64.powi(64)) } else { (1.0, 1.0) };
        for (at, value) in values.iter().enumerate().take(end).skip(start) {
            for entry in &entries[at * width..(at + 1) * width] {
                let value = value * down;
                let signed = if entry >> 31 == 1 { -value } else { value };
                sums[(entry & !(1 << 31)) as usize] += signed;
            }
        }
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(sum) * up);
        start = end;
    }
}

/// Projects gradients of several samples tensor by tensor, in every form, with plain loops and on a device.
pub fn flat_projections_have_the_bits_of_the_cpu<R: Runtime>(on: &Cuda<R>) {
    let len: usize = LENGTHS.iter().sum();
    let Gradients { mut values, m, v } = gradients(len);
    // One sample has a piece that would overflow: the second of the second tensor, by its coordinates.
    values[len + 65_540..len + 65_600].fill(3e38);
    let rows = rows_of(on, &values, len, 3);
    let [on_m, on_v] = [&m, &v].map(|moments| on.tensor(moments.clone(), 1, len).unwrap());
    for (dim, width) in [(512, 1), (1024, 4)] {
        let mut draw = Draw::new(dim as u64);
        // One non-zero in each of `width` parts of the rows, as for `sjlt`.
        let part = dim / width;
        let mut entry = |i: usize| {
            ((i % width * part + draw.size(part) - 1) as u32)
                | if draw.pick(&[true, false]) { 1 << 31 } else { 0 }
        };
        let entries: Vec<u32> = (0..len * width).map(&mut entry).collect();
        for (at_form, (form, device_form)) in forms().into_iter().enumerate() {
            let mut expected = vec![0.0; SAMPLES * dim];
            let sums = on.sums([SAMPLES, 2, dim], true).unwrap();
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
                let place = FormPlace { offset: 3 + start, start, len: len_of };
                let moments = [Some(&on_m), Some(&on_v)];
                let formed = on.form(&rows, place, None, (device_form, 1), moments, &sums).unwrap();
                on.add_signs(&formed, &signs, &sums, 1).unwrap();
                start += len_of;
            }
            assert!(expected.iter().any(|v| *v != 0.0));
            let (found, sound) = on.finished::<f64>(&sums).unwrap();
            // The square of a large gradient is not finite, which matters for Adam's step only.
            let is_adam = matches!(at_form, 1 | 2);
            assert_eq!(sound, [true, true, true, !is_adam], "form {at_form}");
            for (sample, expected) in expected.chunks_exact(dim).enumerate() {
                let [other, found] = [0, 1].map(|form| &found[(2 * sample + form) * dim..][..dim]);
                assert!(other.iter().all(|total| *total == 0.0));
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    // A device's NaN may have another sign and payload.
                    let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    assert!(same, "form {at_form} to {dim}: {at}: {found}, expected {expected}");
                }
            }
        }
    }
}

/// Gradients as a backward pass leaves them: in the vectors of samples, from `offset` on.
fn rows_of<R: Runtime>(on: &Cuda<R>, values: &[f32], len: usize, offset: usize) -> CudaRows<R::Memory> {
    let samples = values.len() / len;
    let x = on.tensor(vec![1.0], 1, 1).unwrap();
    let mut rows = on.rows(samples, len + offset, None).unwrap();
    for (sample, values) in values.chunks_exact(len).enumerate() {
        let mut spans = vec![0..0; samples];
        spans[sample] = 0..1;
        on.weight_grads(&x, &on.tensor(values.to_vec(), 1, len).unwrap(), &spans, &mut rows, offset).unwrap();
    }
    rows
}

/// Samples with gradients that are not finite, or whose squares are not where these are used, are marked;
/// other samples are not.
pub fn broken_gradients_are_marked<R: Runtime>(on: &Cuda<R>) {
    let adam_form = DeviceForm::adam([0.9, 0.1], [0.999, 0.001], 1e-8, true);
    let zeros = on.tensor(vec![0.0; 2], 1, 2).unwrap();
    let place = FormPlace { offset: 0, start: 0, len: 2 };
    for (value, expected) in [(1.0, true), (1e25, false), (f32::NAN, false), (1e19, true)] {
        let rows = rows_of(on, &[0.5, value, 0.5, 1.0], 2, 0);
        let sums = on.sums([2, 2, 4], true).unwrap();
        let adam = (adam_form, 0);
        let of_adam = on.form(&rows, place, None, adam, [Some(&zeros), Some(&zeros)], &sums).unwrap();
        let plain = on.form(&rows, place, None, (DeviceForm::plain(), 1), [None, None], &sums).unwrap();
        let signs = on.signs(4, 0, &[1, 3 | 1 << 31], 1).unwrap();
        on.add_signs(&plain, &signs, &sums, 1).unwrap();
        let (totals, sound) = on.finished::<f64>(&sums).unwrap();
        assert_eq!(sound, [expected, value.is_finite(), true, true], "{value}");
        assert_eq!(totals[12..], [0.0, 0.5, 0.0, -1.0]);

        let form = |place, form, moments| on.form(&rows, place, None, (form, 0), moments, &sums);
        assert!(form(FormPlace { offset: 1, ..place }, DeviceForm::plain(), [None, None]).is_err());
        assert!(form(place, DeviceForm::normalised(1e-8), [None, None]).is_err());
        let moved = FormPlace { start: 1, ..place };
        assert!(form(moved, DeviceForm::normalised(1e-8), [None, Some(&zeros)]).is_err());
        assert!(on.form(&rows, place, Some(&[2, 0]), (DeviceForm::plain(), 0), [None, None], &sums).is_err());
        assert!(on.add_signs(&of_adam, &signs, &sums, 2).is_err());
        assert!(on.signs(3, 0, &[3], 1).is_err());
    }
}

/// A side as ingestion draws it: for each column one of `rows` rows with a sign, or dense signs with a scale.
fn side(draw: &mut Draw, rows: usize, columns: usize, is_dense: bool) -> ColumnMap {
    let scale = 1.0 / (rows as f32).sqrt();
    let mut entries = Vec::new();
    for source in 0..columns as u32 {
        let chosen = draw.size(rows) - 1;
        for row in (0..rows).filter(|row| is_dense || *row == chosen) {
            let factor = draw.pick(&[-1.0, 1.0]) * if is_dense { scale } else { 1.0 };
            entries.push((row as u32, source, factor));
        }
    }
    ColumnMap { input: columns, out: rows, entries, constant: None }
}

/// Both sides in f64, as ingestion has them (ingest/src/projection/factored): the output side first, then the
/// columns in order or, of a dense side, in eight interleaved sums; then signs.
fn coordinates(
    sides: &ModuleSides,
    signs: Option<&[u32]>,
    dim: usize,
    weight: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let (width, k_in) = (sides.input.input, sides.input.out);
    let by_row = |map: &ColumnMap, row: usize| -> Vec<(usize, f64)> {
        let of_row = map.entries.iter().filter(|entry| entry.0 as usize == row);
        of_row.map(|(_, source, factor)| (*source as usize, f64::from(*factor))).collect()
    };
    let mut cells = Vec::new();
    for row in 0..sides.out.out {
        let (mut folded, mut folded_bias) = (vec![0f64; width], 0f64);
        for (source, factor) in by_row(&sides.out, row) {
            for (sum, value) in folded.iter_mut().zip(&weight[source * width..]) {
                *sum += factor * f64::from(*value);
            }
            folded_bias += factor * bias.get(source).map_or(0.0, |bias| f64::from(*bias));
        }
        for column in 0..k_in {
            let terms: Vec<f64> =
                by_row(&sides.input, column).iter().map(|(source, f)| f * folded[*source]).collect();
            let lanes = if sides.is_dense { 8 } else { 1 };
            let (whole, rest) = terms.split_at(terms.len() / lanes * lanes);
            let mut sums = vec![0f64; lanes];
            for terms in whole.chunks_exact(lanes) {
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
            let constant = sides.constants.get(column).map_or(0.0, |c| f64::from(*c) * folded_bias);
            cells.push(sums.iter().sum::<f64>() + rest.iter().sum::<f64>() + constant);
        }
    }
    signed(signs, dim, &cells)
}

fn signed(signs: Option<&[u32]>, dim: usize, values: &[f64]) -> Vec<f32> {
    let Some(signs) = signs else { return values.iter().map(|value| *value as f32).collect() };
    let mut totals = vec![0f64; dim];
    for (entry, value) in signs.iter().zip(values) {
        totals[(entry & !(1 << 31)) as usize] += if entry >> 31 == 1 { -value } else { *value };
    }
    totals.iter().map(|total| *total as f32).collect()
}

/// Projects a module's weight, whose rows are permuted, and its bias: from formed gradients, and from sums of
/// factors.
pub fn modules_have_the_bits_of_the_cpu<R: Runtime>(on: &Cuda<R>) {
    let (rows, width, first) = (37, 301, 5);
    for (is_dense, has_bias) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut draw = Draw::new(11 + u64::from(is_dense));
        let (k_out, k_in) = (4, 6);
        let sides = ModuleSides {
            out: side(&mut draw, k_out, rows, is_dense),
            input: side(&mut draw, k_in, width, is_dense),
            constants: (0..if has_bias { k_in } else { 0 }).map(|_| draw.pick(&[0.0, -1.0, 1.0])).collect(),
            is_dense,
        };
        let dim = if is_dense { k_out * k_in } else { 10 };
        let signs: Vec<u32> =
            (0..k_out * k_in).map(|_| (draw.size(dim) - 1) as u32 | draw.pick(&[0, 1 << 31])).collect();
        let signs = (!is_dense).then_some(&signs[..]);
        let module = on.module(Some(&sides), signs, dim).unwrap();

        let len = rows * width + rows;
        let values: Vec<f32> = (0..SAMPLES * len).map(|_| draw.value()).collect();
        let order: Vec<u32> = (0..rows as u32).map(|row| (row * 5 + 3) % rows as u32).collect();
        let on_rows = rows_of(on, &values, len, 2);
        let sums = on.sums([SAMPLES, 1, dim + first], false).unwrap();
        let place = FormPlace { offset: 2, start: 100, len: rows * width };
        let form = |place, order| {
            on.form(&on_rows, place, order, (DeviceForm::plain(), 0), [None, None], &sums).unwrap()
        };
        let weight = form(place, Some(&order));
        let bias = form(FormPlace { offset: 2 + rows * width, start: 7, len: rows }, None);
        let bias = has_bias.then_some(&bias);
        on.project_module(&module, &weight, bias, &sums, (0, first)).unwrap();
        let (found, sound) = on.finished::<f32>(&sums).unwrap();
        assert_eq!(sound, [true; SAMPLES]);
        for (values, found) in values.chunks_exact(len).zip(found.chunks_exact(dim + first)) {
            let (weight, bias) = values.split_at(rows * width);
            let weight: Vec<f32> =
                order.iter().flat_map(|row| weight[*row as usize * width..][..width].to_vec()).collect();
            let bias = if has_bias { bias } else { &[] };
            assert!(found[..first].iter().all(|value| *value == 0.0));
            assert_eq!(found[first..], coordinates(&sides, signs, dim, &weight, bias));
        }

        let place = FormPlace { offset: 9, start: 0, len: k_out * k_in };
        on.finish_module(&module, &form(place, None), &sums, (0, first)).unwrap();
        let (found, _) = on.finished::<f32>(&sums).unwrap();
        for (values, found) in values.chunks_exact(len).zip(found.chunks_exact(dim + first)) {
            let summed: Vec<f64> = values[7..][..k_out * k_in].iter().map(|v| f64::from(*v)).collect();
            assert_eq!(found[first..], signed(signs, dim, &summed));
        }

        assert!(on.project_module(&module, &weight, bias, &sums, (0, first + 1)).is_err());
        assert!(on.project_module(&module, &weight, bias, &sums, (1, 0)).is_err());
        let other = if has_bias { None } else { Some(&weight) };
        assert!(on.project_module(&module, &weight, other, &sums, (0, 0)).is_err());
        assert!(on.module(Some(&sides), Some(&[0]), dim).is_err());
    }
    vectors_have_the_bits_of_the_cpu(on);
}

/// A tensor of one axis has only signs.
fn vectors_have_the_bits_of_the_cpu<R: Runtime>(on: &Cuda<R>) {
    let (len, dim) = (300, 7);
    let mut draw = Draw::new(3);
    let values: Vec<f32> = (0..SAMPLES * len).map(|_| draw.value()).collect();
    let signs: Vec<u32> = (0..len).map(|_| (draw.size(dim) - 1) as u32 | draw.pick(&[0, 1 << 31])).collect();
    let module = on.module(None, Some(&signs), dim).unwrap();
    let (rows, sums) = (rows_of(on, &values, len, 0), on.sums([SAMPLES, 1, dim], false).unwrap());
    let place = FormPlace { offset: 0, start: 250, len };
    let formed = on.form(&rows, place, None, (DeviceForm::plain(), 0), [None, None], &sums).unwrap();
    on.project_module(&module, &formed, None, &sums, (0, 0)).unwrap();
    let (found, _) = on.finished::<f32>(&sums).unwrap();
    for (values, found) in values.chunks_exact(len).zip(found.chunks_exact(dim)) {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        assert_eq!(found, signed(Some(&signs), dim, &values));
    }
}
