//! The numbers of the specification's example, and the factors against differences of the objective's value.

use super::*;

const Z0: [[f64; 3]; 2] = [[1.0, 0.0, -1.0], [0.2, 0.4, -0.1]];
const Z: [[f64; 3]; 2] = [[1.2, -0.1, -0.9], [0.1, 0.7, -0.3]];
const TARGETS: [usize; 2] = [0, 1];
const XI: [f64; 2] = [0.75, 0.10];

fn of(variant: Variant, rho: f64) -> Perturbation {
    Perturbation { variant, rho, ..Perturbation::default() }
}

fn log_sum(z: &[f64]) -> f64 {
    z.iter().map(|z| z.exp()).sum::<f64>().ln()
}

/// The gradient of the cross-entropy.
fn slopes(z: &[f64; 3], target: usize) -> [f64; 3] {
    std::array::from_fn(|i| (z[i] - log_sum(z)).exp() - if i == target { 1.0 } else { 0.0 })
}

/// Cross-entropy of a row of the example with these logits, that of its starting point, and the linear term.
fn terms(z: &[f64; 3], row: usize) -> [f64; 3] {
    let (base, target) = (&Z0[row], TARGETS[row]);
    let linear = z.iter().zip(base).zip(slopes(base, target)).map(|((z, base), slope)| (z - base) * slope);
    [log_sum(z) - z[target], log_sum(base) - base[target], linear.sum()]
}

/// The objective of a row of the example with these logits.
fn value(objective: &Perturbation, z: &[f64; 3], row: usize) -> f64 {
    let [loss, base_loss, linear] = terms(z, row);
    let near = match objective.variant {
        Variant::Efim => (loss - base_loss).powi(2),
        Variant::Subset => loss,
        _ => loss - base_loss,
    };
    objective.gamma * near - objective.weight(XI[row]) * linear
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 6e-7, "{found} instead of {expected}");
}

#[test]
fn values_of_the_example() {
    let expected = [[0.332886, 0.407606, -0.082422], [0.650600, 0.885939, -0.260078]];
    for (row, expected) in expected.into_iter().enumerate() {
        terms(&Z[row], row).into_iter().zip(expected).for_each(|(found, expected)| close(found, expected));
    }
    for (variant, weights) in
        [(Variant::If, [1.5, 0.2]), (Variant::Efim, [0.5, -0.8]), (Variant::Trak, [0.5, -0.8])]
    {
        for (xi, weight) in XI.into_iter().zip(weights) {
            close(of(variant, 1.0).weight(xi), weight);
        }
    }
    close(of(Variant::If, 10.0).weight(0.0), -9.0);
    for (variant, rho, expected) in [
        (Variant::If, 1.0, -0.067205),
        (Variant::Efim, 1.0, -0.052942),
        (Variant::If, 10.0, -0.818038),
        (Variant::Efim, 10.0, -0.803775),
    ] {
        let objective = of(variant, rho);
        close((value(&objective, &Z[0], 0) + value(&objective, &Z[1], 1)) / 2.0, expected);
    }
}

#[test]
fn factors_give_the_gradient_of_the_value() {
    let variants = [Variant::If, Variant::Efim, Variant::Subset];
    let objectives = variants.into_iter().flat_map(|variant| {
        [(1.0, 1.0), (10.0, 0.3)].map(|(rho, gamma)| Perturbation { rho, gamma, ..of(variant, rho) })
    });
    for objective in objectives {
        for row in 0..2 {
            let [loss, base_loss, _] = terms(&Z[row], row);
            let [change, linear] = objective.factors(loss - base_loss, XI[row]).map(f64::from);
            let (own, base) = (slopes(&Z[row], TARGETS[row]), slopes(&Z0[row], TARGETS[row]));
            for at in 0..3 {
                let moved = |step: f64| {
                    let mut z = Z[row];
                    z[at] += step;
                    value(&objective, &z, row)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let found = change * own[at] - linear * base[at];
                // The factors are f32.
                assert!((found - expected).abs() < 1e-5, "{objective:?} {row} {at}: {found} {expected}");
            }
        }
    }
}

#[test]
fn what_cannot_be_trained_is_refused() {
    for bad in [
        of(Variant::If, f64::NAN),
        of(Variant::If, -1.0),
        of(Variant::If, 0.0),
        of(Variant::Efim, 0.0),
        of(Variant::Trak, 1.0),
        Perturbation { gamma: f64::INFINITY, ..Perturbation::default() },
        Perturbation { variant: Variant::Subset, gamma: 0.0, ..Perturbation::default() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    for good in [of(Variant::If, 10.0), of(Variant::Efim, 1.0), of(Variant::Subset, 0.0)] {
        assert!(good.check().is_ok(), "{good:?}");
    }
    assert!("if".parse::<Variant>().is_ok() && "IF".parse::<Variant>().is_err());
}
