//! Promise: factors that cannot be inverted are refused by module and reason; all others give finite scores.

use gstore_curvature::{
    Covariance, CurvatureError, Damping, Eigen, Filter, ModuleFactors, Squares, Strategy, dot, low_rank,
};

use crate::common::{fit, gradient, module, token};

/// Factors of one token: covariances of rank one.
fn of_one_token() -> (gstore_curvature::Module, ModuleFactors, Vec<f64>) {
    let module = module(3, 5, true);
    let sample = vec![token(&[1.0, -2.0, 0.5, 3.0, 1.0], &[0.3, -1.0, 2.0])];
    let factors = fit(&module, std::slice::from_ref(&sample));
    let gradient = gradient(&module, &sample);
    (module, factors, gradient)
}

#[test]
fn covariances_without_full_rank_have_damped_inverses() {
    let (module, factors, gradient) = of_one_token();
    for eigen in [&factors.activation_eigen, &factors.gradient_eigen] {
        let values = &eigen.as_ref().unwrap().values;
        assert!(values.iter().all(|value| *value >= 0.0) && values.is_sorted(), "{values:?}");
    }
    for strategy in Strategy::ALL {
        for damping in [Damping::OfMean, Damping::Value(1e-8)] {
            let inverse = factors.inverse(&module, strategy, damping).expect("an inverse");
            let own = dot(&inverse.apply(&gradient), &gradient);
            assert!(own.is_finite() && own > 0.0, "{strategy:?} {damping:?}: {own}");
        }
    }
}

#[test]
fn without_damping_zeros_have_no_inverse() {
    let (module, factors, gradient) = of_one_token();
    let inverse = |strategy| factors.inverse(&module, strategy, Damping::Value(0.0));
    for strategy in [Strategy::Kfac, Strategy::Ekfac] {
        let refused = inverse(strategy).unwrap_err();
        assert!(matches!(refused, CurvatureError::Singular { zeros: 14, all: 15, .. }), "{refused}");
        assert!(refused.to_string().starts_with("module `m`: with a damping of 0"), "{refused}");
    }
    // A segment of training needs no inverse.
    let segment = Filter::source(10, 0.1).unwrap();
    for strategy in Strategy::ALL {
        let own = dot(&factors.filtered(&module, strategy, segment).unwrap().apply(&gradient), &gradient);
        assert!(own > 0.0 && own < dot(&gradient, &gradient), "{strategy:?}: {own}");
    }
    // No value of this gradient is 0.
    assert!(inverse(Strategy::Diagonal).is_ok() && inverse(Strategy::Identity).is_ok());
    // A tenth of a mean of 0 is also 0.
    let none = ModuleFactors { diagonal: Some(Squares::new(15)), ..ModuleFactors::default() };
    let refused = none.inverse(&module, Strategy::Diagonal, Damping::OfMean).unwrap_err();
    assert!(matches!(refused, CurvatureError::Singular { zeros: 15, .. }), "{refused}");
    let least = Damping::Value(f64::from_bits(1));
    let refused = none.inverse(&module, Strategy::Diagonal, least).unwrap_err();
    assert_eq!(refused.to_string(), "module `m`: the inverse of the curvature is not finite");
}

#[test]
fn dampings_are_numbers_that_are_not_negative() {
    for value in [-1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(Damping::value(value).is_err(), "{value}");
    }
    assert_eq!(
        (Damping::value(0.0), Damping::value(1e-3)),
        (Ok(Damping::Value(0.0)), Ok(Damping::Value(1e-3)))
    );
}

#[test]
fn values_that_are_no_numbers_are_named() {
    let (module, factors, _) = of_one_token();
    let mut broken = factors.clone();
    broken.gradient.as_mut().unwrap().sums[4] = f64::NAN;
    let refused = broken.decompose(&module).unwrap_err();
    assert_eq!(refused.to_string(), "module `m`: gradient covariance is not finite");

    let mut broken = factors.clone();
    broken.lambda.as_mut().unwrap().sums[0] = f64::INFINITY;
    let refused = broken.eigenvalues(&module, Strategy::Ekfac).unwrap_err();
    assert!(matches!(refused, CurvatureError::NotFinite { what: "curvature", .. }), "{refused}");
    assert!(low_rank(&[f64::NAN; 12], (3, 4), 1).is_none());
}

#[test]
fn what_is_missing_or_of_another_size_is_named() {
    let (module, factors, _) = of_one_token();
    let none = ModuleFactors::default();
    assert!(none.inverse(&module, Strategy::Identity, Damping::OfMean).is_ok());
    for strategy in [Strategy::Diagonal, Strategy::Kfac, Strategy::Ekfac] {
        let refused = none.inverse(&module, strategy, Damping::OfMean).unwrap_err();
        assert!(refused.to_string().contains(strategy.name()), "{refused}");
    }
    let no_bases = ModuleFactors { lambda: factors.lambda.clone(), ..ModuleFactors::default() };
    let refused = no_bases.inverse(&module, Strategy::Ekfac, Damping::OfMean).unwrap_err();
    assert!(matches!(refused, CurvatureError::Missing { what: "activation eigenvectors", .. }), "{refused}");
    assert!(matches!(none.clone().decompose(&module), Err(CurvatureError::Missing { .. })));

    let mut other = factors.clone();
    other.activation_eigen = Some(Eigen { values: vec![1.0; 2], vectors: vec![1.0, 0.0, 0.0, 1.0] });
    let refused = other.inverse(&module, Strategy::Ekfac, Damping::OfMean).unwrap_err();
    assert!(matches!(refused, CurvatureError::Size { found: 4, expected: 25, .. }), "{refused}");
    other.lambda = Some(Squares::new(4));
    let refused = other.eigenvalues(&module, Strategy::Ekfac).unwrap_err();
    assert!(matches!(refused, CurvatureError::Size { found: 4, expected: 15, .. }), "{refused}");
    let torn = Covariance { size: 5, sums: vec![0.0; 3], count: 1 };
    let mut torn = ModuleFactors { activation: Some(torn), ..factors };
    assert!(matches!(torn.decompose(&module), Err(CurvatureError::Size { found: 3, expected: 25, .. })));
}

#[test]
fn strategies_are_found_by_their_names() {
    for strategy in Strategy::ALL {
        assert_eq!(Strategy::parse(strategy.name()), Some(strategy));
    }
    assert_eq!(Strategy::parse("diagfisher"), None);
}
