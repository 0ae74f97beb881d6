//! Promise: what a block of an eigenbasis keeps of a gradient and what it leaves out are the whole gradient.

use crate::common::tiny::Tiny;
use crate::curvature::{basis, computed, cpu, fitted, samples};
use gstore_curvature::ModuleFactors;
use gstore_ingest::curvature::CurvatureEngine;
use gstore_ingest::projection::{
    EigenBlock, FactoredProjector, ModuleShape, ProjectionRoute, ProjectionSpec,
};

/// Sequences of which factors are fewer numbers than gradients and such of which they are more, one without a
/// scored token, and one whose head comes in two pieces.
const SHAPES: [(usize, usize); 5] = [(9, 2), (5, 5), (31, 25), (150, 2), (12, 6)];

/// By module the squared length of a gradient, from some of its coordinates.
fn energies(row: &[f64], modules: &[ModuleShape], spec: &ProjectionSpec) -> Vec<f64> {
    let projector = FactoredProjector::new(spec, modules, None).unwrap();
    let blocks = spec.basis.as_ref().unwrap().blocks();
    let of_module = |(at, module): (usize, &ModuleShape)| -> f64 {
        let of = |block: &&EigenBlock| module.name == format!("{}.weight", block.module().name);
        let block = blocks.iter().find(of).unwrap();
        let values = row[projector.range(at)].iter().zip(block.lambda());
        values.map(|(value, lambda)| value * value * (lambda + block.damping())).sum()
    };
    modules.iter().enumerate().map(of_module).collect()
}

fn of_basis(engine: &CurvatureEngine, factors: &[ModuleFactors], most: u32) -> ProjectionSpec {
    ProjectionSpec::of_basis(basis(engine, factors, most), most)
}

#[test]
fn what_is_kept_and_what_is_left_out_are_the_whole_gradient() {
    let cases = [(Tiny::new().with_biases(), &["*_proj"][..]), (Tiny::new(), &["*down_proj", "lm_head"][..])];
    for (model, patterns) in cases {
        let samples = samples(&SHAPES);
        let mut engine = cpu(&model, patterns);
        let factors = fitted(&mut engine, &samples, usize::MAX);
        let (whole, cut) = (of_basis(&engine, &factors, 1 << 20), of_basis(&engine, &factors, 64));
        for way in [ProjectionRoute::Factors, ProjectionRoute::Formed] {
            let (all, none, modules) = computed(&model, &samples, patterns, (&whole, way));
            let (some, left_out, _) = computed(&model, &samples, patterns, (&cut, way));
            let mut least = 1.0_f64;
            for (sample, (_, first)) in SHAPES.iter().enumerate() {
                let expected = energies(&all[sample], &modules, &whole);
                let kept = energies(&some[sample], &modules, &cut);
                assert_eq!(
                    (none[sample].len(), left_out[sample].len()),
                    (2 * modules.len(), 2 * modules.len())
                );
                for (at, (expected, kept)) in expected.iter().zip(&kept).enumerate() {
                    let what = format!("{}, {way:?}, sample {sample}", modules[at].name);
                    let [out, length] = [left_out[sample][2 * at], left_out[sample][2 * at + 1]];
                    let near = |found: f64| (found - expected).abs() <= 1e-5 * expected;
                    assert!(near(kept + out * out), "{what}: {kept} and {out} squared are not {expected}");
                    assert!(near(length * length), "{what}: {length} squared is not {expected}");
                    // Where every coordinate is kept nothing is left out.
                    assert_eq!(none[sample][2 * at..][..2], [0.0, length], "{what}");
                    assert_eq!(*expected == 0.0, first + 1 > SHAPES[sample].0, "{what}");
                    least = least.min(if *expected > 0.0 { kept / expected } else { 1.0 });
                }
            }
            assert!(least < 0.95, "hardly anything was left out: {least}");
        }
    }
}

#[test]
fn it_is_not_computed_unless_it_is_asked_for() {
    let (model, samples) = (Tiny::new(), samples(&SHAPES[..1]));
    let mut engine = cpu(&model, &["*down_proj"]);
    let factors = fitted(&mut engine, &samples, usize::MAX);
    let spec = of_basis(&engine, &factors, 64);
    let modules = [ModuleShape::linear("model.layers.0.mlp.down_proj.weight", 16, 24, false)];
    let projector = FactoredProjector::new(&spec, &modules, None).unwrap();
    assert!(!projector.wants_residual());
    assert!(projector.with_residual().wants_residual());
    // Other projections have no blocks.
    let other = ProjectionSpec::sized("fact_sjlt".parse().unwrap(), 64);
    assert!(!FactoredProjector::new(&other, &modules, None).unwrap().with_residual().wants_residual());
}
