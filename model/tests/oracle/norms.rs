//! Norms and rotary positions.

use super::*;
use gstore_model::{Backend, NormFactors, NormForm, NormKind, NormWeights};

const ROWS: usize = 5;
const EPS: f32 = 1e-5;

struct Case {
    kind: NormKind,
    /// Width of the weight.
    width: usize,
    groups: usize,
    bias: bool,
}

const CASES: [Case; 5] = [
    Case { kind: NormKind::Rms, width: 37, groups: 1, bias: false },
    Case { kind: NormKind::Rms, width: 20, groups: 3, bias: true },
    Case { kind: NormKind::Layer, width: 37, groups: 1, bias: true },
    Case { kind: NormKind::Layer, width: 20, groups: 3, bias: true },
    Case { kind: NormKind::Layer, width: 16, groups: 2, bias: false },
];

/// Returns the result and each group's r and mean.
fn reference(kind: NormKind, x: &[f64], weight: &[f64], bias: &[f64]) -> (Vec<f64>, Vec<(f64, f64)>) {
    let n = weight.len() as f64;
    let (mut out, mut stats) = (Vec::new(), Vec::new());
    for x in x.chunks(weight.len()) {
        let mean = if kind == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
        let square = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let r = (square + f64::from(EPS)).sqrt().recip();
        out.extend(x.iter().zip(weight).zip(bias).map(|((x, w), b)| (x - mean) * r * w + b));
        stats.push((r, mean));
    }
    (out, stats)
}

pub fn norms_and_their_gradients_agree<B: Backend>(on: &B) {
    for (seed, Case { kind, width, groups, bias }) in CASES.into_iter().enumerate() {
        let (seed, cols) = (seed as u64 * 10, width * groups);
        // Off-centre, so that a mean that is lost in rounding shows.
        let x: Vec<f32> = noise(seed, ROWS * cols).iter().map(|v| v * 2.0 + 3.0).collect();
        let (w, c, acc) =
            (noise(seed + 1, width), noise(seed + 3, ROWS * cols), noise(seed + 4, ROWS * cols));
        let b = if bias { noise(seed + 2, width) } else { vec![0.0; width] };
        let form = NormForm { kind, eps: EPS };
        let weights =
            NormWeights { weight: matrix(on, &w, 1, width), bias: bias.then(|| matrix(on, &b, 1, width)) };
        let (tx, tc) = (matrix(on, &x, ROWS, cols), matrix(on, &c, ROWS, cols));

        let (out, stats) = on.norm(&tx, &weights, form).unwrap();
        let (expected, pairs) = reference(kind, &wide(&x), &wide(&w), &wide(&b));
        assert_close(&host(on, &out), &expected, 2e-6);
        let layout: Vec<f64> = pairs
            .chunks(groups)
            .flat_map(|row| {
                let means = row.iter().filter(|_| kind == NormKind::Layer).map(|p| p.1);
                row.iter().map(|p| p.0).chain(means).collect::<Vec<_>>()
            })
            .collect();
        assert_close(&host(on, &stats), &layout, 2e-6);

        let factors = NormFactors { grad: &tc, x: &tx, stats: &stats, form };
        let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&reference(kind, x, w, b).0, &wide(&c));
        let dx = all_slopes(&x, |x| loss(x, &wide(&w), &wide(&b)));
        let found = on.norm_backward(&factors, &weights, None).unwrap();
        assert_close(&host(on, &found), &dx, 5e-6);
        let added: Vec<f64> = dx.iter().zip(&acc).map(|(d, a)| d + f64::from(*a)).collect();
        let onto = Some(matrix(on, &acc, ROWS, cols));
        let found = on.norm_backward(&factors, &weights, onto).unwrap();
        assert_close(&host(on, &found), &added, 5e-6);

        // Rows 1 and 2 are one sample, row 4 another; the rest belongs to none.
        let spans = [1..3, 4..5];
        let per_sample = 2 * width + 1;
        let mut rows = on.rows(2, per_sample, None).unwrap();
        for _ in 0..2 {
            on.norm_grads(&factors, width, &spans, &mut rows, [Some(1), Some(1 + width)]).unwrap();
        }
        let values = on.host_rows(&mut rows).unwrap();
        for (span, found) in spans.into_iter().zip(values.chunks(per_sample)) {
            let range = span.start * cols..span.end * cols;
            let (x, c) = (wide(&x[range.clone()]), wide(&c[range]));
            let loss = |w: &[f64], b: &[f64]| dot(&reference(kind, &x, w, b).0, &c);
            let mut expected = vec![0.0];
            expected.extend(all_slopes(&w, |w| loss(w, &wide(&b))).iter().map(|d| d * 2.0));
            expected.extend(all_slopes(&b, |b| loss(&wide(&w), b)).iter().map(|d| d * 2.0));
            assert_close(found, &expected, 5e-6);
        }
    }
}

pub fn a_partial_rotation_leaves_the_rest_of_a_head<B: Backend>(on: &B) {
    let (heads, head_dim, half) = (3, 14, 4);
    let x = noise(1, ROWS * heads * head_dim);
    let angles = noise(2, ROWS * half);
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
    let (tcos, tsin) = (matrix(on, &cos, ROWS, half), matrix(on, &sin, ROWS, half));
    let mut expected = wide(&x);
    for (i, head) in expected.chunks_mut(head_dim).enumerate() {
        for j in 0..half {
            let (sin, cos) = f64::from(angles[i / heads * half + j]).sin_cos();
            let (a, b) = (head[j], head[j + half]);
            (head[j], head[j + half]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
    let turned = on.rope(matrix(on, &x, ROWS, heads * head_dim), &tcos, &tsin, head_dim, false).unwrap();
    assert_close(&host(on, &turned), &expected, 1e-6);
    let back = on.rope(turned, &tcos, &tsin, head_dim, true).unwrap();
    assert_close(&host(on, &back), &wide(&x), 1e-6);
}
