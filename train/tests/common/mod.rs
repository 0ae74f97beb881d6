//! Helpers of the tests: the reference runs, and models made on the spot.

pub mod closeness;
pub mod golden;
#[path = "../../../data/tests/support/mod.rs"]
pub mod support;

/// Asserts that two numbers are equal to a relative tolerance.
#[track_caller]
pub fn assert_close(found: f64, expected: f64, tolerance: f64, name: &str) {
    let distance = (found - expected).abs() / expected.abs().max(1e-30);
    assert!(distance <= tolerance, "{name}: {found} instead of {expected} ({distance:e})");
}

/// The L2 norm of the difference over that of `expected`.
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let off = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (off / square(&mut expected.iter().map(|v| f64::from(*v))).max(1e-60)).sqrt()
}
