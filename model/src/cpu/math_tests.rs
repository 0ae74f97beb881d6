use super::*;

/// The largest relative error over values of a grid.
fn error(from: f64, to: f64, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
    let steps = 400_000;
    let at = |i: i32| (from + (to - from) * f64::from(i) / f64::from(steps)) as f32;
    (0..=steps).map(at).fold(0.0, |worst, x| {
        let (found, exact) = (f64::from(f(x)), exact(f64::from(x)));
        if exact == 0.0 { worst } else { worst.max(((found - exact) / exact).abs()) }
    })
}

/// `erfc(x) / 2` for x >= 0: a series for small x, a continued fraction for others.
fn upper_tail(x: f64) -> f64 {
    let z = x * x;
    if x < 2.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let mut f = x;
        for n in (1..200).rev() {
            f = x + f64::from(n) / 2.0 / f;
        }
        0.5 * (-z).exp() / (f * std::f64::consts::PI.sqrt())
    }
}

fn cdf(x: f64) -> f64 {
    let tail = upper_tail(x.abs() / std::f64::consts::SQRT_2);
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[test]
fn functions_are_as_accurate_as_they_say() {
    let found = error(-87.0, 88.0, exp, f64::exp);
    assert!(found < 2e-7, "exp {found}");
    let found = error(-86.0, 50.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
    assert!(found < 4e-7, "sigmoid {found}");
    let found = error(-12.0, 12.0, tanh, f64::tanh);
    assert!(found < 3e-7, "tanh {found}");
    let found = error(-1.0, 8.0, normal_cdf, cdf);
    assert!(found < 4e-7, "normal distribution {found}");
    let found = error(-10.0, -1.0, normal_cdf, cdf);
    assert!(found < 1e-5, "normal distribution, far side {found}");
    assert!(normal_cdf(-30.0) < 1e-22 && normal_cdf(30.0) == 1.0);
}

#[test]
fn what_is_not_a_number_stays_so() {
    for f in [exp, sigmoid, tanh, normal_cdf] {
        assert!(f(f32::NAN).is_nan());
    }
    assert!(exp(-1e9) < 1.3e-38 && exp(f32::NEG_INFINITY) < 1.3e-38);
    assert_eq!((tanh(1e9), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    assert_eq!((sigmoid(1e9), normal_cdf(f32::INFINITY)), (1.0, 1.0));
}

#[test]
fn sums_cover_every_length() {
    for n in 0..70 {
        let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let ones = vec![1.0; n];
        let expected = (0..n).sum::<usize>() as f32;
        assert_eq!(sum(&a), expected);
        assert_eq!(dot(&a, &ones), expected);
        assert_eq!(sum3(&a, &ones, &ones, |a, b, c| a * b * c), expected);
        assert_eq!(max(&a), n.checked_sub(1).map_or(f32::NEG_INFINITY, |m| m as f32));
        let mut b = a.clone();
        let sum = exp_sum(&mut b, 60.0);
        let exact: f64 = a.iter().map(|v| f64::from(*v - 60.0).exp()).sum();
        assert!((f64::from(sum) - exact).abs() <= 1e-6 * exact);
    }
}
