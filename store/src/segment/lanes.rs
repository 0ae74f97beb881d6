//! Sums over the coordinates of a module group: in f64 in eight lanes (coordinate i of the group goes to lane
//! i mod 8), which are added pairwise. The same bits on every machine.

/// The sum of a function of each value.
#[inline]
pub(super) fn sum(group: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0f64; 8];
    let (chunks, rest) = group.as_chunks::<8>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += of(f64::from(*v));
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += of(f64::from(*v));
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
