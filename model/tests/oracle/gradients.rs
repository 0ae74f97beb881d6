//! Per-sample gradients, sums over spans, and maps of columns.

use super::*;
use gstore_model::{Backend, ColumnMap, LinearWeights, LoraOperands};

const ROWS: usize = 7;
const INPUT: usize = 5;

/// The second sample has no rows; row 3 belongs to none.
fn spans() -> [std::ops::Range<usize>; 3] {
    [0..3, 4..4, 4..7]
}

/// `sum_t a[t][i] b[t][j]` of a span.
fn outer(a: &[f32], b: &[f32], span: std::ops::Range<usize>) -> Vec<f64> {
    let (n, m) = (a.len() / ROWS, b.len() / ROWS);
    let term =
        |i: usize, j: usize| span.clone().map(move |t| f64::from(a[t * n + i]) * f64::from(b[t * m + j]));
    (0..n * m).map(|at| term(at / m, at % m).sum()).collect()
}

pub fn weight_and_table_gradients_are_added<B: Backend>(on: &B) {
    let (x, grad) = (noise(1, ROWS * INPUT), noise(2, ROWS * 3));
    let (tx, tgrad) = (matrix(on, &x, ROWS, INPUT), matrix(on, &grad, ROWS, 3));
    let ids = [2, 0, 2, 900, 1, 1, 3];
    let width = 2 + 15 + 12;
    let mut out = on.rows(3, width, None).unwrap();
    for _ in 0..2 {
        on.weight_grads(&tx, &tgrad, &spans(), &mut out, 2).unwrap();
        on.table_grads(&ids, &tgrad, 1.5, &spans(), &mut out, 17).unwrap();
    }
    let values = on.host_rows(&mut out).unwrap();
    for (span, found) in spans().into_iter().zip(values.chunks(width)) {
        let mut expected = vec![0.0; 2];
        expected.extend(outer(&grad, &x, span.clone()));
        expected.extend([0.0; 12]);
        for t in span {
            for i in 0..3 {
                expected[17 + ids[t] as usize * 3 + i] += 1.5 * f64::from(grad[t * 3 + i]);
            }
        }
        expected.iter_mut().for_each(|v| *v *= 2.0);
        assert_close(found, &expected, 1e-6);
    }

    // Of all rows together, those of no sample too.
    let mut out = on.rows(1, 17, None).unwrap();
    for _ in 0..2 {
        on.summed_weight_grads(&tx, &tgrad, &mut out, 2).unwrap();
    }
    let mut expected = vec![0.0; 2];
    expected.extend(outer(&grad, &x, 0..ROWS).into_iter().map(|v| 2.0 * v));
    assert_close(on.host_rows(&mut out).unwrap(), &expected, 1e-6);

    // Of factors that are short compared with their gradient, and of others.
    for (out, n) in [(3, INPUT), (9, 70)] {
        let (x, grad) = (noise(4, ROWS * n), noise(5, ROWS * out));
        let (tx, tgrad) = (matrix(on, &x, ROWS, n), matrix(on, &grad, ROWS, out));
        let found = on.weight_energies(&tx, &tgrad, &spans()).unwrap();
        assert_eq!(found.len(), 3);
        for (span, found) in spans().into_iter().zip(found) {
            let gradient = outer(&grad, &x, span);
            let expected = dot(&gradient, &gradient);
            assert!((found - expected).abs() <= 2e-6 * expected, "{found} is not {expected}");
        }
        on.weight_energies(&tx, &tgrad, &[0..ROWS + 1]).unwrap_err();
    }

    // Of rows with themselves: wider than what is multiplied at a time.
    let n = 70;
    let x = noise(3, ROWS * n);
    let tx = matrix(on, &x, ROWS, n);
    for step in [2, ROWS, ROWS + 1] {
        let spans = (0..ROWS).step_by(step).map(|start| start..ROWS.min(start + step));
        let expected: Vec<Vec<f64>> = spans.map(|span| outer(&x, &x, span)).collect();
        // Of each row, how many sums have been handed; of each sum, the row that comes next.
        let (mut handed, mut next) = (vec![0; n], vec![0; expected.len()]);
        on.grams(&tx, step, &mut |rows, first, values| {
            let at = handed[rows.start];
            assert!(
                rows.start == next[at] && first <= rows.start,
                "{rows:?} from {first} after {}",
                next[at]
            );
            next[at] = rows.end;
            let sum = &expected[at];
            let expected: Vec<f64> =
                sum[rows.start * n..rows.end * n].chunks(n).flat_map(|row| &row[first..]).copied().collect();
            assert_close(values, &expected, 1e-6);
            handed[rows].iter_mut().for_each(|count| *count += 1);
        })
        .unwrap();
        assert_eq!(handed, vec![expected.len(); n]);
    }
}

pub fn gradients_of_factors_are_added<B: Backend>(on: &B) {
    let x = noise(1, ROWS * INPUT);
    let tx = matrix(on, &x, ROWS, INPUT);
    let shapes = [(2, 4, 0.5f32), (3, 6, 2.0)];
    let factors: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(i, (rank, out, _))| {
            let seed = 10 * i as u64;
            (noise(seed + 2, ROWS * out), noise(seed + 3, rank * INPUT), noise(seed + 4, out * rank))
        })
        .collect();
    let tensors: Vec<_> = factors
        .iter()
        .zip(shapes)
        .map(|((e, a, b), (rank, out, _))| {
            (matrix(on, e, ROWS, out), matrix(on, a, rank, INPUT), matrix(on, b, out, rank))
        })
        .collect();
    let (mut parts, mut offset) = (Vec::new(), 1);
    for ((grad, a, b), (rank, out, scaling)) in tensors.iter().zip(shapes) {
        let b_offset = offset + rank * INPUT;
        parts.push(LoraOperands { grad, a, b, scaling, a_offset: offset, b_offset });
        offset = b_offset + out * rank;
    }
    let mut out = on.rows(3, offset, None).unwrap();
    for _ in 0..2 {
        on.lora_grads(&tx, &parts, &spans(), &mut out).unwrap();
    }
    let values = on.host_rows(&mut out).unwrap();
    for (span, found) in spans().into_iter().zip(values.chunks(offset)) {
        let mut expected = vec![0.0];
        for ((e, a, b), (rank, out, scaling)) in factors.iter().zip(shapes) {
            let de = outer(e, &x, span.clone());
            let s = f64::from(scaling);
            let (a, b) = (wide(a), wide(b));
            let at = |r: usize, i: usize| (0..out).map(|o| b[o * rank + r] * de[o * INPUT + i]).sum::<f64>();
            expected.extend((0..rank * INPUT).map(|n| s * at(n / INPUT, n % INPUT)));
            let at = |o: usize, r: usize| dot(&de[o * INPUT..][..INPUT], &a[r * INPUT..][..INPUT]);
            expected.extend((0..out * rank).map(|n| s * at(n / rank, n % rank)));
        }
        expected.iter_mut().for_each(|v| *v *= 2.0);
        assert_close(found, &expected, 3e-6);
    }
}

pub fn rows_are_gathered_added_and_summed<B: Backend>(on: &B) {
    let (x, y, weights) = (noise(1, ROWS * INPUT), noise(2, 2 * INPUT), noise(3, ROWS));
    let tx = matrix(on, &x, ROWS, INPUT);
    assert_eq!(on.size(&tx), (ROWS, INPUT));
    let two = on.gather(&tx, &[6, 2]).unwrap();
    assert_eq!(host(on, &two), [&x[6 * INPUT..], &x[2 * INPUT..3 * INPUT]].concat());
    let sum = on.add(two, &matrix(on, &y, 2, INPUT)).unwrap();
    let expected: Vec<f64> =
        host(on, &on.gather(&tx, &[6, 2]).unwrap()).iter().zip(&y).map(|(a, b)| f64::from(a + b)).collect();
    assert_close(&host(on, &sum), &expected, 0.0);
    let scattered = on.scatter_add(matrix(on, &[0.0; 3 * INPUT], 3, INPUT), &[2, 0], &sum).unwrap();
    assert_eq!(host(on, &scattered)[..INPUT], host(on, &sum)[INPUT..]);
    assert_eq!(host(on, &scattered)[2 * INPUT..], host(on, &sum)[..INPUT]);

    let sums = on.span_sums(&tx, &weights, &spans()).unwrap();
    let expected: Vec<f64> = spans().into_iter().flat_map(|span| outer(&weights, &x, span)).collect();
    assert_close(&sums, &expected, 1e-6);
}

pub fn columns_are_mapped_like_by_the_matrix<B: Backend>(on: &B) {
    let x = noise(1, ROWS * INPUT);
    let map = ColumnMap {
        input: INPUT,
        out: 3,
        entries: vec![(2, 0, 0.5), (0, 1, -1.0), (2, 1, 2.0), (0, 4, 3.0)],
        constant: Some((2, 0.75)),
    };
    let mut dense = vec![0.0; 3 * INPUT];
    for (to, from, factor) in &map.entries {
        dense[*to as usize * INPUT + *from as usize] = *factor;
    }
    let bias = Some(vec![0.0, 0.0, 0.75]);
    let layer = on.pack(LinearWeights { weight: dense, out: 3, input: INPUT, bias }).unwrap();
    let tx = matrix(on, &x, ROWS, INPUT);
    let expected = host(on, &on.linear(&layer, &tx, None).unwrap());
    assert_close(&host(on, &on.map_columns(&tx, &map).unwrap()), &wide(&expected), 1e-6);
}

pub fn rows_begin_at_zero_in_any_memory<B: Backend>(on: &B) {
    let (x, grad) = (matrix(on, &noise(1, ROWS * INPUT), ROWS, INPUT), matrix(on, &noise(2, ROWS), ROWS, 1));
    let mut old = on.rows(3, INPUT, None).unwrap();
    on.weight_grads(&x, &grad, &spans(), &mut old, 0).unwrap();
    assert!(on.host_rows(&mut old).unwrap().iter().any(|v| *v != 0.0));
    for (samples, width) in [(2, 4), (3, 9)] {
        old = on.rows(samples, width, Some(old)).unwrap();
        assert_eq!(on.host_rows(&mut old).unwrap(), vec![0.0; samples * width]);
    }
    // The first sum over whole vectors, in memory with other values, and a second; and over parts of vectors.
    for (width, offset) in [(INPUT, 0), (INPUT + 2, 1)] {
        let mut fresh = on.rows(3, width, None).unwrap();
        on.host_rows(&mut old).unwrap().fill(7.0);
        old = on.rows(3, width, Some(old)).unwrap();
        for _ in 0..2 {
            on.weight_grads(&x, &grad, &spans(), &mut fresh, offset).unwrap();
            on.weight_grads(&x, &grad, &spans(), &mut old, offset).unwrap();
            assert_eq!(on.host_rows(&mut old).unwrap(), on.host_rows(&mut fresh).unwrap());
        }
    }
}
