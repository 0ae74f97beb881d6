//! The numbers of the specification's example, and gradients against differences of the value.

use super::*;

const Z0: [[f64; 3]; 2] = [[1.0, 0.0, -1.0], [0.2, 0.4, -0.1]];
const Z: [[f64; 3]; 2] = [[1.2, -0.1, -0.9], [0.1, 0.7, -0.3]];
const TARGETS: [usize; 2] = [0, 1];
const XI: [f64; 2] = [0.75, 0.10];

fn rows() -> Vec<(RowTerms, f64)> {
    (0..2).map(|i| (RowTerms::of(&Z[i], &Z0[i], TARGETS[i]), XI[i])).collect()
}

fn of(variant: Variant, rho: f64) -> Perturbation {
    Perturbation { variant, rho, ..Perturbation::default() }
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 6e-7, "{found} instead of {expected}");
}

#[test]
fn terms_of_the_example() {
    let expected = [
        [0.332886, 0.407606, -0.082422, 0.007702, -0.928899, -0.686738],
        [0.650600, 0.885939, -0.260078, 0.024739, -0.086985, 0.354355],
    ];
    for ((row, _), [loss, base, linear, bregman, margin, base_margin]) in rows().into_iter().zip(expected) {
        close(row.loss, loss);
        close(row.base_loss, base);
        close(row.linear, linear);
        close(row.loss - row.base_loss - row.linear, bregman);
        close(row.neg_margin, margin);
        close(row.base_neg_margin, base_margin);
    }
}

#[test]
fn weights_of_the_example() {
    for (variant, weights) in
        [(Variant::If, [1.5, 0.2]), (Variant::Efim, [0.5, -0.8]), (Variant::Trak, [0.5, -0.8])]
    {
        for (xi, weight) in XI.into_iter().zip(weights) {
            close(of(variant, 1.0).weight(xi), weight);
        }
    }
    // Noise that turns signs is legal.
    close(of(Variant::If, 10.0).weight(0.0), -9.0);
}

#[test]
fn values_of_the_example() {
    for (rho, expected) in
        [(1.0, [-0.067205, -0.052942, 0.043286]), (10.0, [-0.818038, -0.803775, -0.707547])]
    {
        for (variant, value) in [Variant::If, Variant::Efim, Variant::Trak].into_iter().zip(expected) {
            close(of(variant, rho).mean(&rows()), value);
        }
    }
}

#[test]
fn gradients_are_those_of_the_value() {
    let objectives = Variant::ALL.into_iter().flat_map(|variant| {
        [(1.0, 1.0), (10.0, 0.3)].map(|(rho, gamma)| Perturbation { rho, gamma, ..of(variant, rho) })
    });
    for objective in objectives {
        for i in 0..2 {
            let found = objective.gradient(&Z[i], &Z0[i], TARGETS[i], XI[i]);
            for at in 0..3 {
                let moved = |step: f64| {
                    let mut z = Z[i];
                    z[at] += step;
                    objective.value(&RowTerms::of(&z, &Z0[i], TARGETS[i]), XI[i])
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (found[at] - expected).abs() < 1e-8,
                    "{objective:?} {i} {at}: {} {expected}",
                    found[at]
                );
            }
        }
    }
}

#[test]
fn only_noise_moves_a_model_from_where_it_starts() {
    let z = Z0[0];
    let still = Perturbation { rho: 0.0, ..Perturbation::default() };
    assert!(still.gradient(&z, &z, 0, 0.3).iter().all(|v| v.abs() < 1e-15));
    assert!(of(Variant::If, 1.0).gradient(&z, &z, 0, 0.3).iter().any(|v| v.abs() > 1e-3));
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
