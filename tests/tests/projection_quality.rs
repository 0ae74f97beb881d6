//! Promise: the default projection errs as its variance says, and no more.

use crate::golden_less::reference;
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::DType;
use gstore_tests::reference::{How, Reference};

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn cosines_of_the_default_projection_spread_as_predicted() {
    let Some(exact) = reference("cosines_of_the_default_projection_spread_as_predicted") else { return };
    let kinds = vec![Kind::GradAdam];
    let default = How { kinds, projection: ProjectionSpec::default(), dtype: DType::F16 };
    let projected = Reference::new(exact.shared.clone(), &default).matrix();
    let exact = exact.matrix();
    let dim = f64::from(ProjectionSpec::default().dim);
    let (mut observed, mut predicted, mut bias, mut count) = (0.0, 0.0, 0.0, 0.0);
    for (got, expected) in projected.sim.iter().flatten().zip(exact.sim.iter().flatten()) {
        let (got, rho) = (f64::from(got.expect("a cosine")), f64::from(expected.expect("a cosine")));
        observed += (got - rho).powi(2);
        bias += got - rho;
        // The lengths are projected too, so the errors of numerator and denominator partly cancel: to
        // first order (1 - rho^2)^2 / k, where the inner product of unit vectors alone would have
        // (1 + rho^2 - 2 sum x^2 y^2) / k.
        predicted += (1.0 - rho * rho).powi(2) / dim;
        count += 1.0;
    }
    let (observed, predicted, bias) = ((observed / count).sqrt(), (predicted / count).sqrt(), bias / count);
    println!("{count} cosines: error {observed:.5}, predicted {predicted:.5}, mean {bias:+.5}");
    // Rows share the optimizer's momentum and targets share their skill, so these are far fewer
    // independent errors than cosines.
    assert!(
        (0.75..1.33).contains(&(observed / predicted)),
        "error {observed} against a predicted {predicted}"
    );
    assert!(bias.abs() < predicted / 2.0, "mean error {bias} against a spread of {predicted}");
}
