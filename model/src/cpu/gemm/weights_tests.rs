use super::*;

/// The bits of bf16, to nearest and ties to even, by comparing both neighbours.
fn nearest(x: f32) -> u32 {
    if x.is_nan() {
        return 0x7fc0;
    }
    let below = x.to_bits() >> 16;
    let (down, up) = (f32::from_bits(below << 16), f32::from_bits((below + 1) << 16));
    let [down, up] = [down, up].map(|near| (f64::from(near) - f64::from(x)).abs());
    if up < down || up == down && below % 2 == 1 { below + 1 } else { below }
}

/// The panels of `[k, n]`, value by value.
fn panels(k: usize, n: usize, format: PanelFormat, at: impl Fn(usize, usize) -> f32) -> Vec<Vec<u32>> {
    let half = |p: usize, j: usize| if p < k { nearest(at(p, j)) } else { 0 };
    // What the nearest bf16 leaves; nothing of what is no number.
    let low = |p: usize, j: usize| {
        let rest = if p < k { at(p, j) - f32::from_bits(nearest(at(p, j)) << 16) } else { 0.0 };
        nearest(if rest.is_finite() { rest } else { 0.0 })
    };
    let pairs = k.div_ceil(2);
    let value = |row: usize, j: usize| match format {
        _ if j >= n => 0,
        PanelFormat::Single => at(row, j).to_bits(),
        PanelFormat::Rounded if at(row, j).is_nan() => at(row, j).to_bits(),
        PanelFormat::Rounded => nearest(at(row, j)) << 16,
        PanelFormat::Split if row >= pairs => low(2 * (row - pairs), j) | low(2 * (row - pairs) + 1, j) << 16,
        PanelFormat::Paired | PanelFormat::Split => half(2 * row, j) | half(2 * row + 1, j) << 16,
    };
    let depth = match format {
        PanelFormat::Paired => pairs,
        PanelFormat::Split => 2 * pairs,
        PanelFormat::Single | PanelFormat::Rounded => k,
    };
    let panel = |first: usize| -> Vec<u32> {
        (0..depth * PANEL).map(|i| value(i / PANEL, first + i % PANEL)).collect()
    };
    (0..n).step_by(PANEL).map(panel).collect()
}

fn bits(side: &PanelMatrix) -> Vec<Vec<u32>> {
    let bits = |j: usize| side.values(j).iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    (0..side.n.div_ceil(PANEL)).map(bits).collect()
}

/// Values of many magnitudes, ties of rounding and special ones among them.
fn weight(len: usize, seed: u32) -> Vec<f32> {
    let special =
        [0.0, -0.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE / 2.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0];
    let value = |i: u32| match i % 11 {
        3 => special[(i / 11) as usize % special.len()],
        _ => (0.1 + i as f32).sin() * 2f32.powi(i.wrapping_mul(7) as i32 % 40 - 20),
    };
    (0..len as u32).map(|i| value(i + seed)).collect()
}

#[test]
fn panels_hold_what_a_loop_over_the_values_gives_before_and_after_a_weight_is_replaced() {
    for (out, input) in [(1, 1), (3, 5), (32, 32), (33, 31), (40, 64), (65, 97), (64, 33), (31, 130)] {
        for format in [PanelFormat::Single, PanelFormat::Rounded, PanelFormat::Paired, PanelFormat::Split] {
            let expected = |weight: &[f32]| {
                let forward = panels(input, out, format, |p, j| weight[j * input + p]);
                [forward, panels(out, input, format, |p, j| weight[p * input + j])]
            };
            let [first, second, third] = [0, 1000, 2000].map(|seed| weight(out * input, seed));
            let mut weights = PackedWeights::pack(&first, out, input, format);
            assert_eq!(bits(weights.forward()), expected(&first)[0], "{out} x {input} {format:?}");
            // Replaced without panels for the backward, and with them.
            weights.replace(&second);
            for weight in [&second, &third] {
                weights.replace(weight);
                let found = [bits(weights.forward()), bits(weights.backward())];
                assert_eq!(found, expected(weight), "{out} x {input} {format:?}");
            }
            let address = weights.backward().values(0).as_ptr();
            weights.replace(&first);
            assert_eq!(weights.backward().values(0).as_ptr(), address);
        }
    }
}
